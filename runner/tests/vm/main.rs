//! The kvet command on real kernels, in real guests. Kernels come from the cache (`KVET_CACHE`); what is missing there
//! is fetched. `KVET_TEST_BIN` names the kvet to test; `make test` gives the optimised one.

mod bisect_commits;
mod bisect_releases;
mod builds;
mod ci;
mod commands;
mod complaints;
mod counts;
mod dynptr;
mod examples;
mod guests;
mod matrix;
mod mutants;
mod programs;
mod refused;
mod resume;
mod root;
mod selection;
#[path = "../support/kvet.rs"]
mod support;
mod symptom;
mod trouble;
mod upstream;

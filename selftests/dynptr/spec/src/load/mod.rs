// SPDX-License-Identifier: GPL-2.0-only
//! Reads the YAML files, checks that they fit together, and returns the tables that the harness
//! embeds.
//!
//! Each file has a type that reads it (`parse`) and one method that checks and resolves it. Errors
//! are text for the author of the file: they say where it is wrong and what to write instead.
//!
//! The tables live as long as the process: what they refer to is leaked. That suits a build script,
//! which writes them into a file and ends.

mod coverage;
mod expectations;
mod fields;
mod point;
mod rejections;
mod resolve;
mod schema;
mod survivors;
mod yaml;

pub use coverage::Coverage;
pub use expectations::{Expectations, Programs, Tables};
pub use rejections::{RejectionTables, Rejections};
pub use survivors::Survivors;

/// A text for the tables.
fn text(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

/// A list for the tables.
fn list<T>(items: impl IntoIterator<Item = T>) -> &'static [T] {
    Vec::leak(items.into_iter().collect())
}

/// A list of texts for the tables.
fn texts<'a>(items: impl IntoIterator<Item = &'a String>) -> &'static [&'static str] {
    list(items.into_iter().map(|it| text(it)))
}

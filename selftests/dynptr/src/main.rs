//! The dynptr selftests.
fn main() {}

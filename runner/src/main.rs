//! kvet
fn main() {}

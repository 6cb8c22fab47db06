//! PID 1 of a kvet guest.
fn main() {}

//! Tests on real runtimes.
fn main() {}

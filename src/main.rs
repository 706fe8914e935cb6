//! The `strict-groups` binary.
fn main() {}

//! The first arguments of our hooks, by which they are known and told apart.

/// The first two arguments by which a hook is known to be ours.
pub const PROGRAM: [&str; 2] = ["strict-groups", "hook"];

/// The third argument of the node's own gate, see `container_start::static_gate`.
pub const STATIC: &str = "--gate=static";

/// The third argument of the Merge marker, and its last; see [`crate::merge_marker`].
pub const MERGE: &str = "--gate=merge";

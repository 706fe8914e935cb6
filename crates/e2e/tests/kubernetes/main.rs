//! The plugin under a runtime that says it is CRI-O, with an API server that answers as a test says: what becomes
//! of the decision, of the groups in the gate, and of the log.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]
#![allow(unreachable_pub, reason = "nothing outside of a test")]

mod credentials;
mod faults;
mod node;
mod specs;

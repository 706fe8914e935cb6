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

#[path = "../support/kube_api.rs"]
#[allow(dead_code, reason = "shared with other tests: each uses a part")]
mod kube_api;
mod node;
#[path = "../nri/peer.rs"]
#[allow(dead_code, reason = "shared with other tests: each uses a part")]
mod peer;
#[path = "../support/process.rs"]
#[allow(dead_code, reason = "shared with other tests: each uses a part")]
mod process;

mod credentials;
mod faults;
mod specs;

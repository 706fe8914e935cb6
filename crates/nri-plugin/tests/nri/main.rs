//! The NRI stub against runtimes played by the test: from recorded streams, by hand, and by the crate `ttrpc`.

// Items are shared between the modules of this one test.
#![allow(unreachable_pub)]
// So are helpers, which the lints do not take for parts of a test.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod calls;
mod connection;
mod events;
mod faults;
mod interop;
mod launched;
mod peer;
mod probe;
mod replay;
mod synchronize;

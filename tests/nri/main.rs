//! The NRI stub against runtimes played by the test: from recorded streams, by hand, and by the crate `ttrpc`.

// Items are shared between the modules of this one test.
#![allow(unreachable_pub)]

mod calls;
mod connection;
mod events;
mod faults;
mod interop;
mod peer;
mod probe;
mod replay;
mod synchronize;

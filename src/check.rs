//! `strict-groups check`: is this node able to enforce Strict, and does it?
//!
//! [`collect()`] asks the runtime, the file system and the kernel, each for a limited time; [`judge`] says what the
//! answers mean (pure); [`report`] is the result.

mod collect;
mod containerd;
mod crio;
pub mod facts;
mod file;
mod hooks;
pub mod judge;
mod program;
pub mod report;
mod started;

pub use collect::{Places, collect};

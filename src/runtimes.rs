//! Clients of container runtimes, and which one to ask.

pub mod containerd;
pub mod cri;
pub mod endpoint;

//! `supplementalGroupsPolicy: Strict` for Kubernetes nodes whose container runtime is too old for it. `ARCHITECTURE.md` has
//! the map, and the way of one container.
//!
//! The rules are in `strict_groups_core`, what runs at each start of a container is in `container_start`. Here is the rest of
//! the binary: the command line, the NRI plugin, the CRI proxy, and what looks after a node.

pub mod check;
pub mod cli;
pub mod commands;
pub mod configure;
pub mod cri_proxy;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handover;
pub mod kubernetes;
pub mod list;
pub mod ops;
pub mod plugin;
pub mod runtimes;
mod terminal_json;
#[cfg(test)]
mod troubleshooting;
mod version;

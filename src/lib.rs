//! `supplementalGroupsPolicy: Strict` for Kubernetes nodes whose container
//! runtime is too old for it: decide, resolve, verify (see ARCHITECTURE.md).
//!
//! [`policy`], [`groups`], [`gate`], [`spec`] and [`declared`] are pure: bytes
//! in, decision out. [`nri`] is an NRI plugin stub that knows nothing of groups.

pub mod atomic_write;
mod bundle;
pub mod check;
pub mod cli;
pub mod commands;
pub mod config;
pub mod containerd;
mod cri;
pub mod cri_proxy;
pub mod declared;
pub mod endpoint;
mod engine;
#[cfg(test)]
#[path = "../tests/support/executable.rs"]
mod executable;
pub mod exempt;
pub mod fast_path;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gate;
mod group_file;
pub mod groups;
pub mod grpc;
mod handover;
mod hook_args;
pub mod identity;
mod json;
pub mod kubernetes;
pub mod list;
pub mod logging;
pub mod membership;
pub mod merge_marker;
pub mod metrics;
pub mod node_config;
pub mod nri;
pub mod oci;
pub mod oci_runtime;
pub mod ownership;
pub mod plugin;
pub mod policy;
pub mod privilege;
mod program;
mod record;
mod rootfs;
pub mod runtime_type;
pub mod service;
mod shim;
pub mod spec;
pub mod start_check;
pub mod static_gate;
mod terminal_json;
mod text;
#[cfg(test)]
mod troubleshooting;
mod unix_stream;
mod version;
pub mod wrapper;

//! What runs at each start of a container: the gate ([`hook`]) and the OCI runtime wrapper ([`wrapper`]).
//!
//! A container waits for it, so it has no event loop and no client of a container runtime: the compiler proves it, since
//! this crate depends on neither.

pub mod bundle;
pub mod config;
pub mod fast_path;
pub mod group_file;
pub mod hook;
pub mod oci_runtime;
pub mod record;
pub mod shim;
pub mod start_check;
pub mod static_gate;
pub mod wrapper;

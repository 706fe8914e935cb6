//! `supplementalGroupsPolicy: Strict` for nodes whose container runtime is too old for it.

pub mod declared;
pub mod gate;
pub mod groups;
mod json;
pub mod nri;
pub mod policy;
pub mod spec;
mod text;

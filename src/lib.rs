//! `supplementalGroupsPolicy: Strict` for nodes whose container runtime is too old for it.

pub mod nri;

//! The OCI runtime wrapper with bundles of our own before it, for its trials and its benchmark.

pub mod bundle;
pub mod command;
pub mod world;

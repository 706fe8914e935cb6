//! What an administrator and systemd need of the daemon: logs, metrics, readiness, few privileges.

pub mod logging;
pub mod metrics;
pub mod privilege;
pub mod service;

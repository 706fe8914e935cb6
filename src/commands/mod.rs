//! What the binary can be told to do, one file a command.

pub mod check;
pub mod config;
pub mod cri_proxy;
pub mod hook;
pub mod install;
pub mod list;
pub mod plugin;
pub mod probe;
pub mod record;
pub mod runtime;

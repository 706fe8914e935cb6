//! What the binary can be told to do, one file a command.

pub mod check;
pub mod config;
pub mod hook;
pub mod list;
pub mod plugin;
pub mod runtime;

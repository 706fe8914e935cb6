//! The commands of the binary, one file a command.

pub mod check;
pub mod config;
pub mod cri_proxy;
pub mod install;
pub mod list;
pub mod plugin;
pub mod probe;
pub mod record;
pub mod wrapper;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

/// An event loop of one thread: nothing here keeps two busy.
#[inline(never)]
fn event_loop() -> anyhow::Result<Runtime> {
    Builder::new_current_thread().enable_all().build().context("cannot start the event loop")
}

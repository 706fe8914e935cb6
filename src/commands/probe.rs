//! `strict-groups probe`: does the plugin live? For the probes of a pod, whose image has no other program.

use std::{path::PathBuf, time::SystemTime};

use clap::Args;

use crate::ops::service::Health;

/// Exits 0 when the plugin beside it lives.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// The file that the plugin was given
    #[arg(long, value_name = "FILE")]
    health_file: PathBuf,
    /// Only when it is registered with the runtime as well
    #[arg(long)]
    ready: bool,
}

/// Runs the command.
///
/// # Errors
/// The plugin does not live, or is not ready.
pub fn run(args: &ProbeArgs) -> anyhow::Result<()> {
    let health = Health::read(&args.health_file)?;
    let now = SystemTime::now();
    Ok(if args.ready { health.ready(now) } else { health.lives(now) }?)
}

//! `strict-groups runtime`: the OCI runtime wrapper under its own name; see [`crate::runtime`].

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::Args;

use crate::runtime;

/// Makes Strict containers so, then becomes the real OCI runtime.
#[derive(Debug, Args)]
pub struct RuntimeArgs {
    /// The node's configuration, if not /etc/strict-groups/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The OCI runtime's own command line
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

/// Runs the command. It comes back only when the real runtime does not run; the reason was printed.
#[must_use]
pub fn run(args: &RuntimeArgs) -> ExitCode {
    let _told = runtime::run(&args.args, args.config.as_deref());
    ExitCode::FAILURE
}

//! `strict-groups runtime`: the OCI runtime wrapper under its own name; see [`container_start::wrapper`].

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use container_start::wrapper;

/// Makes Strict containers so, then becomes the underlying OCI runtime.
#[derive(Debug, Args)]
pub struct RuntimeArgs {
    /// The node's configuration, if not /etc/strict-groups/config.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The OCI runtime's own command line
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
}

/// Runs the OCI runtime's command line `args` with the node's configuration `config` (None: at its
/// default place). It comes back only when the underlying OCI runtime does not run; the reason was printed.
#[must_use]
pub fn run(args: &[OsString], config: Option<&Path>) -> ExitCode {
    let _told = wrapper::run(args, config);
    ExitCode::FAILURE
}

/// The same for the runtime handler of containerd whose file is `file`.
#[must_use]
pub fn run_handler(args: &[OsString], file: &Path) -> ExitCode {
    let _told = wrapper::run_handler(args, file);
    ExitCode::FAILURE
}

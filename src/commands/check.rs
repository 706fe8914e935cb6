//! `strict-groups check`: is what an operator set up usable?

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;

use crate::{
    config::{Config, ConfigError},
    policy::NodePolicy,
    trust,
};

/// Checks a configuration file. Exits 0 if it can be used, else 1 with file, line, key and what is legal.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The configuration to check; it may lie anywhere and belong to anybody
    #[arg(long, value_name = "FILE", required = true)]
    config: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read or used.
pub fn run(args: &CheckArgs) -> anyhow::Result<()> {
    check_config(&args.config)
}

/// Says in one line what the file makes of the node.
fn check_config(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let NodePolicy { mode, rules, default } = Config::parse(&text, path)?.node_policy();
    let absolute = std::path::absolute(path).context("the path of --config")?;
    if let Err(untrusted) = trust::check(&absolute, trust::Kind::File) {
        eprintln!("strict-groups: note: the plugin does not take the file from where it is: {untrusted}");
    }
    println!(
        "{} is valid: mode {}, default policy {}, rules: {}",
        path.display(),
        mode.as_str(),
        default.policy,
        rules.len()
    );
    Ok(())
}

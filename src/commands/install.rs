//! `strict-groups install`: the binary copies itself to where the OCI runtime finds the hook.
//!
//! For a container image that has no other program: its init container puts the hook on the node.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use nix::unistd::geteuid;

use container_start::{
    config::{self, Config},
    wrapper,
};
use hostfs::{
    atomic_write::{self, Outcome},
    ownership,
};

/// The file's name in the folder.
const NAME: &str = "strict-groups";

/// Puts this binary, and if asked to a configuration, on the node.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// The folder for the binary, which gets the name strict-groups there, and for the link strict-groups-runtime
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A configuration that becomes the node's, /etc/strict-groups/config.toml; one that is wrong changes nothing
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command. What is there already and equal is left alone.
///
/// # Errors
/// Not root, a folder that is missing or not root's alone, a wrong configuration, or the file system's.
pub fn run(args: &InstallArgs) -> anyhow::Result<()> {
    anyhow::ensure!(geteuid().is_root(), "only root installs: what is installed runs as root");
    let binary = fs::read("/proc/self/exe").context("cannot read our own executable")?;
    let config = args.config.as_deref().map(checked).transpose()?;
    // The configuration first: a binary without it may be the wrong half.
    if let Some(text) = config {
        put(Path::new(config::DEFAULT_PATH), text.as_bytes(), 0o644)?;
    }
    let target = args.to.join(NAME);
    put(&target, &binary, 0o755)?;
    // CRI-O's configuration has the wrapper by this name.
    let link = target.with_file_name(wrapper::NAME);
    let outcome = atomic_write::link(&link, Path::new(NAME)).with_context(|| cannot_write(&link))?;
    say(&link, outcome);
    Ok(())
}

/// The text of a configuration that can be used. It may be a mounted `ConfigMap`, so that nobody is
/// asked who could change it: whoever can, can also tell us to install.
fn checked(path: &Path) -> anyhow::Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Config::parse(&text, path)?;
    Ok(text)
}

fn put(target: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let folder = target.parent().unwrap_or(Path::new("/"));
    ownership::check(folder, ownership::Kind::File)
        .with_context(|| format!("the folder {} must exist and be root's alone", folder.display()))?;
    let outcome = atomic_write::put(target, content, mode).with_context(|| cannot_write(target))?;
    say(target, outcome);
    Ok(())
}

fn cannot_write(target: &Path) -> String {
    format!("cannot write {}", target.display())
}

/// Tells the operator.
fn say(target: &Path, outcome: Outcome) {
    eprintln!("{} {}", if outcome == Outcome::Written { "wrote" } else { "up to date:" }, target.display());
}

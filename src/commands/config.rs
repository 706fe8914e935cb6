//! `strict-groups config`: the container runtime's side of the node's configuration.
//!
//! What is for other programs goes to stdout (the file, the differences), what is for the operator to
//! stderr.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::{Path, PathBuf, absolute},
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::configure::{File, Hook, folder::Folder};
use container_start::{config::Config, static_gate::StaticGate};
use hostfs::ownership;
use strict_groups_core::{engine::Engine, text};

mod containerd;
mod crio;

/// How many containers are named.
const CONTAINERS_SHOWN: usize = 5;

/// Prints or writes the container runtime's configuration: NRI on and the static gate, or the wrapper.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(subcommand)]
    runtime: RuntimeArgs,
}

#[derive(Debug, Subcommand)]
enum RuntimeArgs {
    /// A drop-in for containerd, made from the configuration that it has
    Containerd(containerd::ContainerdArgs),
    /// A drop-in for CRI-O with the OCI runtime wrapper, and the hook's file
    Crio(crio::CrioArgs),
}

/// What to do with the files. Without an option: print.
#[derive(Debug, Args)]
struct Target {
    /// The node's configuration for static gate and wrapper, if not /etc/strict-groups/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the files into this folder
    #[arg(long, value_name = "DIR", group = "action")]
    write: Option<PathBuf>,
    /// Show what --write would change in this folder; exits 1 if there is something, like diff
    #[arg(long, value_name = "DIR", group = "action")]
    diff: Option<PathBuf>,
    /// Take the files that --write wrote out of this folder
    #[arg(long, value_name = "DIR", group = "action")]
    remove: Option<PathBuf>,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// A program that was asked, or the file system, failed; or a file is in the way that is not ours.
pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    match &args.runtime {
        RuntimeArgs::Containerd(args) => containerd::run(args),
        RuntimeArgs::Crio(args) => crio::run(args),
    }
}

impl Target {
    /// The static gate for this runtime.
    fn hook(&self, runtime: Engine) -> anyhow::Result<Hook> {
        let config = self.config.as_deref().map(absolute).transpose().context("the path of --config")?;
        let node = Config::load(config.as_deref())?;
        let path = if let Some(path) = node.hook_path() {
            path.to_owned()
        } else {
            std::env::current_exe()
                .context("cannot tell our own executable; set hook_path in the configuration")?
        };
        // Without it no container would start any more.
        let file =
            std::fs::metadata(&path).with_context(|| format!("the hook's executable {}", path.display()))?;
        anyhow::ensure!(file.is_file(), "the hook's executable {} is not a file", path.display());
        // root runs it for every container, also while no plugin is there to look.
        ownership::check(&path, ownership::Kind::File).context("the hook's executable")?;
        Ok(Hook { path, gate: StaticGate { runtime, config } })
    }
}

fn print(text: &str) -> anyhow::Result<ExitCode> {
    io::stdout().lock().write_all(text.as_bytes()).context("cannot write to stdout")?;
    Ok(ExitCode::SUCCESS)
}

fn diff(folder: &Folder<'_>, files: &[File]) -> anyhow::Result<ExitCode> {
    let text = folder.diff(files)?;
    print(&text)?;
    Ok(if text.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `in_use`: the files that have to stay, with the containers that need them. A program goes only when what names it was
/// taken away before: containerd runs it until it is restarted.
fn remove(
    folder: &Folder<'_>,
    in_use: &BTreeMap<PathBuf, Vec<String>>,
    then: &str,
) -> anyhow::Result<ExitCode> {
    let is_program =
        |path: &Path| path.file_name().and_then(|name| name.to_str()).is_some_and(folder.is_program);
    let is_named = folder.paths()?.iter().any(|path| !is_program(path));
    let kept = |path: &Path| is_program(path) && (is_named || in_use.contains_key(path));
    let removed = folder.remove(kept)?;
    for path in &removed {
        say(&format!("removed {}", path.display()));
    }
    for (path, containers) in in_use {
        stays(path, containers);
    }
    let left = folder.paths()?;
    match (removed.is_empty(), left.is_empty()) {
        (true, true) => say("there is nothing to remove"),
        (false, _) => say(then),
        (true, false) => {}
    }
    if left.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!(
        "What is left ({} files), and the strict-groups program, is needed until containerd was restarted and the \
         containers that the wrapper made are gone, such as after a drain of the node. Then run this again.",
        left.len()
    ));
    Ok(ExitCode::FAILURE)
}

/// Says why a file stays.
fn stays(path: &Path, containers: &[String]) {
    let shown: Vec<String> =
        containers.iter().take(CONTAINERS_SHOWN).map(|id| text::one_line(id, text::NAME_MAX)).collect();
    let more = if containers.len() > shown.len() { ", …" } else { "" };
    say(&format!(
        "{} stays: it is the OCI runtime of {} containers ({}{more}), which could not be stopped without it",
        path.display(),
        containers.len(),
        shown.join(", ")
    ));
}

fn wrote(paths: &[PathBuf]) {
    for path in paths {
        let what = if Path::exists(path) { "wrote" } else { "removed" };
        say(&format!("{what} {}", path.display()));
    }
    if paths.is_empty() {
        say("the files are up to date");
    }
}

/// Tells the operator.
fn say(text: &str) {
    eprintln!("{text}");
}

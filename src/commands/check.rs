//! `strict-groups check`: does Strict hold on this node? With `--config` alone: can a configuration be used?

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::{
    check::{self, Places, judge::judge, report::Verdict},
    ops::service,
    runtimes::endpoint,
};
use container_start::config::{Config, ConfigError};
use hostfs::ownership;
use strict_groups_core::policy::NodePolicy;

/// How long the whole look may take, also where a file system hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Looks whether Strict is enforced on this node: what is there, what is missing, and what mends it.
/// Exits 0 if it is enforced or the runtime has it itself, else 1.
///
/// With --config FILE it looks at that file alone. Exits 0 if it can be used, else 1 with file, line, key
/// and what is legal.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Validate this configuration and look at nothing else; it may lie anywhere and belong to anybody
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["output", "runtime_endpoint", "nri_socket", "health_file", "node_config"]
    )]
    config: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
struct NodeArgs {
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,
    /// The container runtime's socket, like crictl's [default: containerd's usual one, else CRI-O's]
    #[arg(short, long, value_name = "ENDPOINT")]
    runtime_endpoint: Option<String>,
    /// The runtime's NRI socket
    #[arg(long, value_name = "PATH", default_value = nri_plugin::DEFAULT_SOCKET)]
    nri_socket: PathBuf,
    /// The file of the plugin's --health-file
    #[arg(long, value_name = "FILE", default_value = service::HEALTH_FILE)]
    health_file: PathBuf,
    /// The node's configuration, if not /etc/strict-groups/config.toml
    #[arg(long, value_name = "FILE")]
    node_config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// The file of `--config` cannot be read or used; or the node cannot be looked at.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    match &args.config {
        Some(path) => check_config(path).map(|()| ExitCode::SUCCESS),
        None => check_node(&args.node),
    }
}

fn check_node(args: &NodeArgs) -> anyhow::Result<ExitCode> {
    let runtime = match &args.runtime_endpoint {
        Some(endpoint) => endpoint::named(endpoint)?,
        // Where there is none, the report says so, and what else is missing.
        None => endpoint::usual(Path::exists)
            .unwrap_or_else(|_| crate::runtimes::containerd::DEFAULT_SOCKET.into()),
    };
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "check connects to sockets of root: run it as root");
    let places = Places {
        runtime,
        nri: args.nri_socket.clone(),
        health: args.health_file.clone(),
        config: args.node_config.clone(),
    };
    let event_loop = super::event_loop()?;
    let (answer, answers) = mpsc::channel();
    // Left behind when it hangs.
    thread::spawn(move || {
        // Nobody listens any more only where it took too long.
        let _ = answer.send(event_loop.block_on(check::collect(&places)));
    });
    let facts = answers.recv_timeout(LIMIT).with_context(|| {
        format!("looking at the node took longer than {} s; does a file system hang?", LIMIT.as_secs())
    })?;
    let report = judge(&facts, env!("CARGO_PKG_VERSION"));
    let text = match args.output {
        Output::Table => report.table(),
        Output::Json => report.json()?,
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // As with `check | head`: who reads has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written.context("cannot write to stdout")?,
    }
    Ok(match report.verdict {
        Verdict::Native | Verdict::Enforced => ExitCode::SUCCESS,
        Verdict::NotEnforced => ExitCode::FAILURE,
    })
}

/// Says in one line what the file makes of the node.
fn check_config(path: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let NodePolicy { mode, rules, default } = Config::parse(&text, path)?.node_policy();
    let absolute = std::path::absolute(path).context("the path of --config")?;
    if let Err(untrusted) = ownership::check(&absolute, ownership::Kind::File) {
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

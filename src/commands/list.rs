//! `strict-groups list`: the identity of every container on this node.

use std::{
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, ValueEnum};

use crate::{
    list::{self, collect::Filter, report::Report, table, verdict::Verdict},
    runtimes::endpoint,
};
use container_start::config::Config;

/// Shows every container's real user and groups, what was declared, and whether that is as it should be.
///
/// The process of a container of gVisor or Kata Containers cannot be seen from the node. Its user and groups are those
/// of the runtime's record, and its verdict is not-verified where the policy is Strict.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// How to print it
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,
    /// Only containers of pods in this namespace
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only containers of pods with this name
    #[arg(long, value_name = "NAME")]
    pod: Option<String>,
    /// Only containers that hold groups they must not have; exits 1 if there are any
    #[arg(long)]
    violations: bool,
    /// The container runtime's socket, like crictl's [default: containerd's usual one, else CRI-O's]
    #[arg(short, long, value_name = "ENDPOINT")]
    runtime_endpoint: Option<String>,
    /// The node's configuration, if not /etc/strict-groups/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// The most important columns, at most 100 characters wide
    Table,
    /// All columns
    Wide,
    Json,
    Yaml,
}

/// Runs the command; gives the exit code.
///
/// # Errors
/// We are not root, the configuration cannot be used, or the runtime does not answer.
pub fn run(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let socket = match &args.runtime_endpoint {
        Some(endpoint) => endpoint::named(endpoint)?,
        None => endpoint::usual(std::path::Path::exists)?,
    };
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "list looks at other users' processes: run it as root");
    let node = Config::load(args.config.as_deref())?.node_policy();
    let filter = Filter { namespace: args.namespace.clone(), pod: args.pod.clone() };
    let mut report = super::event_loop()?.block_on(list::list(&socket, &filter, &node))?;
    if args.violations {
        report.retain(Verdict::Violated);
    }
    print(&report, args.output)?;
    let found = args.violations && !report.items.is_empty();
    Ok(if found { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(report: &Report, output: Output) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let text = match output {
        Output::Json => report.json()?,
        Output::Yaml => report.yaml()?,
        Output::Table | Output::Wide => {
            let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            let style = table::Style { wide: output == Output::Wide, colour: stdout.is_terminal() && !plain };
            table::render(&report.items, style)
        }
    };
    match stdout.write_all(text.as_bytes()) {
        // As with `list | head`: who reads has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

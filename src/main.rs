//! The `strict-groups` binary: from the command line to the command.

use std::{path::Path, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use strict_groups::{
    commands::{check, config, hook, install, plugin, probe, runtime},
    logging, nri, runtime as oci_runtime,
};

/// musl's allocator maps and unmaps pages for every few KiB, some 70 system
/// calls for one Strict container.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// The command line. Others script against it.
#[derive(Debug, Parser)]
#[command(
    version,
    about = "supplementalGroupsPolicy: Strict for nodes whose container runtime is too old for it",
    long_about = None,
    max_term_width = 100
)]
struct Cli {
    /// What to log; the environment variable RUST_LOG, where set, says it in more detail
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enforce Strict on this node: run as an NRI plugin until told to stop
    Plugin(plugin::PluginArgs),
    /// Tell whether a configuration file can be used
    Check(check::CheckArgs),
    /// Print or write the container runtime's configuration: NRI on, and the static gate
    Config(config::ConfigArgs),
    /// Be an OCI runtime: make Strict containers so, then become the real runtime
    Runtime(runtime::RuntimeArgs),
    /// Copy this binary to where the container runtime finds it; for an image's init container
    Install(install::InstallArgs),
    /// Say by exit code whether the plugin lives; for the probes of a pod
    Probe(probe::ProbeArgs),
    /// Let a container start or refuse it; run by the OCI runtime, not by people
    Hook {
        /// The gate's arguments, as the plugin made them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        gate: Vec<String>,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

fn main() -> ExitCode {
    // Engines call us under this name for every step of every container: nothing comes before.
    let mut args = std::env::args_os();
    if args.next().is_some_and(|name| Path::new(&name).file_name() == Some(oci_runtime::NAME.as_ref())) {
        let _told = oci_runtime::run(&args.collect::<Vec<_>>(), None);
        return ExitCode::FAILURE;
    }
    match Cli::parse_from(arguments()) {
        Cli { command: Command::Hook { gate }, .. } => refuse_or_exit(&gate),
        Cli { command: Command::Plugin(args), log_level } => {
            report(logging::start(log_level.into()).and_then(|()| plugin::run(&args)))
        }
        Cli { command: Command::Check(args), .. } => report(check::run(&args)),
        Cli { command: Command::Config(args), .. } => {
            config::run(&args).unwrap_or_else(|error| report(Err(error)))
        }
        Cli { command: Command::Install(args), .. } => report(install::run(&args)),
        Cli { command: Command::Probe(args), .. } => report(probe::run(&args)),
        Cli { command: Command::Runtime(args), .. } => runtime::run(&args),
    }
}

/// The command line; a runtime that starts us from its plugin directory gives
/// none, but says so in the environment.
fn arguments() -> Vec<std::ffi::OsString> {
    let mut args: Vec<_> = std::env::args_os().collect();
    if args.len() < 2 && nri::is_launched() {
        args.push("plugin".into());
    }
    args
}

/// The hook prints nothing but its reason: the OCI runtime quotes it whole.
fn refuse_or_exit(gate: &[String]) -> ExitCode {
    let args: Vec<String> =
        ["strict-groups", "hook"].map(String::from).into_iter().chain(gate.iter().cloned()).collect();
    match hook::verify(&args, std::io::stdin().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("strict-groups: {error:#}");
            ExitCode::FAILURE
        }
    }
}

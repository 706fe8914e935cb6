//! The command line, as the binary reads it and as man pages and completions are made from it.

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{check, config, cri_proxy, install, list, plugin, probe, runtime};

/// The command line. Others script against it.
#[derive(Debug, Parser)]
#[command(
    version,
    about = "supplementalGroupsPolicy: Strict for nodes whose container runtime is too old for it",
    long_about = None,
    max_term_width = 100
)]
pub struct Cli {
    /// What to log; the environment variable RUST_LOG, where set, says it in more detail
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    pub log_level: LogLevel,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enforce Strict on this node: run as an NRI plugin until told to stop
    Plugin(plugin::PluginArgs),
    /// Tell whether Strict is enforced on this node, and what is missing; or whether a configuration can be used
    Check(check::CheckArgs),
    /// Print or write the container runtime's configuration: NRI on, and the static gate
    Config(config::ConfigArgs),
    /// Show who the containers of this node really are, and who they should be
    List(list::ListArgs),
    /// Be an OCI runtime: make Strict containers so, then become the real runtime
    Runtime(runtime::RuntimeArgs),
    /// Give an old node the field itself: a proxy between the kubelet and the container runtime
    CriProxy(cri_proxy::CriProxyArgs),
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

/// From which level on lines are logged.
#[derive(Debug, Clone, Copy, ValueEnum)]
#[expect(missing_docs, reason = "the names say it")]
pub enum LogLevel {
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

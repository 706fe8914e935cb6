//! The command line, as the binary reads it and as man pages and completions are made from it.

use clap::{Parser, Subcommand, ValueEnum};

use crate::commands::{check, config, cri_proxy, install, list, plugin, probe, wrapper};

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
    /// Run the NRI plugin that enforces Strict on this node
    Plugin(plugin::PluginArgs),
    /// Check whether Strict is enforced on this node and what is missing, or whether a configuration is valid
    Check(check::CheckArgs),
    /// Print or write the container runtime's configuration: NRI and the static gate, or the OCI runtime wrapper
    Config(config::ConfigArgs),
    /// List each container's effective UID, GID and groups
    List(list::ListArgs),
    /// Run as an OCI runtime wrapper (CRI-O, Podman)
    Runtime(wrapper::RuntimeArgs),
    /// Run a CRI proxy that adds supplementalGroupsPolicy to an old container runtime
    CriProxy(cri_proxy::CriProxyArgs),
    /// Copy this binary to a directory of the node (for an init container)
    Install(install::InstallArgs),
    /// Report by exit code whether the plugin is alive (for a pod's probes)
    Probe(probe::ProbeArgs),
    /// Verify a container before it starts (run by the OCI runtime, not by people)
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

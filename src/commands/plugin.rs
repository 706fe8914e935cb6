//! `strict-groups plugin`: the node daemon.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;

use crate::{
    config::Config,
    containerd::{self, Containers},
    nri::{self, Identity, Options},
    plugin::StrictGroups,
};

/// Enforces Strict on this node: runs as an NRI plugin until it is told to stop.
#[derive(Debug, Args)]
pub struct PluginArgs {
    /// The node's configuration; may only be missing at its default place, /etc/strict-groups/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The runtime's NRI socket
    #[arg(long, value_name = "PATH", default_value = nri::DEFAULT_SOCKET)]
    nri_socket: PathBuf,
    /// containerd's own socket
    #[arg(long, value_name = "PATH", default_value = containerd::DEFAULT_SOCKET)]
    containerd_socket: PathBuf,
    /// Name to register under
    #[arg(long, default_value = "strict-groups", value_parser = name)]
    name: String,
    /// Place among the node's NRI plugins, two digits
    #[arg(long, default_value = "90", value_parser = index)]
    index: String,
}

/// Checked with the other arguments, so that a wrong one is a wrong usage.
fn name(text: &str) -> Result<String, nri::Error> {
    Identity::new(text, "00").map(|identity| identity.name().to_owned())
}

fn index(text: &str) -> Result<String, nri::Error> {
    Identity::new("name", text).map(|identity| identity.index().to_owned())
}

/// Runs the plugin until SIGTERM or SIGINT.
///
/// # Errors
/// The configuration or an argument is wrong, or NRI ended for good.
pub fn run(args: &PluginArgs) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref())?;
    let hook_path = hook_path(&config)?;
    enough_descriptors().context("too few files may be open at once (RLIMIT_NOFILE)")?;
    // One thread: the runtime calls one at a time, and so do we.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?
        .block_on(serve(args, &config, hook_path))
}

async fn serve(args: &PluginArgs, config: &Config, hook_path: PathBuf) -> anyhow::Result<()> {
    let mut options = Options::from_env(Identity::new(&args.name, &args.index)?)?;
    if !options.is_connected() {
        options = options.socket(&args.nri_socket);
    }
    let containers = Containers::new(&args.containerd_socket)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        hook = %hook_path.display(),
        containerd = %args.containerd_socket.display(),
        "starting"
    );
    let plugin = Arc::new(StrictGroups::new(config.node_policy(), hook_path, containers));
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    nri::run(plugin, options, stop).await?;
    info!("stopped");
    Ok(())
}

/// The event loop panics where it cannot open what it needs. What comes later can do without for a while.
fn enough_descriptors() -> std::io::Result<()> {
    /// Two for epoll, one to wake it, three for signals.
    const EVENT_LOOP: usize = 6;
    let open = |_| std::fs::File::open("/dev/null");
    (0..EVENT_LOOP).map(open).collect::<std::io::Result<Vec<_>>>().map(drop)
}

/// The gate's executable: as configured, else our own.
fn hook_path(config: &Config) -> anyhow::Result<PathBuf> {
    if let Some(path) = config.hook_path() {
        return Ok(path.to_owned());
    }
    let own = std::env::current_exe()
        .context("cannot tell our own executable; set hook_path in the configuration")?;
    let missing = |path: &Path| {
        format!(
            "our own executable {} is no longer there, so it cannot be the gate; start again or set hook_path",
            path.display()
        )
    };
    std::fs::metadata(&own).with_context(|| missing(&own))?;
    Ok(own)
}

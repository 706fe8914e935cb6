//! `strict-groups plugin`: the node daemon.

use std::{
    future::pending,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{debug, error, info, warn};

use crate::{
    handover,
    kubernetes::{Client, Lookup},
    ops::metrics::{self, Reload as Reloaded},
    ops::privilege,
    ops::service::Service,
    plugin::StrictGroups,
    runtimes::containerd::{self, Containers},
};
use container_start::config::{Config, DEFAULT_PATH};
use hostfs::ownership::{self, Untrusted};
use nri_plugin::{BoxError, Identity, Options, Stream};
use strict_groups_core::text;

/// How much is logged of the reason for which a configuration cannot be used, in bytes.
const LONGEST_REASON: usize = 1024;

/// Connects to the NRI socket at `path`, if it is root's alone.
///
/// # Errors
/// What the system said as an [`std::io::Error`], or another reason as a text.
async fn connect(path: &Path) -> Result<Box<dyn Stream>, BoxError> {
    match uds_grpc::open(path).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(uds_grpc::Error::Connect(error)) => Err(error.into()),
        Err(other) => Err(other.to_string().into()),
    }
}

/// Enforces Strict on this node: runs as an NRI plugin until SIGTERM or SIGINT.
#[derive(Debug, Clone, Args)]
pub struct PluginArgs {
    /// The node's configuration; may only be missing at its default place, /etc/strict-groups/config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The runtime's NRI socket
    #[arg(long, value_name = "PATH", default_value = nri_plugin::DEFAULT_SOCKET)]
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
    /// Under systemd: count as started after so long also while no runtime takes the registration;
    /// 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    ready_after: u32,
    /// Renew this file every few seconds, for strict-groups probe
    #[arg(long, value_name = "FILE")]
    health_file: Option<PathBuf>,
    /// Heed what the CRI proxy hands on in this directory (its --requests-dir)
    #[arg(long, value_name = "DIR", default_value = handover::DEFAULT_DIR)]
    requests_dir: PathBuf,
    /// Give metrics for Prometheus: IP:PORT, or unix:PATH for a socket that is root's
    #[arg(long, value_name = "ADDRESS")]
    metrics_address: Option<metrics::Address>,
    /// Keep a feature file for Node Feature Discovery in its features.d while Strict is enforced
    #[arg(long, value_name = "DIR")]
    nfd_features_dir: Option<PathBuf>,
}

impl PluginArgs {
    fn service(&self) -> Service {
        let ready_after = (self.ready_after > 0).then(|| Duration::from_secs(self.ready_after.into()));
        Service::new(ready_after, self.health_file.clone(), self.nfd_features_dir.as_deref())
    }
}

/// Checked with the other arguments, so that a wrong one is a wrong usage.
fn name(text: &str) -> Result<String, nri_plugin::Error> {
    Identity::new(text, "00").map(|identity| identity.name().to_owned())
}

fn index(text: &str) -> Result<String, nri_plugin::Error> {
    Identity::new("name", text).map(|identity| identity.index().to_owned())
}

/// Runs the plugin until SIGTERM or SIGINT. SIGHUP makes it read its configuration again.
///
/// # Errors
/// Privileges cannot be given up, what decides over containers is not root's
/// alone, the configuration or an argument is wrong, or NRI ended for good.
pub fn run(args: &PluginArgs) -> anyhow::Result<()> {
    // While there is one thread, and before anybody else has a say.
    let kept = privilege::give_up()?;
    debug!(capabilities = %kept, no_new_privs = true, "privileges that are not needed are given up");
    if kept.is_empty() {
        info!("without CAP_SYS_PTRACE: removed groups are logged without their names");
    }
    let config = Config::load(args.config.as_deref())?;
    let hook_path = hook_path(&config)?;
    let client = config.kubernetes().enabled.then(|| Client::new(config.kubernetes())).transpose()?;
    enough_descriptors().context("too few files may be open at once (RLIMIT_NOFILE)")?;
    // One thread: the runtime calls one at a time, and so do we.
    let event_loop = super::event_loop()?;
    // As a task, which the loop can run again at once. To wake what `block_on` is given, tokio writes to a
    // descriptor and has epoll tell it of that.
    let served = event_loop.spawn(serve(args.clone(), config, hook_path, client));
    let result = event_loop.block_on(served).context("the plugin failed");
    // What is read of a container's files may hang, and must not keep us.
    event_loop.shutdown_background();
    result?
}

async fn serve(
    args: PluginArgs,
    config: Config,
    hook_path: PathBuf,
    client: Option<Client>,
) -> anyhow::Result<()> {
    let mut options = Options::from_env(Identity::new(&args.name, &args.index)?)?;
    if !options.is_connected() {
        options = options.socket(&args.nri_socket).connect_by(|path| Box::pin(connect(path)));
    }
    let containers = Containers::new(&args.containerd_socket);
    info!(
        version = env!("CARGO_PKG_VERSION"),
        hook = %hook_path.display(),
        containerd = %args.containerd_socket.display(),
        mode = config.node_policy().mode.as_str(),
        kubernetes = client.is_some(),
        "starting"
    );
    let mut plugin = StrictGroups::new(config.node_policy(), hook_path, containers)
        .with_requests(args.requests_dir.clone());
    if let Some(client) = client {
        plugin = plugin.with_kubernetes(Lookup::new(client));
    }
    plugin.register_where_nri_can_deadlock(config.nri_that_can_deadlock());
    let plugin = Arc::new(plugin);
    let reload = Reload { path: args.config.as_deref(), plugin: Arc::clone(&plugin) };
    let mut hangup = signal(SignalKind::hangup()).context("cannot handle SIGHUP")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let service = args.service();
    let told = &service;
    let stop = async move {
        let mut config = config;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => config = told.reload(|| reload.again(config)),
            }
        }
        told.stopping();
    };
    let (registration, mode) = (plugin.registration(), plugin.mode());
    let counted = Arc::clone(plugin.metrics());
    let give_metrics = async {
        match &args.metrics_address {
            Some(address) => metrics::serve(address, &counted).await,
            None => pending().await,
        }
    };
    tokio::select! {
        ended = nri_plugin::run(plugin, options, stop) => ended?,
        never = service.report(registration, mode) => match never {},
        never = give_metrics => match never {},
    }
    service.end();
    info!("stopped");
    Ok(())
}

/// What SIGHUP does: reads the configuration again.
struct Reload<'a> {
    path: Option<&'a Path>,
    plugin: Arc<StrictGroups>,
}

impl Reload<'_> {
    /// Has the plugin go on with the configuration as it is now, and gives that; one that cannot be
    /// used is logged, and `old` stays.
    fn again(&self, old: Config) -> Config {
        match self.read() {
            Ok((config, hook_path)) => {
                let (node, changed) = (config.node_policy(), old.differences(&config));
                info!(
                    changed = changed.join(","),
                    mode = node.mode.as_str(),
                    default_policy = %node.default.policy,
                    rules = node.rules.len(),
                    "the configuration was read again; containers that exist are left as they are"
                );
                if config.kubernetes() != old.kubernetes() {
                    warn!("[kubernetes] counts when the plugin starts again; restart it");
                }
                self.plugin.reconfigure(node, hook_path);
                self.plugin.register_where_nri_can_deadlock(config.nri_that_can_deadlock());
                self.plugin.metrics().reloaded(Reloaded::Success);
                config
            }
            Err(error) => {
                self.plugin.metrics().reloaded(Reloaded::Failure);
                let error = text::one_line(&format!("{error:#}"), LONGEST_REASON);
                error!("the configuration was not read again, the one before stays: {error}");
                old
            }
        }
    }

    fn read(&self) -> anyhow::Result<(Config, PathBuf)> {
        // A file that went missing is no decision that everything shall be as by default.
        let config = Config::load(Some(self.path.unwrap_or(Path::new(DEFAULT_PATH))))?;
        let hook_path = hook_path(&config)?;
        Ok((config, hook_path))
    }
}

/// The event loop panics where it cannot open what it needs. What comes later can do without for a while.
fn enough_descriptors() -> std::io::Result<()> {
    /// Two for epoll, one to wake it, three for signals.
    const EVENT_LOOP: usize = 6;
    let open = |_| std::fs::File::open("/dev/null");
    (0..EVENT_LOOP).map(open).collect::<std::io::Result<Vec<_>>>().map(drop)
}

/// The gate's executable: as configured, else our own. The OCI runtime runs it
/// as root, so nobody else may be able to replace it, nor us.
fn hook_path(config: &Config) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell our own executable; is /proc mounted?")?;
    match (ownership::check(&own, ownership::Kind::File), config.hook_path()) {
        (Ok(()), None) => Ok(own),
        (Ok(()) | Err(Untrusted::Missing { .. }), Some(hook)) => check_hook(hook).map(|()| hook.to_owned()),
        (Err(Untrusted::Missing { .. }), None) => anyhow::bail!(
            "our own executable {} is no longer there, so it cannot be the gate; start again or set hook_path",
            own.display()
        ),
        (Err(untrusted), _) => Err(untrusted).context("our own executable"),
    }
}

fn check_hook(hook: &Path) -> anyhow::Result<()> {
    match ownership::check(hook, ownership::Kind::File) {
        // A plugin in a container does not see the node's files.
        Err(Untrusted::Missing { path }) => {
            warn!(
                "hook_path {}: there is no {} here; if the OCI runtime does not find it either, no Strict container starts",
                hook.display(),
                path.display()
            );
            Ok(())
        }
        checked => checked.context("hook_path"),
    }
}

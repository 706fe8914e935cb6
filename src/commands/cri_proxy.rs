//! `strict-groups cri-proxy`: the field itself on old nodes; see [`crate::cri_proxy`].

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::{
    cri_proxy::{self, Options},
    handover,
    ops::service,
    runtimes::containerd,
};

/// Passes the kubelet's calls on to the container runtime and adds supplementalGroupsPolicy.
#[derive(Debug, Args)]
pub struct CriProxyArgs {
    /// The socket that the kubelet is pointed at; not used when systemd hands one over
    #[arg(long, value_name = "PATH", default_value = cri_proxy::DEFAULT_SOCKET)]
    listen: PathBuf,
    /// The container runtime's CRI socket
    #[arg(long, value_name = "PATH", default_value = containerd::DEFAULT_SOCKET)]
    runtime_endpoint: PathBuf,
    /// The file that the plugin renews (its --health-file)
    #[arg(long, value_name = "FILE", default_value = service::HEALTH_FILE)]
    health_file: PathBuf,
    /// Hand on to the plugin in this directory what requests say (its --requests-dir)
    #[arg(long, value_name = "DIR", default_value = handover::DEFAULT_DIR)]
    requests_dir: PathBuf,
}

/// Runs the proxy until SIGTERM or SIGINT.
///
/// # Errors
/// There is nothing to listen on.
pub fn run(args: &CriProxyArgs) -> anyhow::Result<()> {
    let options = Options {
        listen: args.listen.clone(),
        runtime: args.runtime_endpoint.clone(),
        health_file: args.health_file.clone(),
        requests_dir: args.requests_dir.clone(),
    };
    super::event_loop()?.block_on(serve(&options))
}

async fn serve(options: &Options) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        notify(sd_notify::NotifyState::Stopping);
    };
    let ready = || {
        info!(
            listen = %options.listen.display(),
            runtime = %options.runtime.display(),
            "the CRI proxy listens"
        );
        notify(sd_notify::NotifyState::Ready);
    };
    cri_proxy::run(options, ready, stop).await?;
    info!("stopped");
    Ok(())
}

/// Tells systemd, where it is.
fn notify(state: sd_notify::NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!("systemd is not told: {error}");
    }
}

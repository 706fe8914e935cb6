//! `supplementalGroupsPolicy` itself on a node whose runtime does not know the field: a proxy between the
//! kubelet and the runtime's CRI socket.
//!
//! It passes every call on, byte for byte, and changes what makes the feature:
//! - `Status` says that the feature is there, while Strict is enforced;
//! - `RunPodSandbox` with the policy Strict gets the annotation that the plugin reads;
//! - what `CreateContainer` says of policy and groups goes to the plugin (`src/handover.rs`);
//! - the status of a container gets `user.linux`.
//!
//! With a runtime that has the feature it changes nothing.

mod answer;
mod body;
mod edit;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a failed assertion is the result")]
pub(crate) mod fuzzing;
mod listener;
#[cfg(test)]
pub(crate) mod messages;
mod reply;
mod runtime;
mod trailers;
mod upstream;
mod wire;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hyper::{server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::UnixStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::handover::Requests;
use forward::{Connection, Shared};
pub use listener::ListenError;
use runtime::ContainerRuntime;
use uds_grpc::frame;
use upstream::Upstream;

/// Where the kubelet is pointed at unless the command line says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/strict-groups-cri/cri.sock";

/// How long calls may go on after SIGTERM. Streams, which never end, are cut then.
const DRAIN: Duration = Duration::from_secs(5);
/// How long accepting pauses when it fails (too many open files).
const PAUSE: Duration = Duration::from_millis(100);

/// No message that is looked at is larger, in bytes: gRPC's own limit is 4 MiB, that of the kubelet and containerd 16.
const LARGEST: usize = 64 * 1024 * 1024;

/// The body of a unary call with such a message.
const LARGEST_BODY: usize = frame::HEAD + LARGEST;

const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
const LARGEST_HEADERS: u32 = 1 << 20;

/// Where the proxy stands.
#[derive(Debug, Clone)]
pub struct Options {
    /// The socket that the kubelet connects to, unless systemd handed one over.
    pub listen: PathBuf,
    /// The runtime's CRI socket.
    pub runtime: PathBuf,
    /// The file in which the plugin says that it is registered.
    pub health_file: PathBuf,
    /// Where requests are handed on to the plugin.
    pub requests_dir: PathBuf,
}

/// Serves until `stop` is done, then lets the calls that are on their way end.
///
/// # Errors
/// There is nothing to listen on.
pub async fn run(
    options: &Options,
    ready: impl FnOnce(),
    stop: impl Future<Output = ()>,
) -> Result<(), ListenError> {
    let listener = listener::listen(&options.listen)?;
    let runtime = Arc::new(ContainerRuntime::new(&options.runtime));
    let requests = Requests::new(options.requests_dir.clone());
    if let Err(error) = requests.clear() {
        // Without it the kubelet can still do all but start Strict containers.
        warn!("requests cannot be handed on to the plugin: {error}");
    }
    let shared = Arc::new(Shared { runtime, health_file: options.health_file.clone(), requests });
    let (stopping, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    ready();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve(stream, Arc::clone(&shared), options.runtime.clone(), stopped.clone()));
                }
                Err(error) => {
                    warn!("a connection cannot be accepted: {error}");
                    sleep(PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = &mut stop => break,
        }
    }
    // A socket of systemd's stays open there, and the next proxy finds who connected in between.
    drop(listener);
    stopping.send_replace(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(DRAIN, drained).await.is_err() {
        debug!("streams that went on were cut");
    }
    Ok(())
}

/// Serves one connection until it ends, or until its calls have ended after `stopped`.
async fn serve(stream: UnixStream, shared: Arc<Shared>, socket: PathBuf, mut stopped: watch::Receiver<bool>) {
    let connection = Arc::new(connection(shared, &socket));
    let service = service_fn(move |request| {
        let connection = Arc::clone(&connection);
        async move { connection.answer(request).await }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .max_concurrent_streams(None)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LARGEST_HEADERS)
        // The kubelet is trusted, and cancels calls as it pleases.
        .max_pending_accept_reset_streams(Some(usize::MAX))
        .max_local_error_reset_streams(None);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    // Changes once, or never because nobody is left to change it.
    let told = async move { drop(stopped.changed().await) };
    let result = tokio::select! {
        result = &mut served => result,
        () = told => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = result {
        debug!("a connection ended: {error}");
    }
}

fn connection(shared: Arc<Shared>, socket: &Path) -> Connection {
    let upstream = Upstream::new(socket, Arc::clone(&shared.runtime));
    Connection { shared, upstream }
}

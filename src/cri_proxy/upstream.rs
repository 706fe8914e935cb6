//! The connection to the runtime. Each of the kubelet's connections has one of its own, as without us.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;

use super::{body::Body, reply::Unavailable, runtime::ContainerRuntime};

/// Bytes that may be on their way to us, of one call and of all.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// A connection that is made when it is needed, and again when it was lost.
#[derive(Debug)]
pub(super) struct Upstream {
    socket: PathBuf,
    sender: Mutex<Option<SendRequest<Body>>>,
    /// Is told whenever a connection was made.
    runtime: Arc<ContainerRuntime>,
}

impl Upstream {
    pub(super) fn new(socket: &Path, runtime: Arc<ContainerRuntime>) -> Self {
        Self { socket: socket.to_owned(), sender: Mutex::new(None), runtime }
    }

    /// Passes a call on. It is tried again on a new connection only if nothing of it was sent.
    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, Unavailable> {
        let unsent = {
            let mut sender = self.sender().await?;
            let sent = sender.try_send_request(request);
            drop(sender);
            match sent.await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(request) => request,
                    None => return Err(self.lost(&error.into_error())),
                },
            }
        };
        let again = self.sender().await?.send_request(unsent);
        again.await.map_err(|error| self.lost(&error))
    }

    async fn sender(&self) -> Result<SendRequest<Body>, Unavailable> {
        let mut current = self.sender.lock().await;
        if let Some(sender) = current.as_mut()
            && sender.ready().await.is_ok()
        {
            return Ok(sender.clone());
        }
        let sender = self.connect().await?;
        self.runtime.may_be_another();
        *current = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<SendRequest<Body>, Unavailable> {
        let refused = |reason: String| Unavailable::new(&self.socket, &reason);
        let stream = uds_grpc::open(&self.socket).await.map_err(|error| refused(error.to_string()))?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_reset_streams(usize::MAX)
            // An error's text is a header.
            .max_header_list_size(super::LARGEST_HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| refused(error.to_string()))?;
        tokio::spawn(async move {
            // The calls that it breaks report it.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the runtime ended");
            }
        });
        Ok(sender)
    }

    fn lost(&self, error: &hyper::Error) -> Unavailable {
        let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        Unavailable::new(&self.socket, &format!("the connection was lost: {cause}"))
    }
}

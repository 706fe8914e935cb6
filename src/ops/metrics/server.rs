//! Gives the metrics to who asks over HTTP/1, and costs the plugin no more than a little time for it, whatever
//! those who ask do: few connections at once, each for one request, with little room and little time for it.

use std::{
    convert::Infallible,
    fs,
    future::Future,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use hostfs::socket;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE as CONTENT_TYPE_HEADER, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{Address, CONTENT_TYPE, Metrics};

/// How many are served at once. The others wait in the kernel's queue.
const AT_ONCE: usize = 4;
/// How long the request's head may take, and everything together.
const HEAD_TIME: Duration = Duration::from_secs(2);
const WHOLE_TIME: Duration = Duration::from_secs(5);
/// Between two connections, so that who asks without end cannot fill the event loop.
const PAUSE: Duration = Duration::from_millis(10);
/// The request's head: bytes (hyper's least) and lines.
const LONGEST_HEAD: usize = 8 << 10;
const MOST_HEADERS: usize = 32;
/// After a failure to listen, or to take a connection.
const NEXT_TRY: Duration = Duration::from_secs(5);

/// Serves at `address` for as long as it is polled. An address that cannot be had is reported once, and tried again:
/// enforcement is worth more than metrics.
pub async fn serve(address: &Address, metrics: &Arc<Metrics>) -> Infallible {
    let mut told = false;
    loop {
        match Listener::bind(address).await {
            Ok(listener) => {
                info!(address = %listener.address(), "metrics");
                match accept_all(&listener, metrics).await {}
            }
            Err(error) if told => debug!("still no metrics at {address}: {error}"),
            Err(error) => {
                warn!("metrics are not to be had at {address}, which is tried again: {error}");
                told = true;
            }
        }
        sleep(NEXT_TRY).await;
    }
}

/// A connection, of either kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

enum Listener {
    Tcp(TcpListener),
    Unix(OwnSocket),
}

impl Listener {
    async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Address::Unix(path) => OwnSocket::bind(path).map(Self::Unix),
        }
    }

    /// Where it listens really, also where the system chose the port.
    fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|error| error.to_string(), |address| address.to_string())
            }
            Self::Unix(socket) => format!("unix:{}", socket.path.display()),
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Tcp(listener) => Box::new(listener.accept().await?.0),
            Self::Unix(socket) => Box::new(socket.listener.accept().await?.0),
        })
    }
}

/// A UNIX socket for root, which is removed with its listener.
struct OwnSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl OwnSocket {
    fn bind(path: &Path) -> io::Result<Self> {
        let listener = socket::bind(path).map_err(io::Error::other)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: UnixListener::from_std(listener)?, path: path.to_owned() })
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            debug!("{} is not removed: {error}", self.path.display());
        }
    }
}

async fn accept_all(listener: &Listener, metrics: &Arc<Metrics>) -> Infallible {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { continue };
        match listener.accept().await {
            Ok(stream) => {
                let answer = answer(stream, Arc::clone(metrics));
                tokio::spawn(async move {
                    if timeout(WHOLE_TIME, answer).await.is_err() {
                        debug!("who asked for metrics took too long");
                    }
                    drop(place);
                });
                sleep(PAUSE).await;
            }
            Err(error) => {
                debug!("no connection for metrics: {error}");
                sleep(NEXT_TRY).await;
            }
        }
    }
}

/// Reads one request and answers it.
fn answer(stream: impl Stream, metrics: Arc<Metrics>) -> impl Future<Output = ()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let response = respond(request.method(), request.uri().path(), &metrics);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(LONGEST_HEAD)
        .max_headers(MOST_HEADERS)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    async move {
        if let Err(error) = connection.await {
            debug!("who asked for metrics was not answered: {error}");
        }
    }
}

fn respond(method: &Method, path: &str, metrics: &Metrics) -> Response<String> {
    let mut response = Response::default();
    if path != "/metrics" {
        *response.status_mut() = StatusCode::NOT_FOUND;
    } else if method == Method::GET || method == Method::HEAD {
        response.headers_mut().insert(CONTENT_TYPE_HEADER, HeaderValue::from_static(CONTENT_TYPE));
        *response.body_mut() = metrics.text();
    } else {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

#[cfg(test)]
mod tests;

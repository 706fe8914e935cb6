//! A connection to root's own socket, which root listens on.

use std::path::Path;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use nix::errno::Errno;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net,
};

use super::Error;
use super::UnixStream;
use hostfs::ownership::{self, Untrusted};

/// Bytes of answers that may be on their way, of one call and of all. HTTP/2's 65,535 would have to be
/// renewed during larger answers, a write of ours and a turn of the other side each time.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Bytes of header fields that an answer may have; error texts are among them.
const LARGEST_HEADERS: u32 = 64 * 1024;

/// Connects to the socket at `path` and starts HTTP/2.
pub(super) async fn connect(path: &Path) -> Result<SendRequest<Bytes>, Error> {
    speak(open(path).await?).await
}

/// Connects to the socket at `path`, if it is root's alone.
///
/// # Errors
/// [`Error::NotTrusted`] or [`Error::Connect`].
pub async fn open(path: &Path) -> Result<UnixStream, Error> {
    match ownership::check(path, ownership::Kind::Socket) {
        Ok(()) => {}
        // As `connect(2)` says it. What appears only now was not looked at.
        Err(Untrusted::Missing { .. }) => return Err(Error::Connect(Errno::ENOENT.into())),
        Err(untrusted) => return Err(untrusted.into()),
    }
    let stream = net::UnixStream::connect(path).await.map_err(Error::Connect)?;
    ownership::check_peer(path, &stream)?;
    stream.into_std().and_then(UnixStream::new).map_err(Error::Connect)
}

/// Starts HTTP/2 on `stream`. A task of its own moves the bytes, until the
/// connection ends or nobody holds what is given back.
pub(super) async fn speak<T>(stream: T) -> Result<SendRequest<Bytes>, Error>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = Builder::new()
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(LARGEST_HEADERS)
        .handshake(stream)
        .await
        .map_err(Error::Lost)?;
    tokio::spawn(async move {
        // The calls that it breaks report it.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a gRPC connection ended");
        }
    });
    Ok(sender)
}

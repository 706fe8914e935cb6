//! Calls.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use h2::{
    RecvStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Method, Request, StatusCode, Uri, Version, header, uri::PathAndQuery};
use prost::Message;
use tokio::sync::Mutex;

use super::{Error, ProtocolError, connect::connect, frame, message::Incoming, status};

/// What goes with a request beside its message: names in lower case, and values in visible ASCII.
pub type Metadata<'a> = &'a [(&'a str, &'a str)];

/// A client of the gRPC services on one socket. The connection is made at the
/// first call and again when it was lost, each time only if the socket is root's
/// alone (see [`hostfs::ownership`]). Cheap to clone; clones share the connection.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    socket: PathBuf,
    largest: usize,
    connection: Mutex<Option<SendRequest<Bytes>>>,
}

impl Client {
    /// A client of what listens on `socket`, that sends and takes messages of up to `largest` bytes. Nothing is
    /// connected yet.
    #[must_use]
    pub fn new(socket: &Path, largest: usize) -> Self {
        let shared = Shared { socket: socket.to_owned(), largest, connection: Mutex::new(None) };
        Self { shared: Arc::new(shared) }
    }

    /// The socket that this client talks to.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.shared.socket
    }

    /// Calls the method at `path` (`/package.Service/Method`) and gives its answer. Waits for as long as it takes:
    /// whoever drops the future cancels the call, and cannot know whether it was carried out.
    ///
    /// Must be called inside a tokio runtime with IO, the same one each time.
    ///
    /// # Errors
    /// See [`Error`]. A call is sent once: only connecting is tried again, when a connection from earlier was lost.
    pub async fn unary<Req, Resp>(
        &self,
        path: &str,
        request: &Req,
        metadata: Metadata<'_>,
    ) -> Result<Resp, Error>
    where
        Req: Message,
        Resp: Message + Default,
    {
        let head = head(path, metadata)?;
        let body = frame::encode(request, self.shared.largest).map_err(Error::Request)?;
        let response = self.send(head, body).await?;
        answer(response, self.shared.largest).await
    }

    async fn send(&self, head: Request<()>, body: Bytes) -> Result<ResponseFuture, Error> {
        let mut connection = self.shared.connection.lock().await;
        if let Some(earlier) = connection.take()
            && let Ok(mut sender) = earlier.ready().await
            && let Ok(response) = send(&mut sender, head.clone(), body.clone())
        {
            *connection = Some(sender);
            return Ok(response);
        }
        let sender = connect(&self.shared.socket).await?;
        let mut sender = sender.ready().await.map_err(Error::Lost)?;
        let response = send(&mut sender, head, body)?;
        *connection = Some(sender);
        Ok(response)
    }
}

/// Leaves the whole request with the connection's task, which has no turn before both parts are there. So they leave
/// in one write.
fn send(sender: &mut SendRequest<Bytes>, head: Request<()>, body: Bytes) -> Result<ResponseFuture, Error> {
    let (response, mut stream) = sender.send_request(head, false).map_err(Error::Lost)?;
    stream.send_data(body, true).map_err(Error::Lost)?;
    Ok(response)
}

fn head(path: &str, metadata: Metadata<'_>) -> Result<Request<()>, http::Error> {
    let uri = Uri::builder()
        .scheme("http")
        .authority("localhost")
        .path_and_query(PathAndQuery::try_from(path)?)
        .build()?;
    let mut head = Request::builder()
        .method(Method::POST)
        .uri(uri)
        .version(Version::HTTP_2)
        .header(header::TE, "trailers")
        .header(header::CONTENT_TYPE, "application/grpc");
    for &(name, value) in metadata {
        head = head.header(name, value);
    }
    head.body(())
}

async fn answer<Resp: Message + Default>(response: ResponseFuture, largest: usize) -> Result<Resp, Error> {
    let (head, mut body) = response.await.map_err(Error::Lost)?.into_parts();
    if head.status != StatusCode::OK {
        return Err(ProtocolError::HttpStatus(head.status.as_u16()).into());
    }
    let kind = head.headers.get(header::CONTENT_TYPE);
    if !kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        return Err(ProtocolError::ContentType.into());
    }
    if let Some(status) = status::read(&head.headers) {
        return status.and(Err(ProtocolError::NoMessage.into()));
    }
    let message = receive(&mut body, largest).await?;
    match body.trailers().await.map_err(Error::Lost)?.as_ref().and_then(status::read) {
        Some(status) => status?,
        None => return Err(ProtocolError::NoStatus.into()),
    }
    Ok(message.decode()?)
}

async fn receive(body: &mut RecvStream, largest: usize) -> Result<Incoming, Error> {
    let mut message = Incoming::new(largest);
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(Error::Lost)?;
        let length = piece.len();
        message.push(piece)?;
        body.flow_control().release_capacity(length).map_err(Error::Lost)?;
    }
    Ok(message)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, IoSlice},
        pin::Pin,
        sync::Mutex,
        task::{Context, Poll},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;
    use crate::connect::speak;

    /// Takes everything, write by write, and never answers.
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<Vec<u8>>>>);

    impl AsyncRead for Writes {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Writes {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            let length = bytes.len();
            self.0.lock().unwrap().push(bytes);
            Poll::Ready(Ok(length))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// The types of the frames in `bytes`.
    fn frames(mut bytes: &[u8]) -> Vec<u8> {
        let mut kinds = Vec::new();
        while let &[a, b, c, kind, ..] = bytes {
            kinds.push(kind);
            bytes = &bytes[9 + u32::from_be_bytes([0, a, b, c]) as usize..];
        }
        kinds
    }

    #[tokio::test]
    async fn request_leaves_in_one_write() {
        const DATA: u8 = 0;
        const HEADERS: u8 = 1;
        let writes = Writes::default();
        let mut sender = speak(writes.clone()).await.unwrap();
        for length in [10, 5000, 16_000] {
            let body = frame::encode(&"x".repeat(length), 20_000).unwrap();
            let answer =
                send(&mut sender, head("/service/method", &[("name", "value")]).unwrap(), body).unwrap();
            // The connection's own task takes its turn.
            tokio::task::yield_now().await;
            let last = frames(writes.0.lock().unwrap().last().unwrap());
            assert!(last.ends_with(&[HEADERS, DATA]), "{length} bytes: {last:?}");
            drop(answer);
            tokio::task::yield_now().await;
        }
    }
}

//! Answers the pings of grpc-go late.
//!
//! To estimate the bandwidth, a server of grpc-go sends a ping with the message of every call, and the next one not
//! before it has the answer. On a UNIX socket nothing is gained by that, and it costs either side a turn on the
//! processor for each call. So the answer waits until ten seconds have gone by, and then goes behind the next request.
//! HTTP/2 asks for an answer and sets no time (RFC 9113, section 6.7). Every other ping is answered at once; grpc-go's
//! keepalive, which does set a time, is one of those.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The answer to a ping with the payload that grpc-go uses for its estimates: length, type PING, flag ACK, stream 0.
const ANSWER: [u8; 17] = [0, 0, 8, 6, 1, 0, 0, 0, 0, 2, 4, 16, 16, 9, 14, 7, 7];

const LATE: Duration = Duration::from_secs(10);

/// A connection on which such answers are held back.
#[derive(Debug)]
pub(super) struct LatePings<T> {
    inner: T,
    late: Duration,
    /// Since when an answer is owed.
    owed: Option<Instant>,
    /// What is left to write of an answer that is on its way.
    leaving: &'static [u8],
}

impl<T: AsyncWrite + Unpin> LatePings<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner, late: LATE, owed: None, leaving: &[] }
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.leaving.is_empty() {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, self.leaving))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.leaving = self.leaving.get(written..).unwrap_or_default(),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for LatePings<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for LatePings<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_answer(cx))?;
        let mut bytes = slices.iter().flat_map(|slice| slice.iter());
        if bytes.by_ref().take(ANSWER.len()).eq(&ANSWER) && bytes.next().is_none() {
            this.owed.get_or_insert_with(Instant::now);
            return Poll::Ready(Ok(ANSWER.len()));
        }
        let written = ready!(Pin::new(&mut this.inner).poll_write_vectored(cx, slices))?;
        // A frame may go on in the next write unless all was taken: h2 writes whole ones.
        let whole = written == slices.iter().map(|slice| slice.len()).sum::<usize>();
        if whole && this.owed.is_some_and(|since| since.elapsed() >= this.late) {
            this.owed = None;
            this.leaving = &ANSWER;
            // What does not fit now leaves with the flush, or before the next write.
            if let Poll::Ready(Err(error)) = this.poll_answer(cx) {
                tracing::debug!(%error, "a ping could not be answered");
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_answer(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_answer(cx))?;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn pair(late: Duration) -> (LatePings<DuplexStream>, DuplexStream) {
        let (near, far) = duplex(1 << 16);
        (LatePings { late, ..LatePings::new(near) }, far)
    }

    async fn all(near: LatePings<DuplexStream>, mut far: DuplexStream) -> Vec<u8> {
        drop(near);
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        got
    }

    #[tokio::test]
    async fn an_answer_goes_behind_the_next_request_once_it_is_late() {
        let (mut near, far) = pair(Duration::ZERO);
        near.write_all(&ANSWER).await.unwrap();
        near.write_all(b"request").await.unwrap();
        near.write_all(b"another").await.unwrap();
        assert_eq!(all(near, far).await, [b"request", &ANSWER[..], b"another"].concat());
    }

    #[tokio::test]
    async fn until_then_it_waits() {
        let (mut near, far) = pair(Duration::from_secs(3600));
        near.write_all(&ANSWER).await.unwrap();
        near.write_all(b"request").await.unwrap();
        assert_eq!(all(near, far).await, b"request");
    }

    #[tokio::test]
    async fn all_else_passes() {
        let (mut near, far) = pair(Duration::ZERO);
        let mut keepalive = ANSWER;
        keepalive[9..].fill(0);
        near.write_all(&keepalive).await.unwrap();
        let longer = [&ANSWER[..], b"x"].concat();
        near.write_all(&longer).await.unwrap();
        near.write_all(&ANSWER[..16]).await.unwrap();
        near.flush().await.unwrap();
        assert_eq!(all(near, far).await, [&keepalive[..], &longer, &ANSWER[..16]].concat());
    }

    #[tokio::test]
    async fn an_answer_that_does_not_fit_is_not_torn_by_the_next_request() {
        let (near, mut far) = duplex(8);
        let mut near = LatePings { late: Duration::ZERO, ..LatePings::new(near) };
        let writer = tokio::spawn(async move {
            near.write_all(&ANSWER).await.unwrap();
            near.write_all(b"first").await.unwrap();
            near.write_all(b"second").await.unwrap();
        });
        let mut got = Vec::new();
        far.read_to_end(&mut got).await.unwrap();
        writer.await.unwrap();
        assert_eq!(got, [b"first", &ANSWER[..], b"second"].concat());
    }
}

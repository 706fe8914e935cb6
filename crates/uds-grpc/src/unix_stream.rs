//! A UNIX socket that wakes its task for reading only.
//!
//! tokio's own `UnixStream` also asks to be woken whenever it may write again,
//! which is each time that the other side has read what it was sent: one
//! needless turn on the processor for every message. Here that is asked for
//! only once a write did not fit.

use std::{
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream as StdStream,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd};

/// A connected UNIX stream socket.
#[derive(Debug)]
pub struct UnixStream {
    stream: AsyncFd<StdStream>,
    /// The same socket, to wait until it takes more; made when first needed.
    full: Option<AsyncFd<StdStream>>,
}

impl UnixStream {
    /// Takes over a connected socket. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system refused to watch it.
    pub fn new(stream: StdStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: register(stream, Interest::READABLE)?, full: None })
    }

    fn poll_with(
        &mut self,
        cx: &mut Context<'_>,
        write: impl Fn(&StdStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        match write(self.stream.get_ref()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
        let full = match &mut self.full {
            Some(full) => full,
            none => {
                let same = self.stream.get_ref().try_clone()?;
                none.insert(register(same, Interest::WRITABLE)?)
            }
        };
        loop {
            let mut guard = ready!(full.poll_write_ready(cx))?;
            if let Ok(result) = guard.try_io(|full| write(full.get_ref())) {
                return Poll::Ready(result);
            }
        }
    }
}

#[allow(unsafe_code)]
fn register(stream: StdStream, interest: Interest) -> io::Result<AsyncFd<StdStream>> {
    // SAFETY: a std UnixStream owns its descriptor and gives the same one out for as long as it lives; the AsyncFd
    // owns it and hands out shared references only, which cannot replace it.
    let registered = unsafe { AsyncFd::register_with_interest(stream, interest) };
    Ok(registered?)
}

impl AsyncRead for UnixStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.stream.poll_read_ready(cx))?;
            let free = buffer.initialize_unfilled();
            match guard.try_io(|stream| stream.get_ref().read(free)) {
                Ok(Ok(length)) => {
                    buffer.advance(length);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for UnixStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_with(cx, |mut stream| stream.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_with(cx, |mut stream| stream.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.get_ref().shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn more_than_the_socket_holds_gets_through() {
        let (one, two) = StdStream::pair().unwrap();
        let (mut one, mut two) = (UnixStream::new(one).unwrap(), UnixStream::new(two).unwrap());
        let sent: Vec<u8> = (0..4_000_000u32).map(|i| (i % 251) as u8).collect();
        let copy = sent.clone();
        let writer = tokio::spawn(async move {
            one.write_all(&copy).await.unwrap();
            assert!(one.full.is_some(), "it was full at least once");
            one.shutdown().await.unwrap();
            one
        });
        let mut got = Vec::new();
        two.read_to_end(&mut got).await.unwrap();
        assert!(got == sent);
        drop(writer.await.unwrap());
    }

    #[tokio::test]
    async fn closed_socket_is_a_write_error_and_a_read_end() {
        let (one, two) = StdStream::pair().unwrap();
        let mut one = UnixStream::new(one).unwrap();
        drop(two);
        assert_eq!(one.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(one.write(b"x").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

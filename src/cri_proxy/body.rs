//! Bodies of calls: passed on as they come, taken whole, or changed message by message.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;

use super::trailers;

/// The body of a request or of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A request's body as it comes. What breaks it off is passed on as that.
pub(super) fn request(body: Incoming) -> Body {
    body.boxed_unsync()
}

/// An answer's body as it comes. Where it breaks off, the call ends with the status UNAVAILABLE, as it
/// would where the runtime's connection is lost.
pub(super) fn answer(body: Incoming) -> Body {
    Ended { inner: body, over: false }.boxed_unsync()
}

/// One message, and what follows it.
pub(super) fn whole(bytes: Bytes, trailers: Option<HeaderMap>) -> Body {
    let body = Full::new(bytes).map_err(never);
    body.with_trailers(async move { trailers.map(Ok) }).boxed_unsync()
}

/// Nothing.
pub(super) fn empty() -> Body {
    Full::default().map_err(never).boxed_unsync()
}

/// What comes out of a channel.
pub(super) fn channel(frames: mpsc::Receiver<Frame<Bytes>>) -> Body {
    Channel(frames).boxed_unsync()
}

fn never(never: Infallible) -> hyper::Error {
    match never {}
}

struct Ended {
    inner: Incoming,
    over: bool,
}

impl hyper::body::Body for Ended {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.over {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.inner).poll_frame(cx).map(|frame| match frame {
            Some(Err(error)) => {
                self.over = true;
                Some(Ok(Frame::trailers(trailers::broken_off(&error))))
            }
            frame => frame,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.over || self.inner.is_end_stream()
    }
}

struct Channel(mpsc::Receiver<Frame<Bytes>>);

impl hyper::body::Body for Channel {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

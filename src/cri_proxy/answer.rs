//! The runtime's answer to a unary call, taken apart and put together again.

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::{
    LARGEST, LARGEST_BODY,
    body::{self, Body},
    reply::{self, Failed},
    wire::NotAMessage,
};

use uds_grpc::frame;

/// The header, or trailer, that has a call's result (gRPC over HTTP2, "Status").
const STATUS: &str = "grpc-status";

/// An answer with one message.
pub(super) struct Answer {
    head: http::response::Parts,
    pub(super) message: Bytes,
    trailers: Option<HeaderMap>,
}

/// An answer without a message that can be read; it can still be passed on.
#[derive(Debug)]
pub(super) enum NoMessage {
    /// The call failed.
    Failed(Response<Body>),
    /// It succeeded, as far as can be told.
    NotUnderstood(Response<Body>),
}

impl NoMessage {
    pub(super) fn passed_on(self) -> Response<Body> {
        match self {
            Self::Failed(response) | Self::NotUnderstood(response) => response,
        }
    }
}

impl Answer {
    pub(super) async fn take(response: Response<Incoming>) -> Result<Self, Box<NoMessage>> {
        if failed_at_once(&response) {
            return Err(Box::new(NoMessage::Failed(response.map(body::answer))));
        }
        let (mut head, incoming) = response.into_parts();
        let collected = match Limited::new(incoming, LARGEST_BODY).collect().await {
            Ok(collected) => collected,
            Err(error) => {
                let reason = format!("the answer broke off: {error}");
                let failed = Failed::from(reply::Unavailable::broken(&reason));
                return Err(Box::new(NoMessage::Failed(failed.response())));
            }
        };
        let trailers = collected.trailers().cloned();
        let bytes = collected.to_bytes();
        let failed = trailers.as_ref().is_some_and(failed);
        match frame::only(bytes.clone(), LARGEST) {
            Ok(message) if !failed => {
                // It may be another one.
                head.headers.remove(header::CONTENT_LENGTH);
                Ok(Self { head, message, trailers })
            }
            _ => {
                let response = Response::from_parts(head, body::whole(bytes, trailers));
                let why = if failed { NoMessage::Failed } else { NoMessage::NotUnderstood };
                Err(Box::new(why(response)))
            }
        }
    }

    /// The answer as it is now.
    pub(super) fn response(self) -> Response<Body> {
        let frame = frame::frame(&self.message);
        Response::from_parts(self.head, body::whole(frame, self.trailers))
    }

    /// The answer with its message changed; as it is where `edit` does not understand it.
    pub(super) fn edited(
        mut self,
        edit: impl FnOnce(&[u8]) -> Result<Vec<u8>, NotAMessage>,
    ) -> Response<Body> {
        if let Ok(new) = edit(&self.message) {
            self.message = new.into();
        }
        self.response()
    }
}

/// Whether a unary call failed and that stands in the head, not behind a message ("Trailers-Only").
pub(super) fn failed_at_once(response: &Response<Incoming>) -> bool {
    response.headers().contains_key(STATUS)
}

fn failed(trailers: &HeaderMap) -> bool {
    trailers.get(STATUS).is_some_and(|status| status != "0")
}

//! Answers of our own: errors in the form that gRPC gives them.

use std::path::Path;

use http::{HeaderValue, Response, header};

use super::{
    body::{self, Body},
    edit::Refused,
    trailers::{LONGEST, status},
};
use strict_groups_core::text;
use uds_grpc::{Code, frame::FrameError};

/// The runtime cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unavailable(String);

impl Unavailable {
    pub(super) fn new(socket: &Path, reason: &str) -> Self {
        let reason =
            format!("strict-groups: the runtime at {} cannot be reached: {reason}", socket.display());
        Self(text::one_line(&reason, LONGEST))
    }

    /// An answer that ended before its time.
    pub(super) fn broken(reason: &str) -> Self {
        Self(text::one_line(&format!("strict-groups: {reason}"), LONGEST))
    }
}

/// Why a call is answered without the runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failed {
    Unavailable(Unavailable),
    Refused(Refused),
    /// The request's body is not what a unary call has.
    Body(FrameError),
    /// The request broke off.
    Cut,
}

impl From<Unavailable> for Failed {
    fn from(unavailable: Unavailable) -> Self {
        Self::Unavailable(unavailable)
    }
}

impl From<Refused> for Failed {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<FrameError> for Failed {
    fn from(error: FrameError) -> Self {
        Self::Body(error)
    }
}

impl Failed {
    fn code(&self) -> Code {
        match self {
            Self::Unavailable(_) => Code::Unavailable,
            Self::Refused(Refused::NotEnforced { .. } | Refused::NotSeen { .. }) => Code::FailedPrecondition,
            Self::Refused(_) => Code::InvalidArgument,
            Self::Body(FrameError::Compressed) => Code::Unimplemented,
            Self::Body(FrameError::TooLarge { .. }) => Code::ResourceExhausted,
            Self::Body(FrameError::NotOne) => Code::Internal,
            Self::Cut => Code::Cancelled,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Unavailable(Unavailable(reason)) => reason.clone(),
            Self::Refused(refused) => refused.to_string(),
            Self::Body(error) => format!("strict-groups: {error}"),
            Self::Cut => "strict-groups: the request broke off".to_owned(),
        }
    }

    /// The whole answer (gRPC over HTTP2, "Trailers-Only").
    pub(super) fn response(&self) -> Response<Body> {
        let mut response = Response::new(body::empty());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.extend(status(self.code(), &self.text()));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_what_grpc_calls_trailers_only() {
        let refused = Refused::UnknownPolicy { pod: "default/wéb".into(), number: 7 };
        let response = Failed::from(refused).response();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert_eq!(response.headers()["grpc-status"], "3");
        let message = response.headers()["grpc-message"].to_str().unwrap();
        assert!(message.contains("pod default/w%C3%A9b: supplementalGroupsPolicy 7"), "{message}");
    }

    #[test]
    fn codes_are_those_that_the_kubelet_knows() {
        let pod = String::from("a/b");
        for (failed, code) in [
            (Failed::from(Unavailable::new(Path::new("/x"), "gone")), "14"),
            (Refused::NotEnforced { pod: pod.clone(), reason: "x".into() }.into(), "9"),
            (Refused::NotSeen { pod, container: "c".into() }.into(), "9"),
            (FrameError::Compressed.into(), "12"),
            (Failed::Cut, "1"),
        ] {
            assert_eq!(failed.response().headers()["grpc-status"], code, "{failed:?}");
        }
    }
}

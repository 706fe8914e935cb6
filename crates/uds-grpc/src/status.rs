//! The status that ends every call.

use std::fmt;

use http::HeaderMap;

use super::{Error, ProtocolError};

/// gRPC's status codes (`statuscodes.md` of the gRPC project).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Code {
    Cancelled = 1,
    /// Also what stands for a code that nobody knows.
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl From<Code> for u32 {
    fn from(code: Code) -> Self {
        code as Self
    }
}

impl Code {
    /// None is success.
    fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => return None,
            1 => Self::Cancelled,
            3 => Self::InvalidArgument,
            4 => Self::DeadlineExceeded,
            5 => Self::NotFound,
            6 => Self::AlreadyExists,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            9 => Self::FailedPrecondition,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            13 => Self::Internal,
            14 => Self::Unavailable,
            15 => Self::DataLoss,
            16 => Self::Unauthenticated,
            _ => Self::Unknown,
        })
    }
}

/// A failure as the service told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// What kind of failure.
    pub code: Code,
    /// The service's own words, as they came: not fit to be shown unseen.
    pub message: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

/// How the call went, as `trailers` say it; None when they do not. An answer
/// without a message has its trailers where its headers are ("trailers-only").
pub(super) fn read(trailers: &HeaderMap) -> Option<Result<(), Error>> {
    let Some(Ok(number)) = trailers.get("grpc-status")?.to_str().ok().map(str::parse) else {
        return Some(Err(ProtocolError::NoStatus.into()));
    };
    let Some(code) = Code::from_number(number) else { return Some(Ok(())) };
    let message = trailers.get("grpc-message").map(|text| percent_decoded(text.as_bytes()));
    Some(Err(Error::Status(Status { code, message: message.unwrap_or_default() })))
}

/// `%C3%A9` for é. What is not written that way is taken as it is: a damaged
/// message is better than none (`PROTOCOL-HTTP2.md`, Status-Message).
fn percent_decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        match tail.first_chunk().and_then(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)) {
            Some(byte) if first == b'%' => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn digit(character: u8) -> Option<u8> {
    u8::try_from(char::from(character).to_digit(16)?).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn status(code: &'static str, message: Option<&'static str>) -> Option<Result<(), Error>> {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(code));
        if let Some(message) = message {
            trailers.insert("grpc-message", HeaderValue::from_static(message));
        }
        read(&trailers)
    }

    #[test]
    fn codes_and_messages_are_read() {
        assert!(read(&HeaderMap::new()).is_none());
        assert!(matches!(status("0", None), Some(Ok(()))));
        assert!(matches!(status("0", Some("ignored")), Some(Ok(()))));
        let failure = |code, message| match status(code, message) {
            Some(Err(Error::Status(status))) => (status.code, status.message),
            other => panic!("{other:?}"),
        };
        assert_eq!(failure("5", Some("no%20such thing")), (Code::NotFound, "no such thing".to_owned()));
        assert_eq!(failure("14", None), (Code::Unavailable, String::new()));
        assert_eq!(failure("77", Some("?")), (Code::Unknown, "?".to_owned()));
    }

    #[test]
    fn every_code_has_its_own_number() {
        for number in 1..=16 {
            assert_eq!(Code::from_number(number).map(|code| code as u32), Some(number));
        }
    }

    #[test]
    fn status_that_is_no_number_is_no_success() {
        for code in ["", "x", "-1", "0x0", "99999999999"] {
            let read = status(code, None);
            assert!(
                matches!(read, Some(Err(Error::Protocol(ProtocolError::NoStatus)))),
                "{code:?}: {read:?}"
            );
        }
    }

    #[test]
    fn percent_signs() {
        assert_eq!(percent_decoded(b"caf%C3%a9 100%"), "caf\u{e9} 100%");
        assert_eq!(percent_decoded(b"%4"), "%4");
        assert_eq!(percent_decoded(b"%zz%2"), "%zz%2");
        assert_eq!(percent_decoded(b"%%41"), "%A");
        assert_eq!(percent_decoded(b"%ff"), "\u{fffd}");
        assert_eq!(percent_decoded(b""), "");
    }
}

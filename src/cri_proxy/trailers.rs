//! The end of a call as gRPC has it: its status in headers (gRPC over HTTP2, "Responses").

use http::{HeaderMap, HeaderValue};

use strict_groups_core::text;
use uds_grpc::Code;
use uds_grpc::frame::FrameError;

/// The longest text of an error, in bytes.
pub(super) const LONGEST: usize = 2048;

/// The end of an answer that broke off.
pub(super) fn broken_off(error: &hyper::Error) -> HeaderMap {
    status(Code::Unavailable, &format!("strict-groups: the runtime's answer broke off: {error}"))
}

/// The end of an answer whose messages we could not take apart.
pub(super) fn not_understood(error: FrameError) -> HeaderMap {
    status(Code::Internal, &format!("strict-groups: the runtime's answer: {error}"))
}

/// A status other than OK.
pub(super) fn status(code: Code, message: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("grpc-status", HeaderValue::from(u32::from(code)));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(&text::one_line(message, LONGEST))) {
        headers.insert("grpc-message", message);
    }
    headers
}

/// gRPC over HTTP2, "Percent-Encoded".
fn percent_encoded(message: &str) -> String {
    use std::fmt::Write as _;
    message.bytes().fold(String::with_capacity(message.len()), |mut out, byte| {
        match byte {
            b'%' | ..0x20 | 0x7f.. => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
            byte => out.push(char::from(byte)),
        }
        out
    })
}

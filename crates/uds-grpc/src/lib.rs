//! A client of gRPC services on a UNIX socket, for unary calls: one request,
//! one answer.
//!
//! It speaks HTTP/2 through the crate `h2` and does what the gRPC protocol asks
//! of a client on top of it (`PROTOCOL-HTTP2.md` of the gRPC project). Knows
//! nothing of containerd or groups: the messages are any of prost's, and the
//! method is a path.
//!
//! Made to wake the process seldom: headers and message of a request leave in
//! one write, and the windows are so large that an answer of usual size needs
//! no word from us in between.

mod client;
mod connect;
mod error;
pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod message;
mod status;
mod unix_stream;

pub use client::{Client, Metadata};
pub use connect::open;
pub use error::{Error, ProtocolError};
pub use status::{Code, Status};
pub use unix_stream::UnixStream;

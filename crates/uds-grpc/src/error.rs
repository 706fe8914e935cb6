//! Why a call gave no answer.

use std::io;

use thiserror::Error;

use super::{Status, frame::FrameError};
use hostfs::ownership::Untrusted;

/// Why a call gave no answer. None of the texts names the socket: who called knows it.
#[derive(Debug, Error)]
pub enum Error {
    /// Somebody other than root could be listening on the socket.
    #[error(transparent)]
    NotTrusted(#[from] Untrusted),
    /// The socket cannot be connected to.
    #[error(transparent)]
    Connect(io::Error),
    /// The connection or the call's own stream ended before the answer did. The call may have been carried out.
    #[error("{}", .0.get_io().map_or_else(|| .0.to_string(), ToString::to_string))]
    Lost(h2::Error),
    /// The other side speaks HTTP/2, and no gRPC that we understand. The call may have been carried out.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// The request was not sent.
    #[error("the request: {0}")]
    Request(FrameError),
    /// The path of the method or the metadata cannot be sent in HTTP.
    #[error("the call cannot be written as an HTTP request: {0}")]
    NotSendable(#[from] http::Error),
    /// The service answered with an error.
    #[error("{0}")]
    Status(Status),
}

/// What is wrong with an answer.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ProtocolError {
    /// Not what a gRPC server answers, whatever the call.
    #[error("the answer has the HTTP status {0}")]
    HttpStatus(u16),
    /// The answer is no gRPC message.
    #[error("the answer is not of the type application/grpc")]
    ContentType,
    /// The answer ended without telling how the call went.
    #[error("the answer has no readable grpc-status")]
    NoStatus,
    /// Success without an answer.
    #[error("the answer has no message")]
    NoMessage,
    /// The message cannot be taken: [`FrameError`].
    #[error("the answer: {0}")]
    Frame(#[from] FrameError),
    /// The message ended before its announced length.
    #[error("the answer's message is cut off")]
    Cut,
    /// A unary call has one answer.
    #[error("the answer has more than one message")]
    TooMany,
    /// The message is not what the method answers.
    #[error("the answer cannot be decoded: {0}")]
    Decode(#[from] prost::DecodeError),
}

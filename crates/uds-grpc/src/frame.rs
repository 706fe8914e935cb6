//! The frame around a message in a gRPC body: a byte that says whether it is compressed, and four for
//! its length ([gRPC over HTTP2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md), "Length-Prefixed-Message").

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;
use thiserror::Error;

/// Bytes before a message.
pub const HEAD: usize = 5;

const NOT_COMPRESSED: u8 = 0;

/// Why a body's messages cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Compression was not agreed on, and we could not see what is said.
    #[error("compressed messages are not understood")]
    Compressed,
    /// It announces more than is taken.
    #[error("the message is too large: {length} bytes, where {limit} are allowed")]
    TooLarge {
        /// Bytes that it has.
        length: usize,
        /// Bytes that are taken.
        limit: usize,
    },
    /// Not exactly one message.
    #[error("the body is not one message")]
    NotOne,
}

/// The bytes of a message as the whole body of a call. They are far less than 4 GiB.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let mut out = head(message.len());
    out.put_slice(message);
    out.freeze()
}

/// A message as the whole body of a call.
///
/// # Errors
/// [`FrameError::TooLarge`]
pub fn encode(message: &impl Message, limit: usize) -> Result<Bytes, FrameError> {
    let length = message.encoded_len();
    if length > limit || u32::try_from(length).is_err() {
        return Err(FrameError::TooLarge { length, limit });
    }
    let mut out = head(length);
    message.encode_raw(&mut out);
    Ok(out.freeze())
}

fn head(length: usize) -> BytesMut {
    let mut out = BytesMut::with_capacity(HEAD + length);
    out.put_u8(NOT_COMPRESSED);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    out
}

/// The one message of a body.
///
/// # Errors
/// It cannot be taken, or there is not exactly one.
pub fn only(body: Bytes, largest: usize) -> Result<Bytes, FrameError> {
    let mut frames = Frames::new(largest);
    frames.push(body);
    match (frames.next()?, frames.is_empty()) {
        (Some(message), true) => Ok(message),
        _ => Err(FrameError::NotOne),
    }
}

/// Takes the messages of a body apart, as it comes in.
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    largest: usize,
}

impl Frames {
    /// Takes messages of up to `largest` bytes.
    #[must_use]
    pub fn new(largest: usize) -> Self {
        Self { buffer: BytesMut::new(), largest }
    }

    /// The next piece of the body.
    pub fn push(&mut self, piece: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::from(piece);
        } else {
            self.buffer.extend_from_slice(&piece);
        }
    }

    /// Whether all that came in came out again.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole message. None: more has to come. Of one that cannot be taken no more is kept than the pieces so far.
    ///
    /// # Errors
    /// It is compressed or too large, which its head says.
    #[allow(clippy::should_implement_trait, reason = "it can go on after None")]
    pub fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(&[compressed, a, b, c, d]) = self.buffer.get(..HEAD).and_then(|head| head.first_chunk())
        else {
            return Ok(None);
        };
        if compressed != NOT_COMPRESSED {
            return Err(FrameError::Compressed);
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.largest {
            return Err(FrameError::TooLarge { length, limit: self.largest });
        }
        if self.buffer.len() - HEAD < length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_as_they_went_in_however_they_are_cut() {
        let body: Vec<u8> =
            [&b"one"[..], b"", b"three"].iter().flat_map(|text| frame(text).to_vec()).collect();
        for size in 1..=body.len() {
            let mut frames = Frames::new(100);
            let mut found = Vec::new();
            for piece in body.chunks(size) {
                frames.push(Bytes::copy_from_slice(piece));
                while let Some(message) = frames.next().unwrap() {
                    found.push(message);
                }
            }
            assert_eq!(found, ["one", "", "three"]);
        }
    }

    #[test]
    fn too_large_a_message_is_not_encoded() {
        let message = "x".repeat(7);
        assert!(encode(&message, 9).is_ok());
        assert_eq!(encode(&message, 8), Err(FrameError::TooLarge { length: 9, limit: 8 }));
    }

    #[test]
    fn one_message_is_one_message() {
        assert_eq!(only(frame(b"x"), 10).unwrap(), "x");
        let two = [frame(b"x"), frame(b"y")].concat();
        for wrong in [Bytes::new(), Bytes::from_static(&[0, 0, 0, 0, 2, 1]), two.into()] {
            assert_eq!(only(wrong, 10), Err(FrameError::NotOne));
        }
        assert_eq!(only(Bytes::from_static(&[1, 0, 0, 0, 0]), 10), Err(FrameError::Compressed));
        assert_eq!(only(frame(b"too long"), 7), Err(FrameError::TooLarge { length: 8, limit: 7 }));
    }
}

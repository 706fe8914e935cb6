//! The frame around a message in a gRPC body: a byte that says whether it is compressed, and four for
//! its length (gRPC over HTTP2, "Length-Prefixed-Message").

use bytes::{Buf, BufMut, Bytes, BytesMut};
use thiserror::Error;

const HEAD: usize = 5;

/// No message that is looked at is larger, in bytes: gRPC's own limit is 4 MiB, that of the kubelet and containerd 16.
pub(super) const LARGEST: usize = 64 * 1024 * 1024;

/// The body of a unary call with such a message.
pub(super) const LARGEST_BODY: usize = HEAD + LARGEST;

/// Why a body's messages cannot be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum FrameError {
    /// Compression was not agreed on, and we could not see what is said.
    #[error("compressed messages are not understood")]
    Compressed,
    /// Longer than anything the CRI has.
    #[error("the message is too large")]
    TooLarge,
    /// Not exactly one message.
    #[error("the body is not one message")]
    NotOne,
}

/// A message as the whole body of a call.
pub(super) fn frame(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD + message.len());
    out.put_u8(0);
    // Messages are limited to far less than 4 GiB when they are taken apart.
    out.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    out.put_slice(message);
    out.freeze()
}

/// The one message of a body.
pub(super) fn only(body: Bytes, largest: usize) -> Result<Bytes, FrameError> {
    let mut frames = Frames::new(largest);
    frames.push(body);
    match (frames.next()?, frames.buffer.is_empty()) {
        (Some(message), true) => Ok(message),
        _ => Err(FrameError::NotOne),
    }
}

/// Takes the messages of a body apart, as it comes in.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: BytesMut,
    largest: usize,
}

impl Frames {
    pub(super) fn new(largest: usize) -> Self {
        Self { buffer: BytesMut::new(), largest }
    }

    pub(super) fn push(&mut self, piece: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::from(piece);
        } else {
            self.buffer.extend_from_slice(&piece);
        }
    }

    /// The next whole message. None: more has to come.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(&[compressed, a, b, c, d]) = self.buffer.get(..HEAD).and_then(|head| head.first_chunk())
        else {
            return Ok(None);
        };
        if compressed != 0 {
            return Err(FrameError::Compressed);
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.largest {
            return Err(FrameError::TooLarge);
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
    fn one_message_is_one_message() {
        assert_eq!(only(frame(b"x"), 10).unwrap(), "x");
        let two = [frame(b"x"), frame(b"y")].concat();
        for wrong in [Bytes::new(), Bytes::from_static(&[0, 0, 0, 0, 2, 1]), two.into()] {
            assert_eq!(only(wrong, 10), Err(FrameError::NotOne));
        }
        assert_eq!(only(Bytes::from_static(&[1, 0, 0, 0, 0]), 10), Err(FrameError::Compressed));
        assert_eq!(only(frame(b"too long"), 7), Err(FrameError::TooLarge));
    }
}

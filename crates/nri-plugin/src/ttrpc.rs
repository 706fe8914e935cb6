//! ttrpc: calls and answers on one connection.
//!
//! A message is a header of 10 bytes (payload length u32, stream id u32, both big endian, type u8, flags u8), then
//! the payload: a `Request` or a `Response`.

use prost::Message;

use super::{ProtocolError, Status, mux};

/// The wire's own messages, generated from `proto/ttrpc.proto`.
pub(super) mod wire {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/ttrpc.rs"));
}

/// A `Request`: the receiver is the server.
pub(super) const REQUEST: u8 = 1;
/// A `Response`: the receiver is the client.
pub(super) const RESPONSE: u8 = 2;

/// Bytes before each payload.
const HEADER_LEN: usize = 10;

/// Largest message that is accepted. ttrpc's own limit is 4 MiB, and the crate `ttrpc` has no way around it. But a
/// runtime with NRI before 0.7 (containerd 1.7, CRI-O up to 1.31) sends its whole state as one Synchronize, up to
/// the 16 MiB of the multiplexer: a plugin that refuses it is never registered on a node with many containers, and
/// all of them are created without it.
const MAX_RECEIVED: u32 = 16 * 1024 * 1024;

/// Largest message that is sent: what the runtime's side can queue unread. See [`mux::MAX_QUEUED`].
pub(super) const MAX_SENT: usize = mux::MAX_QUEUED * mux::MAX_SENT - HEADER_LEN;

/// A buffer that grew beyond this for one message is given back after it.
const KEEP: usize = 64 * 1024;

/// What a message's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) len: u32,
    pub(super) stream: u32,
    pub(super) kind: u8,
}

/// Takes the messages of one connection apart, however the bytes arrive.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    header: [u8; HEADER_LEN],
    header_filled: usize,
    /// The message that is being read.
    message: Option<Header>,
    /// What came of its payload. It grows with the bytes that came, not with what the header announced.
    buffer: Vec<u8>,
}

impl Deframer {
    /// Calls `take` for every message that ends within `input`.
    pub(super) fn push<E: From<ProtocolError>>(
        &mut self,
        mut input: &[u8],
        mut take: impl FnMut(Header, &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        loop {
            let header = if let Some(header) = self.message {
                header
            } else {
                let Some(raw) = mux::fill(&mut self.header, &mut self.header_filled, &mut input) else {
                    return Ok(());
                };
                let header = parse(raw)?;
                self.message = Some(header);
                header
            };
            let missing = header.len as usize - self.buffer.len();
            if input.len() < missing {
                self.buffer.extend_from_slice(input);
                return Ok(());
            }
            let (piece, rest) = input.split_at(missing);
            input = rest;
            self.message = None;
            if self.buffer.is_empty() {
                // The usual case: the message came in one piece and is decoded where it lies.
                take(header, piece)?;
            } else {
                self.buffer.extend_from_slice(piece);
                let mut buffer = std::mem::take(&mut self.buffer);
                take(header, &buffer)?;
                if buffer.capacity() <= KEEP {
                    buffer.clear();
                    self.buffer = buffer;
                }
            }
        }
    }

    /// Whether the input so far ended where a message does.
    pub(super) fn is_between_messages(&self) -> bool {
        self.header_filled == 0 && self.message.is_none()
    }
}

fn parse(header: [u8; HEADER_LEN]) -> Result<Header, ProtocolError> {
    let len = mux::u32_at(&header, 0);
    if len > MAX_RECEIVED {
        return Err(ProtocolError::MessageTooLarge(len));
    }
    let [.., kind, _flags] = header;
    Ok(Header { len, stream: mux::u32_at(&header, 4), kind })
}

fn put_header(out: &mut Vec<u8>, len: usize, stream: u32, kind: u8) {
    out.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(&[kind, 0]);
}

/// Appends a successful answer to `out`, in frames. `len` is the length of what `encode` appends.
///
/// # Errors
/// The length that the message would have, when that is more than is sent. Nothing is appended then.
pub(super) fn put_answer(
    out: &mut Vec<u8>,
    stream: u32,
    len: usize,
    encode: impl FnOnce(&mut Vec<u8>),
) -> Result<(), usize> {
    // The payload is encoded straight into the Response's field 2 (bytes), without a copy of its own.
    let field = if len == 0 { 0 } else { 1 + prost::length_delimiter_len(len) + len };
    if field > MAX_SENT {
        return Err(field);
    }
    let start = out.len();
    out.extend_from_slice(&[0; mux::HEADER_LEN]);
    put_header(out, field, stream, RESPONSE);
    if len > 0 {
        out.push(2 << 3 | 2);
        put_varint(out, len);
        encode(out);
    }
    mux::frame_tail(out, start, mux::PLUGIN);
    Ok(())
}

/// Appends an answer that says what went wrong.
pub(super) fn put_failure(out: &mut Vec<u8>, stream: u32, status: &Status) {
    let status = wire::Status { code: status.code, message: status.message.clone() };
    let response = wire::Response { status: Some(status), payload: Vec::new() };
    put_message(out, mux::PLUGIN, stream, RESPONSE, &response);
}

/// Appends a call to the runtime.
pub(super) fn put_request(out: &mut Vec<u8>, stream: u32, request: &wire::Request) {
    put_message(out, mux::RUNTIME, stream, REQUEST, request);
}

fn put_message(out: &mut Vec<u8>, connection: u32, stream: u32, kind: u8, message: &impl Message) {
    let start = out.len();
    out.extend_from_slice(&[0; mux::HEADER_LEN]);
    put_header(out, message.encoded_len(), stream, kind);
    out.extend_from_slice(&message.encode_to_vec());
    mux::frame_tail(out, start, connection);
}

fn put_varint(out: &mut Vec<u8>, mut value: usize) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        put_header(&mut out, payload.len(), stream, kind);
        out.extend_from_slice(payload);
        out
    }

    type Messages = Vec<(u32, u8, Vec<u8>)>;

    fn deframe(bytes: &[u8], cuts: &[usize]) -> Result<(Messages, bool), ProtocolError> {
        let mut deframer = Deframer::default();
        let mut got = Vec::new();
        let mut cuts: Vec<_> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        for cut in cuts.windows(2) {
            deframer.push::<ProtocolError>(&bytes[cut[0]..cut[1]], |header, payload| {
                got.push((header.stream, header.kind, payload.to_vec()));
                Ok(())
            })?;
        }
        Ok((got, deframer.is_between_messages()))
    }

    #[test]
    fn sixteen_mebibytes_are_accepted_and_no_more() {
        let limit = 16 << 20;
        let big = message(1, REQUEST, &vec![7; limit]);
        let (got, complete) = deframe(&big, &[5, 4096, 1 << 20]).unwrap();
        assert!(complete && got.len() == 1 && got[0].2.len() == limit);

        let mut header = Vec::new();
        put_header(&mut header, limit + 1, 1, REQUEST);
        assert_eq!(deframe(&header, &[]), Err(ProtocolError::MessageTooLarge(16 * 1024 * 1024 + 1)));
    }

    #[test]
    fn announced_length_allocates_nothing() {
        let mut deframer = Deframer::default();
        let ignore = |_: Header, _: &[u8]| Ok::<_, ProtocolError>(());
        let mut bytes = message(1, REQUEST, &vec![7; 8 << 20]);
        let last = bytes.pop().unwrap();
        deframer.push(&bytes[..100], ignore).unwrap();
        assert!(deframer.buffer.capacity() < 4096);
        deframer.push(&bytes[100..], ignore).unwrap();
        assert!(deframer.buffer.capacity() >= (8 << 20) - 1);
        deframer.push(&[last], ignore).unwrap();
        assert!(deframer.buffer.capacity() <= KEEP && deframer.is_between_messages());
    }

    #[test]
    fn answer_is_the_response_that_prost_would_write() {
        for len in [0, 1, 127, 128, 16_384] {
            let payload = vec![9; len];
            let mut out = Vec::new();
            put_answer(&mut out, 5, len, |out| out.extend_from_slice(&payload)).unwrap();
            let mut want = Vec::new();
            put_message(&mut want, mux::PLUGIN, 5, RESPONSE, &wire::Response { status: None, payload });
            assert_eq!(out, want);
        }
    }

    #[test]
    fn answer_beyond_the_runtimes_queue_is_not_sent() {
        let mut out = Vec::new();
        assert!(put_answer(&mut out, 5, mux::MAX_QUEUED * mux::MAX_SENT, |_| ()).is_err());
        assert!(out.is_empty());
        let len = MAX_SENT - 4;
        put_answer(&mut out, 5, len, |out| out.resize(out.len() + len, 0)).unwrap();
        assert_eq!(out.len(), mux::MAX_QUEUED * (mux::MAX_SENT + mux::HEADER_LEN));
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_messages(
            messages in proptest::collection::vec(
                (any::<u32>(), any::<u8>(), proptest::collection::vec(any::<u8>(), 0..50)), 0..8),
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let bytes: Vec<u8> = messages.iter().flat_map(|(s, k, p)| message(*s, *k, p)).collect();
            prop_assert_eq!(deframe(&bytes, &cuts), Ok((messages, true)));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), cuts in any::<[usize; 4]>()) {
            let _ = deframe(&bytes, &cuts);
        }
    }
}

//! The multiplexer: two connections over one socket.
//!
//! A frame is a connection id and a payload length (u32 each, big endian), then the payload. A frame is what the
//! other side wrote at once, not a message: messages may span frames, and share them.

use super::ProtocolError;

/// The connection on which the runtime calls the plugin.
pub(super) const PLUGIN: u32 = 1;
/// The connection on which the plugin calls the runtime.
pub(super) const RUNTIME: u32 = 2;

/// Bytes before each payload.
pub(super) const HEADER_LEN: usize = 8;

/// Largest payload that is sent. The runtime's side reads a frame into a buffer of 4096 bytes and gives the
/// connection up when the frame is larger.
pub(super) const MAX_SENT: usize = 4096;

/// Frames that the runtime's side keeps unread for one connection. It closes the connection over one more, so no
/// message is sent that needs more, however fast the other side reads.
pub(super) const MAX_QUEUED: usize = 256;

/// Largest payload that is accepted: the limit of NRI up to 0.6 is 16 MiB; newer ones allow 4 MiB and a header.
const MAX_RECEIVED: u32 = 16 * 1024 * 1024 + 10;

/// Which connection a piece of payload belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    /// [`PLUGIN`]
    Plugin,
    /// [`RUNTIME`]
    Runtime,
}

impl Connection {
    /// Its id on the wire.
    pub(super) fn id(self) -> u32 {
        match self {
            Self::Plugin => PLUGIN,
            Self::Runtime => RUNTIME,
        }
    }
}

/// Takes frames apart, however the bytes arrive. Holds no payload: it is handed on piece by piece.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    header: [u8; HEADER_LEN],
    header_filled: usize,
    /// The frame that is being read, and what is missing of it.
    frame: Option<(Connection, usize)>,
}

impl Decoder {
    /// The next piece of payload at the front of `input`, which is moved past it. None: `input` is used up.
    pub(super) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<(Connection, &'a [u8])>, ProtocolError> {
        loop {
            if let Some((connection, missing)) = self.frame {
                let (piece, rest) = input.split_at(missing.min(input.len()));
                *input = rest;
                let missing = missing - piece.len();
                self.frame = (missing > 0).then_some((connection, missing));
                if !piece.is_empty() {
                    return Ok(Some((connection, piece)));
                }
                if missing > 0 {
                    return Ok(None);
                }
            }
            let Some(header) = fill(&mut self.header, &mut self.header_filled, input) else {
                return Ok(None);
            };
            self.frame = Some(parse(header)?);
        }
    }

    /// Whether the input so far ended where a frame does.
    pub(super) fn is_between_frames(&self) -> bool {
        self.header_filled == 0 && self.frame.is_none()
    }
}

fn parse(header: [u8; HEADER_LEN]) -> Result<(Connection, usize), ProtocolError> {
    let connection = match u32_at(&header, 0) {
        PLUGIN => Connection::Plugin,
        RUNTIME => Connection::Runtime,
        other => return Err(ProtocolError::UnknownConnection(other)),
    };
    let len = u32_at(&header, 4);
    if len > MAX_RECEIVED {
        return Err(ProtocolError::FrameTooLarge(len));
    }
    Ok((connection, len as usize))
}

/// Moves bytes from `input` to the fixed-size `header`; gives it back once it is full.
pub(super) fn fill<const N: usize>(
    header: &mut [u8; N],
    filled: &mut usize,
    input: &mut &[u8],
) -> Option<[u8; N]> {
    let (piece, rest) = input.split_at((N - *filled).min(input.len()));
    for (to, from) in header.iter_mut().skip(*filled).zip(piece) {
        *to = *from;
    }
    *input = rest;
    *filled += piece.len();
    if *filled < N {
        return None;
    }
    *filled = 0;
    Some(*header)
}

/// The big-endian number at `at`, which is well within the header.
pub(super) fn u32_at(header: &[u8], at: usize) -> u32 {
    header.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
}

/// One frame's header.
fn header(connection: u32, len: usize) -> [u8; HEADER_LEN] {
    // No sent payload is longer than MAX_SENT.
    let len = u32::try_from(len).unwrap_or(u32::MAX);
    (u64::from(connection) << 32 | u64::from(len)).to_be_bytes()
}

/// Puts the message that `out` holds from `start` on, behind room for one header, into frames: the one header is
/// enough for a message that fits into one frame, as nearly all do.
pub(super) fn frame_tail(out: &mut Vec<u8>, start: usize, connection: u32) {
    let len = out.len().saturating_sub(start + HEADER_LEN);
    if len <= MAX_SENT {
        if let Some(room) = out.get_mut(start..start + HEADER_LEN) {
            room.copy_from_slice(&header(connection, len));
        }
        return;
    }
    let message = out.split_off(start + HEADER_LEN);
    out.truncate(start);
    for piece in message.chunks(MAX_SENT) {
        out.extend_from_slice(&header(connection, piece.len()));
        out.extend_from_slice(piece);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(connection: u32, payload: &[u8]) -> Vec<u8> {
        [&header(connection, payload.len()), payload].concat()
    }

    /// Everything that was received on each connection, when `bytes` come in pieces that end at `cuts`.
    fn decode(bytes: &[u8], cuts: &[usize]) -> Result<([Vec<u8>; 2], bool), ProtocolError> {
        let mut decoder = Decoder::default();
        let mut got = [Vec::new(), Vec::new()];
        let mut cuts: Vec<_> = cuts.iter().map(|c| c % (bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        for cut in cuts.windows(2) {
            let mut input = &bytes[cut[0]..cut[1]];
            while let Some((connection, piece)) = decoder.next(&mut input)? {
                got[usize::from(connection == Connection::Runtime)].extend_from_slice(piece);
            }
            assert!(input.is_empty());
        }
        Ok((got, decoder.is_between_frames()))
    }

    #[test]
    fn unknown_or_oversize_frame_is_refused_by_its_header() {
        for id in [0, 3, u32::MAX] {
            assert_eq!(decode(&frame(id, b""), &[]), Err(ProtocolError::UnknownConnection(id)));
        }
        let largest = header(PLUGIN, MAX_RECEIVED as usize);
        assert_eq!(decode(&largest, &[]), Ok(([vec![], vec![]], false)));
        let larger = header(PLUGIN, MAX_RECEIVED as usize + 1);
        assert_eq!(decode(&larger, &[]), Err(ProtocolError::FrameTooLarge(MAX_RECEIVED + 1)));
    }

    #[test]
    fn empty_frames_are_nothing() {
        let bytes = [frame(1, b""), frame(2, b"x"), frame(1, b"")].concat();
        assert_eq!(decode(&bytes, &[]), Ok(([vec![], b"x".to_vec()], true)));
    }

    #[test]
    fn long_messages_are_sent_in_frames_of_4096() {
        for len in [0, 1, MAX_SENT, MAX_SENT + 1, 3 * MAX_SENT, 10_000] {
            let message: Vec<u8> = (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect();
            let mut out = b"before".to_vec();
            out.extend_from_slice(&[0; HEADER_LEN]);
            out.extend_from_slice(&message);
            frame_tail(&mut out, 6, PLUGIN);
            let sent = out.strip_prefix(b"before").unwrap();
            assert_eq!(sent.len(), len + HEADER_LEN * len.div_ceil(MAX_SENT).max(1));
            assert_eq!(decode(sent, &[]).unwrap(), ([message, vec![]], true));
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_bytes(
            frames in proptest::collection::vec((1u32..=2, proptest::collection::vec(any::<u8>(), 0..50)), 0..12),
            cuts in proptest::collection::vec(any::<usize>(), 0..20),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(id, payload)| frame(*id, payload)).collect();
            let mut want = [Vec::new(), Vec::new()];
            for (id, payload) in &frames {
                want[*id as usize - 1].extend_from_slice(payload);
            }
            prop_assert_eq!(decode(&bytes, &cuts), Ok((want, true)));
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), cuts in any::<[usize; 4]>()) {
            let _ = decode(&bytes, &cuts);
        }
    }
}

//! A message on the wire: a byte that says whether it is compressed, its length
//! (u32, big endian), its bytes.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use super::{Error, ProtocolError};

const PREFIX: usize = 5;
const NOT_COMPRESSED: u8 = 0;

/// `message` with its prefix.
///
/// # Errors
/// [`Error::RequestTooLarge`]
pub(super) fn encode(message: &impl Message, limit: usize) -> Result<Bytes, Error> {
    let length = message.encoded_len();
    let announced = u32::try_from(length).ok().filter(|_| length <= limit);
    let announced = announced.ok_or(Error::RequestTooLarge { length, limit })?;
    let mut out = BytesMut::with_capacity(PREFIX + length);
    out.put_u8(NOT_COMPRESSED);
    out.put_u32(announced);
    message.encode_raw(&mut out);
    Ok(out.freeze())
}

/// The one message of an answer, put together as it arrives.
#[derive(Debug)]
pub(super) struct Incoming {
    bytes: BytesMut,
    limit: usize,
}

impl Incoming {
    pub(super) fn new(limit: usize) -> Self {
        Self { bytes: BytesMut::new(), limit }
    }

    /// The next piece. Of a message that cannot be taken no more is kept than its first pieces.
    ///
    /// # Errors
    /// It is compressed, too large, or followed by something.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), ProtocolError> {
        self.bytes.extend_from_slice(piece);
        let Some(length) = self.length()? else { return Ok(()) };
        // Within the limit: once, instead of twice as much at each step.
        self.bytes.reserve((PREFIX + length).saturating_sub(self.bytes.len()));
        if self.bytes.len() > PREFIX + length { Err(ProtocolError::TooMany) } else { Ok(()) }
    }

    /// The message, now that all has arrived.
    ///
    /// # Errors
    /// There is none, or less than all of it, or it is not a `M`.
    pub(super) fn decode<M: Message + Default>(&self) -> Result<M, ProtocolError> {
        match (self.length()?, self.bytes.get(PREFIX..)) {
            (Some(length), Some(message)) if message.len() == length => Ok(M::decode(message)?),
            _ if self.bytes.is_empty() => Err(ProtocolError::NoMessage),
            _ => Err(ProtocolError::Cut),
        }
    }

    /// What the prefix says, once it is there.
    fn length(&self) -> Result<Option<usize>, ProtocolError> {
        let Some(&[compressed, a, b, c, d]) = self.bytes.first_chunk::<PREFIX>() else { return Ok(None) };
        if compressed != NOT_COMPRESSED {
            return Err(ProtocolError::Compressed);
        }
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(ProtocolError::TooLarge { length, limit: self.limit });
        }
        Ok(Some(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_any_split() {
        let message = "a message of some length".to_owned();
        let bytes = encode(&message, 100).unwrap();
        for at in 0..bytes.len() {
            let (one, two) = bytes.split_at(at);
            let mut incoming = Incoming::new(100);
            incoming.push(one).unwrap();
            let half = if at == 0 { ProtocolError::NoMessage } else { ProtocolError::Cut };
            assert_eq!(incoming.decode::<String>(), Err(half));
            incoming.push(two).unwrap();
            assert_eq!(incoming.decode::<String>().unwrap(), message);
        }
    }

    #[test]
    fn what_cannot_be_taken_is_refused_from_the_prefix_alone() {
        let push = |bytes: &[u8]| Incoming::new(8).push(bytes);
        assert_eq!(push(&[0, 0, 0, 0, 8]), Ok(()));
        assert_eq!(push(&[0, 0, 0, 0, 9]), Err(ProtocolError::TooLarge { length: 9, limit: 8 }));
        assert_eq!(push(&[1, 0, 0, 0, 1]), Err(ProtocolError::Compressed));
        assert_eq!(push(&[0, 0, 0, 0, 0, 0]), Err(ProtocolError::TooMany));
    }

    #[test]
    fn too_large_a_request_is_not_made() {
        let message = "x".repeat(7);
        assert!(encode(&message, 9).is_ok());
        let error = encode(&message, 8).unwrap_err();
        assert!(matches!(error, Error::RequestTooLarge { length: 9, limit: 8 }), "{error}");
    }

    #[test]
    fn an_empty_message_is_a_message() {
        let mut incoming = Incoming::new(8);
        incoming.push(&[0; 5]).unwrap();
        assert_eq!(incoming.decode::<String>().unwrap(), "");
        incoming = Incoming::new(8);
        incoming.push(&[0, 0, 0, 0, 2, 0xff, 0xff]).unwrap();
        assert!(matches!(incoming.decode::<String>(), Err(ProtocolError::Decode(_))));
    }
}

//! The one message of an answer, put together as it arrives.

use bytes::Bytes;
use prost::Message;

use super::{ProtocolError, frame::Frames};

/// The message, as far as it is there.
#[derive(Debug)]
pub(super) struct Incoming {
    frames: Frames,
    message: Option<Bytes>,
}

impl Incoming {
    pub(super) fn new(limit: usize) -> Self {
        Self { frames: Frames::new(limit), message: None }
    }

    /// The next piece.
    ///
    /// # Errors
    /// The message is compressed, too large, or followed by something.
    pub(super) fn push(&mut self, piece: Bytes) -> Result<(), ProtocolError> {
        self.frames.push(piece);
        if self.message.is_none() {
            self.message = self.frames.next()?;
        }
        if self.message.is_some() && !self.frames.is_empty() { Err(ProtocolError::TooMany) } else { Ok(()) }
    }

    /// The message, now that all has arrived.
    ///
    /// # Errors
    /// There is none, or less than all of it, or it is not a `M`.
    pub(super) fn decode<M: Message + Default>(&self) -> Result<M, ProtocolError> {
        match &self.message {
            Some(message) => Ok(M::decode(message.clone())?),
            None if self.frames.is_empty() => Err(ProtocolError::NoMessage),
            None => Err(ProtocolError::Cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{self, FrameError};

    #[test]
    fn message_survives_any_split() {
        let message = "a message of some length".to_owned();
        let bytes = frame::encode(&message, 100).unwrap();
        for at in 0..bytes.len() {
            let (one, two) = (bytes.slice(..at), bytes.slice(at..));
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
        let push = |bytes: &'static [u8]| Incoming::new(8).push(Bytes::from_static(bytes));
        assert_eq!(push(&[0, 0, 0, 0, 8]), Ok(()));
        assert_eq!(push(&[0, 0, 0, 0, 9]), Err(FrameError::TooLarge { length: 9, limit: 8 }.into()));
        assert_eq!(push(&[1, 0, 0, 0, 1]), Err(FrameError::Compressed.into()));
        assert_eq!(push(&[0, 0, 0, 0, 0, 0]), Err(ProtocolError::TooMany));
    }

    #[test]
    fn empty_message_is_a_message() {
        let mut incoming = Incoming::new(8);
        incoming.push(Bytes::from_static(&[0; 5])).unwrap();
        assert_eq!(incoming.decode::<String>().unwrap(), "");
        incoming = Incoming::new(8);
        incoming.push(Bytes::from_static(&[0, 0, 0, 0, 2, 0xff, 0xff])).unwrap();
        assert!(matches!(incoming.decode::<String>(), Err(ProtocolError::Decode(_))));
    }
}

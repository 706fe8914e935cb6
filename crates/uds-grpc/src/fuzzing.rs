//! The body of the fuzz target `grpc`: an answer's message, as it arrives.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed assertion is the result")]

use bytes::Bytes;

use super::message::Incoming;

/// The largest message that is taken, in bytes.
const LARGEST: usize = 1024;

/// Cut anywhere, an answer is the same message or the same error, and of one that cannot be taken not much is kept.
///
/// The first byte is the size of the pieces, the rest is the body.
pub fn frames(data: &[u8]) {
    let Some((size, body)) = data.split_first() else { return };
    let read = |size: usize| {
        let mut incoming = Incoming::new(LARGEST);
        let pushed =
            body.chunks(size.max(1)).try_for_each(|piece| incoming.push(Bytes::copy_from_slice(piece)));
        pushed.and_then(|()| incoming.decode::<prost_types::Any>())
    };
    let whole = read(body.len());
    match (read(usize::from(*size)), &whole) {
        (Ok(message), whole) => assert_eq!(whole.as_ref(), Ok(&message)),
        (Err(error), whole) => assert_eq!(whole.as_ref().unwrap_err(), &error),
    }
    if let Ok(message) = whole {
        assert!(body.len() <= LARGEST + 5 && body[0] == 0, "{message:?}");
    }
}

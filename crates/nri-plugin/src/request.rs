//! A ttrpc `Request`, read where it lies.
//!
//! Decoding into the generated type would copy service, method and payload for every call, and a Synchronize of
//! 16 MiB once more.

use std::time::Duration;

/// The parts of a `Request` (see `proto/ttrpc.proto`) that the plugin side needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Request<'a> {
    pub(super) service: &'a str,
    pub(super) method: &'a str,
    pub(super) payload: &'a [u8],
    timeout_nano: i64,
}

impl<'a> Request<'a> {
    /// None: not a valid `Request`.
    pub(super) fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut request = Self::default();
        while !bytes.is_empty() {
            let key = varint(&mut bytes)?;
            match (key >> 3, key & 7) {
                (1, 2) => request.service = std::str::from_utf8(delimited(&mut bytes)?).ok()?,
                (2, 2) => request.method = std::str::from_utf8(delimited(&mut bytes)?).ok()?,
                (3, 2) => request.payload = delimited(&mut bytes)?,
                (4, 0) => request.timeout_nano = varint(&mut bytes)?.cast_signed(),
                (0..=4, _) => return None,
                // Metadata, which NRI does not use, and what a later ttrpc may add.
                (_, 0) => drop(varint(&mut bytes)?),
                (_, 1) => drop(take(&mut bytes, 8)?),
                (_, 2) => drop(delimited(&mut bytes)?),
                (_, 5) => drop(take(&mut bytes, 4)?),
                _ => return None,
            }
        }
        Some(request)
    }

    /// How long the caller will wait; None when it does not say.
    pub(super) fn timeout(&self) -> Option<Duration> {
        match u64::try_from(self.timeout_nano) {
            Ok(0) => None,
            Ok(nanos) => Some(Duration::from_nanos(nanos)),
            // The time was up before the call was even sent.
            Err(_) => Some(Duration::ZERO),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && byte > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (piece, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(piece)
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint(bytes)?).ok()?;
    take(bytes, len)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::ttrpc::wire;

    #[test]
    fn timeouts() {
        let with = |timeout_nano| Request { timeout_nano, ..Request::default() }.timeout();
        assert_eq!(with(0), None);
        assert_eq!(with(2_000_000_000), Some(Duration::from_secs(2)));
        assert_eq!(with(-1), Some(Duration::ZERO));
    }

    #[test]
    fn unknown_fields_are_skipped() {
        let mut bytes = wire::Request { method: "M".into(), ..Default::default() }.encode_to_vec();
        // Fields 6 to 9, one of each wire type.
        bytes.extend([0x30, 0x80, 1, 0x39, 1, 2, 3, 4, 5, 6, 7, 8, 0x42, 2, 9, 9, 0x4d, 1, 2, 3, 4]);
        assert_eq!(Request::parse(&bytes), Some(Request { method: "M", ..Request::default() }));
    }

    proptest! {
        #[test]
        fn reads_what_prost_writes(
            service in ".{0,20}", method in ".{0,200}", payload in proptest::collection::vec(any::<u8>(), 0..300),
            timeout_nano in any::<i64>(), key in ".{0,5}", value in ".{0,5}",
        ) {
            let metadata = vec![wire::KeyValue { key, value }];
            let written = wire::Request { service, method, payload, timeout_nano, metadata };
            let bytes = written.encode_to_vec();
            let request = Request::parse(&bytes).unwrap();
            prop_assert_eq!(request.service, &written.service);
            prop_assert_eq!(request.method, &written.method);
            prop_assert_eq!(request.payload, &written.payload[..]);
            prop_assert_eq!(request.timeout_nano, timeout_nano);
        }

        #[test]
        fn what_prost_refuses_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let ours = Request::parse(&bytes);
            if let (Some(ours), Ok(theirs)) = (ours, wire::Request::decode(&bytes[..])) {
                prop_assert_eq!(ours.payload, &theirs.payload[..]);
                prop_assert_eq!(ours.method, &theirs.method);
            }
        }
    }
}

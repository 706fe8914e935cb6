//! Protobuf messages as bytes: finds and changes single fields, and copies everything else as it is.
//!
//! A field may stand several times; a later one wins, and messages are merged (Protocol Buffers,
//! "Encoding", "Last One Wins"). So a value is looked for in all places.

use prost::encoding::{WireType, decode_key, decode_varint, encode_key, encode_varint};
use thiserror::Error;

/// The bytes are no protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the message is not understood")]
pub(super) struct NotAMessage;

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field<'a> {
    number: u32,
    value: Value<'a>,
    /// The whole field, its key included.
    raw: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value<'a> {
    Varint(u64),
    /// A message, a string or bytes.
    Bytes(&'a [u8]),
    /// A number of fixed size.
    Fixed,
}

/// The fields of a message, in the order they stand.
fn fields(message: &[u8]) -> Result<Vec<Field<'_>>, NotAMessage> {
    let mut fields = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let start = rest;
        let (number, kind) = decode_key(&mut rest).map_err(|_| NotAMessage)?;
        let value = match kind {
            WireType::Varint => Value::Varint(decode_varint(&mut rest).map_err(|_| NotAMessage)?),
            WireType::LengthDelimited => {
                let length = decode_varint(&mut rest).map_err(|_| NotAMessage)?;
                let length = usize::try_from(length).map_err(|_| NotAMessage)?;
                let (bytes, after) = rest.split_at_checked(length).ok_or(NotAMessage)?;
                rest = after;
                Value::Bytes(bytes)
            }
            WireType::SixtyFourBit => skip(&mut rest, 8)?,
            WireType::ThirtyTwoBit => skip(&mut rest, 4)?,
            // Groups: no message of the CRI has any.
            WireType::StartGroup | WireType::EndGroup => return Err(NotAMessage),
        };
        let raw = start.get(..start.len() - rest.len()).ok_or(NotAMessage)?;
        fields.push(Field { number, value, raw });
    }
    Ok(fields)
}

fn skip<'a>(rest: &mut &'a [u8], length: usize) -> Result<Value<'a>, NotAMessage> {
    *rest = rest.get(length..).ok_or(NotAMessage)?;
    Ok(Value::Fixed)
}

/// All values at `path`, each number of which leads one message deeper.
fn values<'a>(message: &'a [u8], path: &[u32]) -> Result<Vec<Value<'a>>, NotAMessage> {
    let Some((number, deeper)) = path.split_first() else { return Ok(vec![Value::Bytes(message)]) };
    let mut found = Vec::new();
    for field in fields(message)?.into_iter().filter(|field| field.number == *number) {
        match field.value {
            value if deeper.is_empty() => found.push(value),
            Value::Bytes(inner) => found.extend(values(inner, deeper)?),
            Value::Varint(_) | Value::Fixed => return Err(NotAMessage),
        }
    }
    Ok(found)
}

/// The number at `path`; 0 where there is none.
pub(super) fn number(message: &[u8], path: &[u32]) -> Result<u64, NotAMessage> {
    match values(message, path)?.last() {
        Some(Value::Varint(number)) => Ok(*number),
        None => Ok(0),
        Some(_) => Err(NotAMessage),
    }
}

/// The repeated number at `path`, packed or not.
pub(super) fn numbers(message: &[u8], path: &[u32]) -> Result<Vec<u64>, NotAMessage> {
    let mut found = Vec::new();
    for value in values(message, path)? {
        match value {
            Value::Varint(number) => found.push(number),
            Value::Bytes(mut packed) => {
                while !packed.is_empty() {
                    found.push(decode_varint(&mut packed).map_err(|_| NotAMessage)?);
                }
            }
            Value::Fixed => return Err(NotAMessage),
        }
    }
    Ok(found)
}

/// All messages, strings or bytes at `path`.
pub(super) fn all<'a>(message: &'a [u8], path: &[u32]) -> Result<Vec<&'a [u8]>, NotAMessage> {
    let bytes = |value| match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::Varint(_) | Value::Fixed => Err(NotAMessage),
    };
    values(message, path)?.into_iter().map(bytes).collect()
}

/// The string at `path`; empty where there is none.
pub(super) fn text<'a>(message: &'a [u8], path: &[u32]) -> Result<&'a str, NotAMessage> {
    str::from_utf8(all(message, path)?.last().copied().unwrap_or_default()).map_err(|_| NotAMessage)
}

/// The entries of the map of strings at `path`.
pub(super) fn map<'a>(message: &'a [u8], path: &[u32]) -> Result<Vec<(&'a str, &'a str)>, NotAMessage> {
    all(message, path)?.into_iter().map(|entry| Ok((text(entry, &[1])?, text(entry, &[2])?))).collect()
}

/// The message with `field` at the end of the message at `path`, which is made where it lacks.
pub(super) fn append(message: &[u8], path: &[u32], field: &[u8]) -> Result<Vec<u8>, NotAMessage> {
    let Some((number, deeper)) = path.split_first() else { return Ok([message, field].concat()) };
    let fields = fields(message)?;
    let last = fields.iter().rposition(|field| field.number == *number);
    let mut out = Vec::with_capacity(message.len() + field.len() + 16);
    for (place, old) in fields.iter().enumerate() {
        match old.value {
            Value::Bytes(inner) if Some(place) == last => {
                put_bytes(&mut out, *number, &append(inner, deeper, field)?);
            }
            Value::Varint(_) | Value::Fixed if Some(place) == last => return Err(NotAMessage),
            _ => out.extend_from_slice(old.raw),
        }
    }
    if last.is_none() {
        put_bytes(&mut out, *number, &append(&[], deeper, field)?);
    }
    Ok(out)
}

/// The message without any of its fields `number`.
pub(super) fn without(message: &[u8], number: u32) -> Result<Vec<u8>, NotAMessage> {
    let kept = fields(message)?.into_iter().filter(|field| field.number != number);
    Ok(kept.flat_map(|field| field.raw.iter().copied()).collect())
}

/// The message with another content in each of its messages `number`: what `change` gives for the old
/// one, in the order they stand. None leaves it as it is.
pub(super) fn replace_each(
    message: &[u8],
    number: u32,
    changes: impl IntoIterator<Item = Option<Vec<u8>>>,
) -> Result<Vec<u8>, NotAMessage> {
    let mut changes = changes.into_iter();
    let mut out = Vec::with_capacity(message.len());
    for field in fields(message)? {
        match (field.number == number).then(|| changes.next().flatten()).flatten() {
            Some(new) => put_bytes(&mut out, number, &new),
            None => out.extend_from_slice(field.raw),
        }
    }
    Ok(out)
}

/// A field that holds a number.
pub(super) fn number_field(number: u32, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    encode_key(number, WireType::Varint, &mut out);
    encode_varint(value, &mut out);
    out
}

/// A field that holds a message, a string or bytes.
pub(super) fn bytes_field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, number, bytes);
    out
}

/// An entry of a map of strings.
pub(super) fn entry_field(number: u32, key: &str, value: &str) -> Vec<u8> {
    let entry = [bytes_field(1, key.as_bytes()), bytes_field(2, value.as_bytes())].concat();
    bytes_field(number, &entry)
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `{1: 7, 2: "x", 3: {1: 5}, 4: fixed32, 5: fixed64}`
    fn sample() -> Vec<u8> {
        let parts = [
            number_field(1, 7),
            bytes_field(2, b"x"),
            bytes_field(3, &number_field(1, 5)),
            vec![0x25, 1, 2, 3, 4],
            vec![0x29, 1, 2, 3, 4, 5, 6, 7, 8],
        ];
        parts.concat()
    }

    #[test]
    fn values_are_found_and_missing_ones_have_their_default() {
        let message = sample();
        assert_eq!(number(&message, &[1]), Ok(7));
        assert_eq!(text(&message, &[2]), Ok("x"));
        assert_eq!(number(&message, &[3, 1]), Ok(5));
        assert_eq!(number(&message, &[3, 2]), Ok(0));
        assert_eq!(number(&message, &[9, 9]), Ok(0));
        assert_eq!(text(&message, &[9]), Ok(""));
        assert_eq!(number(&message, &[2]), Err(NotAMessage));
        assert_eq!(number(&message, &[1, 1]), Err(NotAMessage));
    }

    #[test]
    fn later_value_wins_also_in_a_second_message() {
        let message = [sample(), bytes_field(3, &number_field(1, 6)), number_field(1, 8)].concat();
        assert_eq!(number(&message, &[3, 1]), Ok(6));
        assert_eq!(number(&message, &[1]), Ok(8));
        let message = [sample(), bytes_field(3, &number_field(2, 1))].concat();
        assert_eq!(number(&message, &[3, 1]), Ok(5), "the second one says nothing");
    }

    #[test]
    fn appending_keeps_the_rest_to_the_byte() {
        let message = sample();
        let new = append(&message, &[3], &number_field(2, 9)).unwrap();
        assert_eq!((number(&new, &[3, 1]), number(&new, &[3, 2])), (Ok(5), Ok(9)));
        let rest = |message: &[u8]| without(message, 3).unwrap();
        assert_eq!(rest(&new), rest(&message));
        let new = append(&message, &[8, 2], &number_field(1, 1)).unwrap();
        assert!(new.starts_with(&message));
        assert_eq!(number(&new, &[8, 2, 1]), Ok(1));
    }

    #[test]
    fn maps_and_repeated_messages() {
        let entry = |key: &str, value: &str| entry_field(7, key, value);
        let message = [entry("a", "1"), entry("b", ""), number_field(1, 1)].concat();
        assert_eq!(map(&message, &[7]), Ok(vec![("a", "1"), ("b", "")]));
        let new = replace_each(&message, 7, [None, Some(bytes_field(1, b"c"))]).unwrap();
        assert_eq!(map(&new, &[7]), Ok(vec![("a", "1"), ("c", "")]));
        assert_eq!(number(&new, &[1]), Ok(1));
    }

    #[test]
    fn repeated_numbers_may_be_packed() {
        let packed = bytes_field(8, &[0xa0, 0x1f, 7]);
        let message = bytes_field(2, &[number_field(8, 5), packed, number_field(8, 6)].concat());
        assert_eq!(numbers(&message, &[2, 8]), Ok(vec![5, 4000, 7, 6]));
        assert_eq!(numbers(&message, &[2, 9]), Ok(vec![]));
        let negative = number_field(8, (-1_i64).cast_unsigned());
        assert_eq!(numbers(&negative, &[8]), Ok(vec![u64::MAX]));
        assert_eq!(numbers(&bytes_field(8, &[0x80]), &[8]), Err(NotAMessage), "cut short");
        assert_eq!(numbers(&sample(), &[4]), Err(NotAMessage));
    }

    #[test]
    fn broken_bytes_are_errors() {
        for broken in [&[0x0a][..], &[0x0a, 5, 1], &[0x08], &[0x0b], &[0x25, 1], &[0xff; 11], &[0x00, 1]] {
            assert_eq!(fields(broken), Err(NotAMessage), "{broken:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_understood_is_copied_whole(message: Vec<u8>) {
            if fields(&message).is_ok() {
                prop_assert_eq!(replace_each(&message, 1, []).unwrap(), message.clone());
                prop_assert_eq!(append(&message, &[], &[]).unwrap(), message);
            }
        }
    }
}

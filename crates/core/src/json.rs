//! JSON objects as ordered members whose values stay raw text.
//!
//! Other programs read the same bytes, and not all readers agree on what an odd object means: Go's
//! encoding/json (runc, containerd) matches keys without regard to case and takes the last of
//! several, yajl (crun) matches to the letter, takes the first and ends a key at a NUL. So a key is only found here
//! when all of them would find the same one.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object on which readers would disagree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ambiguous {
    /// The key that is there in more than one spelling, or not in the exact one.
    pub key: String,
}

/// The members of an object, in the order they stand.
#[derive(Debug)]
pub struct Object<'a> {
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Object<'a> {
    /// Reads an object. Its values are only checked to be JSON.
    ///
    /// # Errors
    /// It is no JSON object.
    pub fn parse(json: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    /// The value of `name`, which is an ASCII name. A value of null counts as none, like in Go.
    ///
    /// # Errors
    /// A reader in Go could find another member under this name.
    pub fn get(&self, name: &str) -> Result<Option<&'a str>, Ambiguous> {
        let mut value = None;
        for (key, raw) in self.members.iter().filter(|(key, _)| folds_to(key, name)) {
            if key != name || value.is_some() {
                return Err(Ambiguous { key: key.to_string() });
            }
            value = Some(raw.get());
        }
        Ok(value.filter(|raw| *raw != "null"))
    }

    /// Refuses two members whose names are the same without regard to case, whatever they are.
    ///
    /// # Errors
    /// There are two such members.
    pub fn distinct(&self) -> Result<(), Ambiguous> {
        let mut seen = HashSet::with_capacity(self.members.len());
        match self
            .members
            .iter()
            .find(|(key, _)| !seen.insert(until_nul(key).chars().map(fold).collect::<String>()))
        {
            Some((key, _)) => Err(Ambiguous { key: key.to_string() }),
            None => Ok(()),
        }
    }

    /// The names of the members.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(key, _)| key.as_ref())
    }

    /// The members, in the order they stand, each value as raw JSON.
    pub fn members(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members.iter().map(|(key, raw)| (key.as_ref(), raw.get()))
    }

    /// The object with some values replaced by other raw JSON, and those added that it lacks. All
    /// other values are copied as they are. The names in `changes` are plain ASCII.
    #[must_use]
    pub fn with(&self, changes: &[(&str, &str)]) -> String {
        let old = self.members.iter().map(|(key, raw)| {
            let new = changes.iter().find(|(name, _)| name == key);
            (key.as_ref(), new.map_or(raw.get(), |(_, text)| text))
        });
        let added = changes.iter().filter(|(name, _)| !self.keys().any(|key| key == *name)).copied();

        let mut json = String::from("{");
        for (key, value) in old.chain(added) {
            if json.len() > 1 {
                json.push(',');
            }
            json.push_str(&string(key));
            json.push(':');
            json.push_str(value);
        }
        json.push('}');
        json
    }
}

/// `text` as a JSON string.
#[must_use]
pub fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A list of raw JSON values as a JSON array.
pub fn array<T: fmt::Display>(values: impl IntoIterator<Item = T>) -> String {
    use fmt::Write as _;
    let mut json = String::from("[");
    for value in values {
        if json.len() > 1 {
            json.push(',');
        }
        // Writing to a String cannot fail.
        let _ = write!(json, "{value}");
    }
    json.push(']');
    json
}

/// A character without its case, as encoding/json sees it in a field's name: beside the ASCII
/// letters, two others fold to one (long s and the Kelvin sign).
fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}

/// Whether some reader would take `key` for the field `name`.
pub fn folds_to(key: &str, name: &str) -> bool {
    until_nul(key).chars().map(fold).eq(name.chars().map(fold))
}

/// A key as a reader in C sees it, to which a NUL character is the end.
#[must_use]
pub fn until_nul(key: &str) -> &str {
    key.split_once('\0').map_or(key, |(start, _)| start)
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Object { members })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// A key, borrowed unless it is written with escapes (`Cow` alone would always copy).
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ambiguous(key: &str) -> Result<Option<&'static str>, Ambiguous> {
        Err(Ambiguous { key: key.into() })
    }

    #[test]
    fn finds_exact_keys_only() {
        let object =
            Object::parse(r#" {"a": 1e400 , "uſer":{}, "KELVIN": 1, "b":null, "\u0063":[ 1 ]} "#).unwrap();
        assert_eq!(object.get("a"), Ok(Some("1e400")));
        assert_eq!(object.get("b"), Ok(None));
        assert_eq!(object.get("c"), Ok(Some("[ 1 ]")));
        assert_eq!(object.get("d"), Ok(None));
        assert_eq!(object.get("user"), ambiguous("uſer"));
        assert_eq!(object.get("kelvin"), ambiguous("KELVIN"));
        let nul = Object::parse(r#"{"user\u0000x":1}"#).unwrap();
        assert_eq!(nul.get("user"), ambiguous("user\0x"));
        let kelvin = Object::parse("{\"hoo\u{212a}s\":1}").unwrap();
        assert_eq!(kelvin.get("hooks"), ambiguous("hoo\u{212a}s"));
    }

    #[test]
    fn twice_is_ambiguous_even_when_null() {
        assert_eq!(Object::parse(r#"{"a":1,"a":1}"#).unwrap().get("a"), ambiguous("a"));
        assert_eq!(Object::parse(r#"{"a":null,"a":1}"#).unwrap().get("a"), ambiguous("a"));
        assert_eq!(Object::parse(r#"{"a":1,"A":1}"#).unwrap().get("a"), ambiguous("A"));
    }

    #[test]
    fn distinct_looks_at_all_members() {
        assert_eq!(Object::parse(r#"{"a":1,"b":1,"é":1,"É":1}"#).unwrap().distinct(), Ok(()));
        let twice = Object::parse(r#"{"a":1,"x":1,"X":1}"#).unwrap();
        assert_eq!(twice.distinct(), Err(Ambiguous { key: "X".into() }));
    }

    #[test]
    fn changes_one_value_and_keeps_the_rest() {
        let object = Object::parse(r#"{"x\n\"": 1e400, "a": 1, "b" : { "k" : 00.1e1 }}"#);
        assert!(object.is_err(), "00.1e1 is not a number");
        let object = Object::parse(r#"{"x\n\"": 1e400, "a": 1, "b" : { "k" : 0.10 }}"#).unwrap();
        assert_eq!(
            object.with(&[("a", "[2]"), ("n", "3")]),
            r#"{"x\n\"":1e400,"a":[2],"b":{ "k" : 0.10 },"n":3}"#
        );
        assert_eq!(Object::parse("{}").unwrap().with(&[("a", "1")]), r#"{"a":1}"#);
    }
}

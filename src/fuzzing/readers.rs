//! Two programs that read the same JSON and do not agree on what odd objects mean.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// An object's members, all of them, in their order.
pub(super) struct Members<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(All)
    }
}

pub(super) fn members(json: &str) -> Option<Members<'_>> {
    serde_json::from_str(json).ok()
}

/// What Go's encoding/json takes for the value at `path`: the last one, without regard to case; null is none.
pub(super) fn go<'a>(json: &'a str, path: &[&str]) -> Option<&'a str> {
    let Some((name, path)) = path.split_first() else { return Some(json) };
    let found = members(json)?.0.into_iter().rfind(|(key, _)| fold(key) == fold(name));
    go(found.map(|(_, raw)| raw.get()).filter(|raw| *raw != "null")?, path)
}

/// What yajl, as crun uses it, takes for it: the first one, to the letter; a NUL ends a key.
pub(super) fn yajl<'a>(json: &'a str, path: &[&str]) -> Option<&'a str> {
    let Some((name, path)) = path.split_first() else { return Some(json) };
    let found = members(json)?.0.into_iter().find(|(key, _)| key.split('\0').next() == Some(name));
    yajl(found.map(|(_, raw)| raw.get()).filter(|raw| *raw != "null")?, path)
}

fn fold(key: &str) -> String {
    key.replace('\u{17f}', "s").replace('\u{212a}', "k").to_ascii_lowercase()
}

/// Asserts that both readers find the gid and the groups of `json`'s process that `gid` and `groups` say.
pub(super) fn agree(json: &str, gid: u32, groups: &[u32]) {
    for read in [go, yajl] {
        let number = read(json, &["process", "user", "gid"]).map_or(0, |raw| raw.parse().unwrap());
        let list = read(json, &["process", "user", "additionalGids"]);
        let list: Vec<u32> = list.map_or_else(Vec::new, |raw| serde_json::from_str(raw).unwrap());
        assert_eq!((number, &*list), (gid, groups));
    }
}

//! The gate's own process: arguments, OCI state and config.json to yes or no.

use super::{presentable, readers, split};
use crate::{
    commands::hook,
    gate::{Gate, KEEP_GROUPS, State},
};

/// A container that may start has a resolved gate which has all groups that any reader finds in its config.json, and
/// does not tell crun to keep its own.
///
/// The arguments with a NUL byte between them, a byte 0xff, the state, a byte 0xff, config.json.
pub fn oci_state(data: &[u8]) {
    let (args, rest) = split(data, 0xff);
    let (state, json) = split(rest, 0xff);
    let args: Vec<String> = String::from_utf8_lossy(args).split('\0').map(str::to_owned).collect();
    if let Err(refusal) = hook::verify_with(&args, state, |_| Ok(json.to_vec())) {
        return presentable(&refusal);
    }

    let gate = Gate::parse(&args).unwrap().unwrap();
    let State::Resolved { groups: allowed, .. } = &gate.state else { panic!("{gate:?}") };
    let json = std::str::from_utf8(json).unwrap();
    for read in [readers::go, readers::yajl] {
        let gid = read(json, &["process", "user", "gid"]).map_or(0, |raw| raw.parse().unwrap());
        let groups = read(json, &["process", "user", "additionalGids"]);
        let groups: Vec<u32> = groups.map_or_else(Vec::new, |raw| serde_json::from_str(raw).unwrap());
        assert!(allowed.contains(&gid) && groups.iter().all(|group| allowed.contains(group)));
        assert_eq!(read(json, &["annotations", KEEP_GROUPS]), None);
    }
}

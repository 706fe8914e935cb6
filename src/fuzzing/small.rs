//! The smaller formats: a group file, a user file, a node's configuration, containerd's metadata, a pod.

use std::{borrow::Cow, path::Path};

use super::{numbers, readers, split};
use crate::kubernetes;
use container_start::config::Config;
use strict_groups_core::fuzzing::{
    growth::{assert_linear, repeated},
    presentable,
};
use strict_groups_core::{
    declared, groups, membership,
    policy::{Facts, Labels},
};

/// The largest file that is read.
const LARGEST: usize = 10 * 1024 * 1024;

/// The numbers of a first line, and the file that the rest is: with `*N` behind the numbers, N times.
fn file(data: &[u8]) -> (Vec<u32>, Cow<'_, [u8]>) {
    let (first, rest) = split(data, b'\n');
    let (gids, times) = split(first, b'*');
    match std::str::from_utf8(times).ok().and_then(|times| times.parse().ok()) {
        Some(times) => (numbers(gids), Cow::Owned(repeated(rest, times, LARGEST))),
        None => (numbers(gids), Cow::Borrowed(rest)),
    }
}

/// How many bytes a case has when its file is repeated.
pub(super) fn length(data: &[u8]) -> usize {
    data.len() + file(data).1.len()
}

/// The first quarter of a long file is read in much less time than all of it.
fn grows_with(file: &[u8], work: impl Fn(&[u8])) {
    if file.len() >= 64 * 1024 {
        let beginning = |length: usize| file.get(..length).unwrap_or(file);
        assert_linear("long file", file.len() / 4, beginning, |file| work(file));
    }
}

/// One answer for every GID, the same as when it is asked for alone, fit for a list in a log line. A group that the file
/// turns into another one is among those that were asked for.
///
/// The first line has the GIDs with commas between them, the rest is the file; `*N` behind the GIDs repeats it.
pub(super) fn group_file(data: &[u8]) {
    let (gids, file) = file(data);
    grows_with(&file, |file| {
        drop((groups::alias(file, &gids).map(|alias| alias.name), groups::names(file, &gids)));
    });
    if let Some(alias) = groups::alias(&file, &gids) {
        assert!(gids.contains(&alias.name) && alias.gid != i64::from(alias.name));
    }
    let names = groups::names(&file, &gids);
    assert_eq!(names.len(), gids.len());
    for name in names.iter().flatten() {
        assert!(!name.is_empty() && name.len() <= 32, "{name:?}");
        assert!(!name.contains(|c: char| c.is_control() || "(),\"".contains(c)), "{name:?}");
    }
    for (gid, name) in gids.iter().zip(names).take(16) {
        assert_eq!(groups::names(&file, &[*gid]), [name]);
    }
}

/// The groups that the lines of `/etc/group` give are those that each of them gives alone.
///
/// The first line has the uids with commas between them; behind it stand `/etc/passwd`, a byte 0xff and `/etc/group`.
/// `*N` behind the uids repeats both.
pub(super) fn passwd(data: &[u8]) {
    let (uids, both) = file(data);
    grows_with(&both, |both| drop(membership::implied(both, both, &uids)));
    let (passwd, group) = split(&both, 0xff);
    let found = membership::implied(passwd, group, &uids);
    if both.len() <= 4096 {
        let alone =
            group.split(|byte| *byte == b'\n').flat_map(|line| membership::implied(passwd, line, &uids));
        assert_eq!(found, alone.collect());
    }
    assert!(
        membership::implied(passwd, group, &[]).is_empty()
            && membership::implied(b"", group, &uids).is_empty()
    );
}

/// A configuration that is accepted has an absolute hook, and none with a key more would be accepted. What it says of a
/// pod without its labels is never Merge where it is not with them.
pub(super) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/etc/strict-groups/config.toml");
    match Config::parse(text, path) {
        Ok(config) => {
            assert!(config.hook_path().is_none_or(Path::is_absolute));
            assert!(Config::parse(&format!("no_such_key = 1\n{text}"), path).is_err());
            let again = Config::parse(text, path).unwrap();
            assert!(again == config && config.differences(&again).is_empty());
            let node = config.node_policy();
            for namespace in ["default", "team-a"] {
                let (empty, labels) = (Labels::new(), Labels::from([("app".to_owned(), "web".to_owned())]));
                let namespace = Some(namespace);
                let facts = Facts {
                    annotations: &empty,
                    container: "app",
                    namespace,
                    labels: Some(&labels),
                    field: None,
                };
                if let Ok(decision) = node.decide(&Facts { labels: None, ..facts }) {
                    assert_eq!(Ok(decision.policy), node.decide(&facts).map(|decision| decision.policy));
                }
            }
        }
        Err(error) => assert!(error.to_string().contains("/etc/strict-groups/config.toml")),
    }
}

/// Groups, labels and annotations that are found are those that Go finds, and no other type of value is understood.
pub(super) fn declared(data: &[u8]) {
    match declared::from_extension(declared::TYPE_URL, data) {
        Ok(found) => {
            let path = ["Metadata", "Config", "linux", "security_context", "supplemental_groups"];
            let seen = readers::go(std::str::from_utf8(data).unwrap(), &path);
            let seen: Vec<u32> = seen.map_or_else(Vec::new, |raw| serde_json::from_str(raw).unwrap());
            assert_eq!(found, seen);
        }
        Err(error) => presentable(&error),
    }
    presentable(&declared::from_extension("another", data).unwrap_err());
    match declared::pod_of_sandbox(declared::SANDBOX_TYPE_URL, data) {
        Ok((labels, annotations)) => {
            let text = std::str::from_utf8(data).unwrap();
            for (name, found) in [("labels", labels), ("annotations", annotations.into_iter().collect())] {
                let seen = readers::go(text, &["Metadata", "Config", name]);
                assert_eq!(found, seen.map_or_else(Labels::new, |raw| serde_json::from_str(raw).unwrap()));
            }
        }
        Err(error) => presentable(&error),
    }
}

/// Groups that are found in the API server's pod are those that any other reader of JSON finds, each once.
///
/// The first line is the uid of the sandbox, the rest is the answer.
pub(super) fn pod(data: &[u8]) {
    let (uid, json) = split(data, b'\n');
    let uid = String::from_utf8_lossy(uid);
    match kubernetes::read(json, &uid) {
        Ok(found) => {
            // Some readers also refuse what is wrong in parts that do not matter (bytes that are no UTF-8).
            let Ok(seen) = serde_json::from_slice::<serde_json::Value>(json) else { return };
            assert_eq!(seen["metadata"]["uid"], *uid);
            let context = &seen["spec"]["securityContext"];
            assert_eq!(context["supplementalGroupsPolicy"].as_str(), found.policy.as_deref());
            let Some(groups) = found.groups else { return };
            let more = context["supplementalGroups"].as_array();
            let all = context["fsGroup"].as_u64().into_iter();
            let mut all: Vec<u64> =
                all.chain(more.into_iter().flatten().map(|gid| gid.as_u64().unwrap())).collect();
            let mut groups: Vec<u64> = groups.into_iter().map(u64::from).collect();
            groups.sort_unstable();
            all.sort_unstable();
            all.dedup();
            assert_eq!(groups, all);
        }
        Err(error) => presentable(&error),
    }
}

//! The gate's own process: arguments, OCI state, config.json and the files of the node to yes or no.

use std::{ffi::OsString, io, path::Path};

use super::{readers, split};
use container_start::hook::{self, Node};
use container_start::{
    config::{Config, ConfigError},
    group_file::{GroupFile, GroupFileError},
    oci_runtime::GroupLookup,
    static_gate::StaticGate,
};
use strict_groups_core::fuzzing::presentable;
use strict_groups_core::{
    engine::Engine,
    gate::{Gate, State},
    groups, merge_marker,
    oci::KEEP_GROUPS,
    policy::ANNOTATION,
};

/// A machine of which everything was said.
struct Said<'a> {
    json: &'a [u8],
    configuration: &'a [u8],
    group_file: &'a [u8],
}

impl Node for Said<'_> {
    fn config_json(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.json.to_vec())
    }

    /// The sandbox has the container's own annotations.
    fn sandbox_json(&self, _: &Path, _: &str) -> io::Result<Vec<u8>> {
        Ok(self.json.to_vec())
    }

    fn group_lookup(&self) -> GroupLookup {
        GroupLookup::ByName
    }

    fn group_file(&self, _: u32, _: &Path, _: Option<&Path>) -> Result<GroupFile, GroupFileError> {
        Ok(GroupFile::of(self.group_file))
    }

    fn call(&self) -> Vec<OsString> {
        Vec::new()
    }

    fn runtime_groups(&self) -> Vec<u32> {
        Vec::new()
    }

    fn has_procfs(&self, _: u32, _: &Path) -> bool {
        true
    }

    fn has_wrapper(&self, _: &Path) -> bool {
        false
    }

    fn configuration(&self, path: Option<&Path>) -> Result<Config, ConfigError> {
        Config::parse(&String::from_utf8_lossy(self.configuration), path.unwrap_or(Path::new("default")))
    }
}

/// A container that may start has a gate which allows all groups that any reader finds in its config.json, no
/// group that its `/etc/group` turns into another one, and no word to crun to keep its own. The static gate lets none
/// start that has no gate, groups of its image, and the bare annotation `Strict`.
///
/// The hook's arguments with a NUL byte between them, then, with a byte 0xff before each: the state, config.json, the
/// node's configuration, the container's `/etc/group`.
pub(super) fn oci_state(data: &[u8]) {
    let (args, rest) = split(data, 0xff);
    let (state, rest) = split(rest, 0xff);
    let (json, rest) = split(rest, 0xff);
    let (configuration, group_file) = split(rest, 0xff);
    let args: Vec<String> = String::from_utf8_lossy(args).split('\0').map(str::to_owned).collect();
    if let Err(refusal) = hook::verify_on(&Said { json, configuration, group_file }, &args, state) {
        return presentable(&refusal);
    }

    if merge_marker::is_marker(&args) {
        return;
    }
    let json = std::str::from_utf8(json).unwrap();
    if let Some(gate) = Gate::parse(&args).unwrap() {
        return gated(&gate, json, group_file);
    }
    let gate = StaticGate::parse(&args).unwrap().unwrap();
    if gate.runtime == Engine::Containerd && configuration.is_empty() {
        unseen(json, state);
    }
}

fn gated(gate: &Gate, json: &str, group_file: &[u8]) {
    for read in [readers::go, readers::yajl] {
        let (gid, groups) = user(read, json);
        let allowed: Vec<u32> = match &gate.state {
            State::Resolved { groups, .. } => groups.clone(),
            State::Pending { declared: Some(declared) } => declared.iter().copied().chain([gid]).collect(),
            state => panic!("{state:?}"),
        };
        assert!(allowed.contains(&gid) && groups.iter().all(|group| allowed.contains(group)));
        assert_eq!(groups::alias(group_file, &groups), None);
    }
    // The names of annotations have a case, and only crun knows this one.
    assert_eq!(readers::yajl(json, &["annotations", KEEP_GROUPS]), None);
}

/// What containerd's static gate let start without a word from the node's configuration. Sandboxes may, and what has a
/// gate; a spec with escapes is passed over, since the plain search for what to leave out could miss it there.
fn unseen(json: &str, state: &[u8]) {
    let says = |key: &str| {
        let raw = readers::yajl(json, &["annotations", key])?;
        serde_json::from_str::<String>(raw).ok()
    };
    let state = String::from_utf8_lossy(state);
    let id =
        readers::yajl(&state, &["id"]).map_or_else(String::new, |raw| serde_json::from_str(raw).unwrap());
    let sandbox = says("io.kubernetes.cri.sandbox-id");
    let ordinary = sandbox.as_deref() != Some(&*id) && !json.contains("--gate=") && !json.contains('\\');
    let strict = says(ANNOTATION).as_deref() == Some("Strict") && !json.contains("noderesource.dev/");
    let (gid, groups) = user(readers::go, json);
    assert!(!(ordinary && strict && groups.iter().any(|group| *group != gid)), "{json}");
}

fn user(read: for<'a> fn(&'a str, &[&str]) -> Option<&'a str>, json: &str) -> (u32, Vec<u32>) {
    let gid = read(json, &["process", "user", "gid"]).map_or(0, |raw| raw.parse().unwrap());
    let groups = read(json, &["process", "user", "additionalGids"]);
    (gid, groups.map_or_else(Vec::new, |raw| serde_json::from_str(raw).unwrap()))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use strict_groups_core::fuzzing::growth::assert_linear;

    /// `unit` again and again, each time with another number for `#`, with commas between.
    fn list(unit: &str, bytes: usize) -> String {
        let mut text = String::new();
        for number in 1_000_000.. {
            if text.len() >= bytes {
                return text;
            }
            let comma = if text.is_empty() { "" } else { "," };
            write!(text, "{comma}{}", unit.replace('#', &number.to_string())).unwrap();
        }
        text
    }

    /// What the authors of images and pods can make long, in the hook as a whole.
    #[test]
    fn hook_is_linear_in_what_anyone_can_write() {
        let spec = |groups: &str, env: &str, annotations: &str, mounts: &str, hooks: &str| {
            format!(
                r#"{{"process":{{"user":{{"uid":0,"gid":3000,"additionalGids":[{groups}]}},"env":[{env}],"noNewPrivileges":true,"capabilities":{{"effective":["CAP_SETGID"]}}}},
                "annotations":{{"kubernetes.io/config.source":"api","io.kubernetes.cri.sandbox-id":"s","io.kubernetes.cri.sandbox-name":"web",
                "io.kubernetes.cri.sandbox-namespace":"default","io.kubernetes.cri.container-name":"app"{annotations}}},
                "mounts":[{mounts}],"hooks":{{"createRuntime":[{hooks}]}},"linux":{{"namespaces":[{{"type":"pid"}}]}}}}"#
            )
        };
        let hook =
            |args: &[String]| serde_json::json!({"path": "/usr/bin/strict-groups", "args": args}).to_string();
        let state = br#"{"id":"c","pid":1,"bundle":"/b/c"}"#;
        let run = |json: &str, group_file: &[u8], args: &[String]| {
            let said = Said { json: json.as_bytes(), configuration: b"", group_file };
            hook::verify_on(&said, args, &state[..])
        };
        let fixed = StaticGate { runtime: Engine::Containerd, config: None }.args();
        let resolved = |groups: Vec<u32>| {
            let state = State::Resolved { groups, removed: Vec::new() };
            Gate { pod: "default/web".into(), container: "app".into(), state }.args()
        };
        let plain = resolved(vec![3000]);

        for (name, annotation) in [
            ("annotations", r#","a#":"v""#),
            ("escaped annotations", r#","\u0061#":"\u0061""#),
            (
                "annotations like ours",
                r#","supplemental-groups-policy.noderesource.dev/container.#":"Merge""#,
            ),
        ] {
            let make = |bytes| {
                let text = list(annotation, bytes).replace(",,", ",");
                spec("", "", &text, "", &hook(&plain))
            };
            assert_linear(name, 32 * 1024, make, |json| {
                run(json, b"", &plain).unwrap();
                run(json, b"", &fixed).unwrap();
            });
        }
        let make = |bytes| spec("", &list(r#""A#=\u0061""#, bytes), "", "", &hook(&plain));
        assert_linear("environment", 32 * 1024, make, |json| run(json, b"", &plain).unwrap());
        let make =
            |bytes| spec("", "", "", &list(r#"{"destination":"/#","source":"/#"}"#, bytes), &hook(&plain));
        assert_linear("mounts", 32 * 1024, make, |json| run(json, b"", &plain).unwrap());
        let make = |bytes: usize| {
            let groups: Vec<u32> = (1_000_000..).take(bytes / 8).chain([3000]).collect();
            let args = resolved(groups.clone());
            let lines: String = groups
                .iter()
                .fold(String::new(), |lines, gid| lines + &format!("{}:x:1:\n", gid + 100_000_000));
            (
                spec(
                    &groups.iter().map(u32::to_string).collect::<Vec<_>>().join(","),
                    "",
                    "",
                    "",
                    &hook(&args),
                ),
                lines,
                args,
            )
        };
        assert_linear("groups", 32 * 1024, make, |(json, lines, args)| {
            run(json, lines.as_bytes(), args).unwrap();
        });
        // One gate that refuses says how many there are, and not all of them.
        assert_linear("groups that are refused", 32 * 1024, make, |(json, ..)| {
            let json = json.replace("\"--groups=", "\"--groups=1\",\"--groups=");
            presentable(&run(&json, b"", &plain).unwrap_err());
        });
    }
}

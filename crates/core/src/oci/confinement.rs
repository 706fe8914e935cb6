//! What a container's processes may change: the parts of a spec that tell whether a process could gain groups, or
//! change the files on the way to `/etc/group`.

use serde::Deserialize;

use super::{OciError, PROCESS, ROOT, object, root};
use crate::json::Object;

const LINUX: &str = "linux";

/// How a container's processes are confined (OCI runtime spec, "Process", "Namespaces", "Mounts").
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a field of the spec")]
pub struct Confinement {
    /// `root.readonly`
    pub read_only_root: bool,
    /// `process.noNewPrivileges`
    pub no_new_privileges: bool,
    /// `CAP_SETGID` is in `process.capabilities.bounding`.
    pub may_set_groups: bool,
    /// `CAP_SETGID` is in `process.capabilities.effective`.
    pub sets_groups: bool,
    /// `linux.seccomp` lets a process make a user namespace, in which it may mount what it likes. So it is without a
    /// profile.
    pub may_unshare: bool,
    /// `CAP_SYS_ADMIN` is there: a read-only file system can be mounted anew.
    pub may_mount: bool,
    /// `process.capabilities.ambient` is not empty: users other than root have capabilities too.
    pub has_ambient: bool,
    /// The container has no process namespace of its own.
    pub shares_processes: bool,
    /// The sources of its bind mounts.
    pub mount_sources: Vec<String>,
}

#[derive(Deserialize, Default)]
struct Capabilities {
    #[serde(default)]
    bounding: Option<Vec<String>>,
    #[serde(default)]
    effective: Option<Vec<String>>,
    #[serde(default)]
    ambient: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

/// OCI runtime spec, "Seccomp".
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seccomp {
    #[serde(default)]
    default_action: String,
    #[serde(default)]
    syscalls: Option<Vec<SyscallRule>>,
}

#[derive(Deserialize)]
struct SyscallRule {
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    action: String,
    #[serde(default)]
    args: Option<Vec<serde::de::IgnoredAny>>,
}

impl Seccomp {
    /// Whether it lets a process make a namespace. `clone` with a condition on its arguments is taken for one that
    /// leaves the flags for namespaces out, as the profile of every container runtime has it.
    fn allows_namespaces(&self) -> bool {
        let denies = |action: &str| action == "SCMP_ACT_ERRNO" || action.starts_with("SCMP_ACT_KILL");
        let allows = |rule: &SyscallRule| {
            let makes = |name: &String| match name.as_str() {
                "unshare" | "clone3" | "setns" => true,
                "clone" => rule.args.as_ref().is_none_or(Vec::is_empty),
                _ => false,
            };
            !denies(&rule.action) && rule.names.iter().any(makes)
        };
        !denies(&self.default_action) || self.syscalls.iter().flatten().any(allows)
    }
}

#[derive(Deserialize)]
struct Mount {
    #[serde(default)]
    source: String,
}

/// Reads how the container of a spec is confined.
///
/// # Errors
/// Like [`super::read_annotations`].
pub fn read_confinement(json: &[u8]) -> Result<Confinement, OciError> {
    let spec = root(json)?;
    spec.distinct()?;
    let process = member(&spec, PROCESS)?;
    let capabilities: Capabilities = parsed(process.as_ref(), "capabilities", "process.capabilities")?;
    let has = |capability: &str| capabilities.bounding.iter().flatten().any(|held| held == capability);
    let linux = member(&spec, LINUX)?;
    let namespaces: Vec<Namespace> = parsed(linux.as_ref(), "namespaces", "linux.namespaces")?;
    let own = namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty());
    let seccomp: Option<Seccomp> = parsed(linux.as_ref(), "seccomp", "linux.seccomp")?;
    let mounts: Vec<Mount> = parsed(Some(&spec), "mounts", "mounts")?;
    Ok(Confinement {
        read_only_root: parsed(member(&spec, ROOT)?.as_ref(), "readonly", "root.readonly")?,
        no_new_privileges: parsed(process.as_ref(), "noNewPrivileges", "process.noNewPrivileges")?,
        may_set_groups: has("CAP_SETGID"),
        sets_groups: capabilities.effective.iter().flatten().any(|held| held == "CAP_SETGID"),
        may_unshare: seccomp.is_none_or(|profile| profile.allows_namespaces()),
        may_mount: has("CAP_SYS_ADMIN"),
        has_ambient: capabilities.ambient.is_some_and(|held| !held.is_empty()),
        shares_processes: !own,
        mount_sources: mounts.into_iter().map(|mount| mount.source).collect(),
    })
}

fn member<'a>(parent: &Object<'a>, name: &'static str) -> Result<Option<Object<'a>>, OciError> {
    let Some(raw) = parent.get(name)? else { return Ok(None) };
    let found = object(name, raw)?;
    found.distinct()?;
    Ok(Some(found))
}

fn parsed<'a, T: Deserialize<'a> + Default>(
    parent: Option<&Object<'a>>,
    name: &str,
    field: &'static str,
) -> Result<T, OciError> {
    match parent.map(|parent| parent.get(name)).transpose()?.flatten() {
        Some(raw) => serde_json::from_str(raw).map_err(|_| OciError::BadValue { field }),
        None => Ok(T::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_spec_of_containerd_is_read() {
        let spec = include_bytes!("../../../../tests/fixtures/containerd-1.7.24/config.json");
        let found = read_confinement(spec).unwrap();
        assert!(found.may_set_groups && !found.may_mount && !found.has_ambient, "{found:?}");
        assert!(found.shares_processes && !found.read_only_root && !found.no_new_privileges, "{found:?}");
        assert!(found.mount_sources.iter().any(|source| source == "proc"), "{found:?}");
    }

    #[test]
    fn what_is_missing_is_as_the_runtime_takes_it() {
        let found = read_confinement(br#"{"process":{"capabilities":null}}"#).unwrap();
        let wanted = Confinement { shares_processes: true, may_unshare: true, ..Confinement::default() };
        assert_eq!(found, wanted);
    }

    #[test]
    fn each_part_counts() {
        let read = |text: &str| read_confinement(text.as_bytes()).unwrap();
        assert!(read(r#"{"root":{"readonly":true}}"#).read_only_root);
        assert!(read(r#"{"process":{"noNewPrivileges":true}}"#).no_new_privileges);
        let all = read(
            r#"{"process":{"capabilities":{"bounding":["CAP_SETGID","CAP_SYS_ADMIN"],"ambient":["CAP_CHOWN"]}}}"#,
        );
        assert!(all.may_set_groups && all.may_mount && all.has_ambient);
        assert!(read(r#"{"process":{"capabilities":{"effective":["CAP_SETGID"]}}}"#).sets_groups);
        let rule = |name: &str, action: &str, args: &str| {
            let rule = format!(r#"{{"names":["read","{name}"],"action":"{action}"{args}}}"#);
            let profile = format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rule}]}}"#);
            read(&format!(r#"{{"linux":{{"seccomp":{profile}}}}}"#)).may_unshare
        };
        let masked = r#","args":[{"index":0,"value":2114060288,"op":"SCMP_CMP_MASKED_EQ"}]"#;
        for name in ["unshare", "clone3", "setns", "clone"] {
            assert!(rule(name, "SCMP_ACT_ALLOW", "") && rule(name, "SCMP_ACT_LOG", ""), "{name}");
            assert!(!rule(name, "SCMP_ACT_ERRNO", ""), "{name}");
        }
        assert!(!rule("clone", "SCMP_ACT_ALLOW", masked) && rule("unshare", "SCMP_ACT_ALLOW", masked));
        assert!(!rule("mount", "SCMP_ACT_ALLOW", ""));
        for open in ["{}", r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#, "null"] {
            assert!(read(&format!(r#"{{"linux":{{"seccomp":{open}}}}}"#)).may_unshare, "{open}");
        }
        for (namespaces, shares) in [
            (r#"[{"type":"pid"}]"#, false),
            (r#"[{"type":"pid","path":""}]"#, false),
            (r#"[{"type":"pid","path":"/proc/7/ns/pid"}]"#, true),
            (r#"[{"type":"mount"}]"#, true),
        ] {
            let text = format!(r#"{{"linux":{{"namespaces":{namespaces}}}}}"#);
            assert_eq!(read(&text).shares_processes, shares, "{namespaces}");
        }
    }

    #[test]
    fn other_types_are_errors() {
        for text in [
            r#"{"process":7}"#,
            r#"{"process":{"noNewPrivileges":1}}"#,
            r#"{"process":{"capabilities":{"bounding":"CAP_SETGID"}}}"#,
            r#"{"linux":{"namespaces":{}}}"#,
            r#"{"mounts":[7]}"#,
            r#"{"root":{"readonly":"yes"}}"#,
            r#"{"process":{},"Process":{}}"#,
        ] {
            assert!(read_confinement(text.as_bytes()).is_err(), "{text}");
        }
    }
}

//! What a container's processes may change: the parts of a spec that tell whether a process could gain groups, or
//! change the files on the way to `/etc/group`.

use serde::Deserialize;

use super::{PROCESS, ROOT, SpecError, object, root};
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
    ambient: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Namespace {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

#[derive(Deserialize)]
struct Mount {
    #[serde(default)]
    source: String,
}

/// Reads how the container of a spec is confined.
///
/// # Errors
/// Like [`super::read`].
pub fn read_confinement(json: &[u8]) -> Result<Confinement, SpecError> {
    let spec = root(json)?;
    spec.distinct()?;
    let process = member(&spec, PROCESS)?;
    let capabilities: Capabilities = parsed(process.as_ref(), "capabilities", "process.capabilities")?;
    let has = |capability: &str| capabilities.bounding.iter().flatten().any(|held| held == capability);
    let linux = member(&spec, LINUX)?;
    let namespaces: Vec<Namespace> = parsed(linux.as_ref(), "namespaces", "linux.namespaces")?;
    let own = namespaces.iter().any(|namespace| namespace.kind == "pid" && namespace.path.is_empty());
    let mounts: Vec<Mount> = parsed(Some(&spec), "mounts", "mounts")?;
    Ok(Confinement {
        read_only_root: parsed(member(&spec, ROOT)?.as_ref(), "readonly", "root.readonly")?,
        no_new_privileges: parsed(process.as_ref(), "noNewPrivileges", "process.noNewPrivileges")?,
        may_set_groups: has("CAP_SETGID"),
        may_mount: has("CAP_SYS_ADMIN"),
        has_ambient: capabilities.ambient.is_some_and(|held| !held.is_empty()),
        shares_processes: !own,
        mount_sources: mounts.into_iter().map(|mount| mount.source).collect(),
    })
}

fn member<'a>(parent: &Object<'a>, name: &'static str) -> Result<Option<Object<'a>>, SpecError> {
    let Some(raw) = parent.get(name)? else { return Ok(None) };
    let found = object(name, raw)?;
    found.distinct()?;
    Ok(Some(found))
}

fn parsed<'a, T: Deserialize<'a> + Default>(
    parent: Option<&Object<'a>>,
    name: &str,
    field: &'static str,
) -> Result<T, SpecError> {
    match parent.map(|parent| parent.get(name)).transpose()?.flatten() {
        Some(raw) => serde_json::from_str(raw).map_err(|_| SpecError::BadValue { field }),
        None => Ok(T::default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_spec_of_containerd_is_read() {
        let spec = include_bytes!("../../tests/fixtures/containerd-1.7.24/config.json");
        let found = read_confinement(spec).unwrap();
        assert!(found.may_set_groups && !found.may_mount && !found.has_ambient, "{found:?}");
        assert!(found.shares_processes && !found.read_only_root && !found.no_new_privileges, "{found:?}");
        assert!(found.mount_sources.iter().any(|source| source == "proc"), "{found:?}");
    }

    #[test]
    fn what_is_missing_is_as_the_runtime_takes_it() {
        let found = read_confinement(br#"{"process":{"capabilities":null}}"#).unwrap();
        assert_eq!(found, Confinement { shares_processes: true, ..Confinement::default() });
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

//! The groups that a pod declares, as containerd keeps them.
//!
//! The kubelet sends `fsGroup`, the gids of volumes and `supplementalGroups` as one list, the CRI
//! field `LinuxContainerSecurityContext.supplemental_groups`. containerd keeps the whole request
//! with the container's record, as an extension: an Any whose value is JSON. The kubelet sends the same list for
//! the pod's sandbox (`LinuxSandboxSecurityContext.supplemental_groups`), whose record has an extension of its own.
//!
//! The form is the same in 1.x (source: `pkg/cri/store/container/metadata.go`; the tests have a real
//! one of 1.7.24) and in 2.x (source: `internal/cri/store/container/metadata.go`). In both the
//! type's URL still names the repository in which the CRI plugin once lived. The value is written
//! by Go's encoding/json from the generated CRI types: `Version` is `"v1"`, the members up to
//! `Config` have Go's field names, from there on the names of the proto's fields, and what is empty
//! is left out from there on. What later sources add or drop (`ImageDigest`, `Mode`) lies beside
//! the path to the groups.

use thiserror::Error;

use crate::json::{self, Ambiguous, Object};
use crate::oci::Annotations;
use crate::policy::Labels;
use crate::text;

/// The name of the extension in a container's record.
pub const EXTENSION: &str = "io.cri-containerd.container.metadata";

/// The type of the extension's value.
pub const TYPE_URL: &str = "github.com/containerd/cri/pkg/store/container/Metadata";

/// The name of the extension in a sandbox's record.
pub const SANDBOX_EXTENSION: &str = "io.cri-containerd.sandbox.metadata";

/// The type of the value of a sandbox's extension.
pub const SANDBOX_TYPE_URL: &str = "github.com/containerd/cri/pkg/store/sandbox/Metadata";

const VERSION: &str = "v1";
const GROUPS: &str = "supplemental_groups";
const POLICY: &str = "supplemental_groups_policy";

/// `Strict` of the CRI's enum `SupplementalGroupsPolicy`.
const STRICT: &str = "1";

/// Why the declared groups are not known. They are not "none" then: Strict cannot be enforced.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeclaredError {
    /// The extension is of another type.
    #[error("the container's metadata is of the unknown type {}", text::quoted(.type_url, 96))]
    UnknownType {
        /// The type's URL.
        type_url: String,
    },
    /// The extension is of another version.
    #[error("the container's metadata is of the unknown version {}", text::quoted(.version, 16))]
    UnknownVersion {
        /// The version, as the JSON text it is.
        version: String,
    },
    /// The extension is not a JSON object.
    #[error("the container's metadata is no JSON object")]
    NotJson,
    /// Readers would not agree on what the extension says, or a name is written in an unknown form.
    #[error("the container's metadata is ambiguous: key {}", text::quoted(.key, 64))]
    Ambiguous {
        /// The key as it stands there.
        key: String,
    },
    /// A part that must be there.
    #[error("the container's metadata has no {field}")]
    Missing {
        /// The part's path.
        field: &'static str,
    },
    /// A part that is of the wrong type or, for groups, out of the range 0 to 4294967295.
    #[error("{field} of the container's metadata is not what it should be")]
    BadValue {
        /// The part's path.
        field: &'static str,
    },
}

impl From<Ambiguous> for DeclaredError {
    fn from(Ambiguous { key }: Ambiguous) -> Self {
        Self::Ambiguous { key }
    }
}

/// Reads the declared groups from the extension [`EXTENSION`] of a container's record, in the
/// order in which the kubelet sent them.
///
/// An empty list means that the pod declares none: the request is there, and has no such groups.
///
/// # Errors
/// Whenever the extension is not of the form that is known.
pub fn from_extension(type_url: &str, value: &[u8]) -> Result<Vec<u32>, DeclaredError> {
    in_security_context(TYPE_URL, type_url, value, GROUPS, read_groups).map(Option::unwrap_or_default)
}

/// The same from the extension [`SANDBOX_EXTENSION`] of a sandbox's record: what the pod declares for all of its
/// containers.
///
/// # Errors
/// As [`from_extension`].
pub fn from_sandbox_extension(type_url: &str, value: &[u8]) -> Result<Vec<u32>, DeclaredError> {
    in_security_context(SANDBOX_TYPE_URL, type_url, value, GROUPS, read_groups).map(Option::unwrap_or_default)
}

/// The labels and annotations of a sandbox's pod, from the extension [`SANDBOX_EXTENSION`] of its record: all of them, as
/// the kubelet sent them when the sandbox was made.
///
/// # Errors
/// As [`from_extension`].
pub fn pod_of_sandbox(type_url: &str, value: &[u8]) -> Result<(Labels, Annotations), DeclaredError> {
    let config = config(SANDBOX_TYPE_URL, type_url, value)?;
    Ok((map(&config, "labels")?, map(&config, "annotations")?))
}

/// A map from texts to texts; none is an empty one.
fn map<T: FromIterator<(String, String)>>(
    config: &Object<'_>,
    name: &'static str,
) -> Result<T, DeclaredError> {
    let map = optional(config, name, name)?;
    let entries = map.iter().flat_map(Object::members);
    let entries = entries.map(|(key, value)| Ok((key.to_owned(), serde_json::from_str::<String>(value)?)));
    entries.collect::<serde_json::Result<T>>().map_err(|_| DeclaredError::BadValue { field: name })
}

fn read_groups(raw: &str) -> Result<Vec<u32>, DeclaredError> {
    serde_json::from_str(raw).map_err(|_| DeclaredError::BadValue { field: GROUPS })
}

/// Whether the pod's own field `supplementalGroupsPolicy` is `Strict`, as far as the runtime knows the field.
/// containerd 2.0 and newer enforce it. An older one may know it without doing so: Debian builds 1.7.24 with a CRI
/// that has it.
///
/// # Errors
/// As [`from_extension`].
pub fn asks_for_strict(type_url: &str, value: &[u8]) -> Result<bool, DeclaredError> {
    in_security_context(TYPE_URL, type_url, value, POLICY, |raw| Ok(raw == STRICT))
        .map(Option::unwrap_or_default)
}

/// What `read` makes of the member `name` of the security context in a value of the type `expected`; None: it is not
/// there.
fn in_security_context<T>(
    expected: &str,
    type_url: &str,
    value: &[u8],
    name: &str,
    read: impl FnOnce(&str) -> Result<T, DeclaredError>,
) -> Result<Option<T>, DeclaredError> {
    let config = config(expected, type_url, value)?;
    let Some(linux) = optional(&config, "linux", "Metadata.Config.linux")? else {
        return Ok(None);
    };
    let context = optional(&linux, "security_context", "Metadata.Config.linux.security_context")?;
    let raw = context.as_ref().map(|context| member(context, name)).transpose()?.flatten();
    raw.map(read).transpose()
}

/// The request in a value of the type `expected`.
fn config<'a>(expected: &str, type_url: &str, value: &'a [u8]) -> Result<Object<'a>, DeclaredError> {
    if type_url != expected {
        return Err(DeclaredError::UnknownType { type_url: type_url.to_owned() });
    }
    let text = str::from_utf8(value).map_err(|_| DeclaredError::NotJson)?;
    let root = Object::parse(text).map_err(|_| DeclaredError::NotJson)?;
    version(&root)?;
    let metadata = required(&root, "Metadata", "Metadata")?;
    required(&metadata, "Config", "Metadata.Config")
}

fn version(root: &Object<'_>) -> Result<(), DeclaredError> {
    let raw = member(root, "Version")?.ok_or(DeclaredError::Missing { field: "Version" })?;
    match serde_json::from_str::<String>(raw) {
        Ok(version) if version == VERSION => Ok(()),
        Ok(version) => Err(DeclaredError::UnknownVersion { version }),
        Err(_) => Err(DeclaredError::BadValue { field: "Version" }),
    }
}

fn required<'a>(parent: &Object<'a>, name: &str, field: &'static str) -> Result<Object<'a>, DeclaredError> {
    optional(parent, name, field)?.ok_or(DeclaredError::Missing { field })
}

fn optional<'a>(
    parent: &Object<'a>,
    name: &str,
    field: &'static str,
) -> Result<Option<Object<'a>>, DeclaredError> {
    member(parent, name)?
        .map(|raw| Object::parse(raw).map_err(|_| DeclaredError::BadValue { field }))
        .transpose()
}

/// The raw value of `name`. Protobuf's own JSON would write `securityContext` for
/// `security_context`: should containerd ever change over, that must not look like a pod that
/// declares nothing.
fn member<'a>(parent: &Object<'a>, name: &str) -> Result<Option<&'a str>, DeclaredError> {
    let plain = name.replace('_', "");
    match parent.keys().find(|key| *key != name && json::folds_to(&key.replace('_', ""), &plain)) {
        Some(key) => Err(DeclaredError::Ambiguous { key: key.to_owned() }),
        None => Ok(parent.get(name)?),
    }
}

#[cfg(test)]
mod tests;

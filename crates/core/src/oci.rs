//! Reads and edits an OCI runtime spec (`config.json`) as text and keeps what it does not know. Knows no gate: a hook is its
//! list of arguments.
//!
//! Only the path to what matters is parsed: `process.user`, `hooks.createRuntime` and the names of
//! `annotations`. Every other value is copied as the text it was, so newer fields, large numbers
//! and odd spellings survive. On that path nothing is guessed: a key that another reader of the
//! same bytes could take for a different one makes the spec ambiguous, and that is an error.

use thiserror::Error;

use crate::json::{Ambiguous, Object};
use crate::text;

mod annotations;
mod confinement;
mod hooks;
mod id_maps;
mod user;

pub use annotations::{Annotations, KEEP_GROUPS, read_annotations};
pub use confinement::{Confinement, read_confinement};
pub use id_maps::{IdMaps, IdRange, read_id_maps};

pub use annotations::{keeps_original_groups, read as annotations_of};
pub use hooks::Hooks;
pub use user::User;

pub const PROCESS: &str = "process";
pub const HOOKS: &str = "hooks";
const ROOT: &str = "root";
const ANNOTATIONS: &str = "annotations";

/// The user of a container's first process (OCI runtime-spec, "POSIX-platform User"), in the
/// container's own ids. What is missing from a spec is 0 or none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessUser {
    /// The user id.
    pub uid: u32,
    /// The primary group id.
    pub gid: u32,
    /// The supplementary group ids, in the order they stand.
    pub additional_gids: Vec<u32>,
}

/// Why a spec is not understood. Whoever goes on would guess.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OciError {
    /// The bytes are not one JSON object: cut short, not UTF-8, something behind the end.
    #[error("the spec is no JSON object (line {line}, column {column})")]
    NotJson {
        /// Where reading stopped, counted from 1 (0 where there is nothing at all).
        line: usize,
        /// Where in that line, in bytes.
        column: usize,
    },
    /// Programs that read this spec would not agree on what it says.
    #[error("the spec is ambiguous: it has the key {} twice, or not exactly so", text::quoted(.key, 64))]
    Ambiguous {
        /// The key as it stands in the spec.
        key: String,
    },
    /// A part that must be there.
    #[error("the spec has no {field}")]
    Missing {
        /// The part's path.
        field: &'static str,
    },
    /// A part that is of the wrong type or out of its range.
    #[error("{field} of the spec is not what the OCI runtime spec wants")]
    BadValue {
        /// The part's path.
        field: &'static str,
    },
}

impl From<Ambiguous> for OciError {
    fn from(Ambiguous { key }: Ambiguous) -> Self {
        Self::Ambiguous { key }
    }
}

/// A whole config.json.
///
/// # Errors
/// It is not a JSON object.
pub fn root(json: &[u8]) -> Result<Object<'_>, OciError> {
    let text = str::from_utf8(json).map_err(|error| {
        let mut lines = json.get(..error.valid_up_to()).unwrap_or_default().rsplit(|byte| *byte == b'\n');
        let column = 1 + lines.next().unwrap_or_default().len();
        let line = 1 + lines.count();
        OciError::NotJson { line, column }
    })?;
    Object::parse(text).map_err(|error| OciError::NotJson { line: error.line(), column: error.column() })
}

/// The `process` of a config.json.
///
/// # Errors
/// There is none, or a reader in Go could take it for another one.
pub fn process<'a>(root: &Object<'a>) -> Result<Object<'a>, OciError> {
    let raw = root.get(PROCESS)?.ok_or(OciError::Missing { field: PROCESS })?;
    let process = object(PROCESS, raw)?;
    process.distinct()?;
    Ok(process)
}

/// The `root.path` of a config.json.
///
/// # Errors
/// It is not a string.
pub fn root_path(root: &Object<'_>) -> Result<Option<String>, OciError> {
    let Some(raw) = root.get(ROOT)? else { return Ok(None) };
    let text = object(ROOT, raw)?.get("path")?;
    text.map(serde_json::from_str).transpose().map_err(|_| OciError::BadValue { field: "root.path" })
}

/// The value of `field` as an object.
///
/// # Errors
/// It is none.
pub fn object<'a>(field: &'static str, raw: &'a str) -> Result<Object<'a>, OciError> {
    Object::parse(raw).map_err(|_| OciError::BadValue { field })
}

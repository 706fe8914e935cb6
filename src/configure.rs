//! The files that `strict-groups config` writes for a container runtime: generated, compared,
//! written and taken away.
//!
//! [`containerd`], [`base_spec`], [`wrapper`], [`crio`], [`seal`] and [`diff`] are pure: text in, text out.
//! [`imports`] and [`folder`] look at the file system.

pub mod base_spec;
pub mod containerd;
pub mod crio;
pub mod diff;
pub mod folder;
pub mod imports;
pub mod seal;
pub mod wrapper;

use std::path::PathBuf;

use serde_json::{Value, json};

use container_start::static_gate::StaticGate;

/// A file to write, below the folder that the operator names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, without a folder.
    pub name: String,
    /// Its content, sealed (see [`seal`]).
    pub content: String,
    /// Whether it is a program.
    pub executable: bool,
}

impl File {
    fn new(name: impl Into<String>, content: String) -> Self {
        Self { name: name.into(), content, executable: false }
    }

    fn program(name: impl Into<String>, content: String) -> Self {
        Self { executable: true, ..Self::new(name, content) }
    }
}

/// The static gate as a hook: the executable, and what it is called with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The absolute path of the executable, as the OCI runtime finds it.
    pub path: PathBuf,
    /// The gate that it is.
    pub gate: StaticGate,
}

impl Hook {
    /// The hook as the OCI runtime spec has it ("POSIX-platform Hooks").
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "path": self.path, "args": self.gate.args() })
    }
}

//! `strict-groups hook`: the gate, run by the OCI runtime as a createRuntime
//! hook (OCI runtime spec, "Hooks"). Exits 0 to let the container start, else
//! prints one line, which ends up in `kubectl describe pod`.
//!
//! It runs at every start of a Strict container, and as the static gate at
//! every start of any container, so it does little: no async runtime, no
//! logging, no file but the bundle's `config.json`, the container's
//! `/etc/group`, and the node's configuration where the answer depends on it.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use thiserror::Error;

use crate::{
    bundle,
    config::{Config, ConfigError},
    gate::{Gate, GateError, NAME_MAX, Refusal},
    groups, mark, rootfs,
    spec::{self, SpecError},
    static_gate::{Runtime, Start, StaticGate, StaticGateError, StaticRefusal},
    text,
};

/// The longest path that is shown, in bytes: that of any real bundle.
const PATH_SHOWN: usize = 512;

/// Why the container does not start.
#[derive(Debug, Error)]
pub enum HookError {
    /// Not called with a gate's arguments.
    #[error(
        "strict-groups: `strict-groups hook` is run by the OCI runtime with the arguments that the plugin or `strict-groups config` gave it, not by hand"
    )]
    NotAGate,
    /// The arguments are nearly those of a gate.
    #[error(
        "strict-groups: refused: the gate's own arguments are not understood ({0}); are plugin and hook of one version?"
    )]
    Arguments(#[source] GateError),
    /// The arguments are nearly those of the static gate.
    #[error(
        "strict-groups: refused: the static gate's arguments are not understood ({0}); write the node's files again with `strict-groups config`"
    )]
    StaticArguments(#[source] StaticGateError),
    /// Something that must be read could not be, so the static gate knows no pod.
    #[error("strict-groups: static gate: refused: {0}")]
    StaticUnreadable(#[source] InputError),
    /// The static gate is shut for this container.
    #[error(transparent)]
    StaticRefused(#[from] StaticRefusal),
    /// Something that must be read could not be.
    #[error(
        "strict-groups: pod {}, container {}: refused: {source}",
        text::one_line(.pod, NAME_MAX),
        text::one_line(.container, NAME_MAX)
    )]
    Unreadable {
        /// `namespace/name`
        pod: String,
        /// The container's name in its pod.
        container: String,
        /// What is wrong.
        source: InputError,
    },
    /// The gate is shut, or the container has groups that it must not have.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What the OCI runtime gave the hook is not as the specification has it.
#[derive(Debug, Error)]
pub enum InputError {
    /// The OCI state on standard input cannot be read.
    #[error("the OCI runtime gave no usable state on standard input ({0})")]
    State(#[source] io::Error),
    /// `config.json` cannot be read.
    #[error("cannot read {} ({source})", shown(path))]
    Config {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `config.json` cannot be understood.
    #[error("{} is not understood: {source}", shown(path))]
    Spec {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: SpecError,
    },
    /// The container's `/etc/group` is there and cannot be read.
    #[error("cannot read the container's /etc/group ({0})")]
    GroupFile(#[source] io::Error),
    /// `config.json` does not have the gate that is running.
    #[error("{} does not have this gate among its hooks", shown(path))]
    NoGate {
        /// The file.
        path: PathBuf,
    },
}

/// A path in a message, which is one line.
fn shown(path: &Path) -> String {
    text::one_line(&path.to_string_lossy(), PATH_SHOWN)
}

/// The part of the OCI state that is needed (OCI runtime spec, "State").
#[derive(Deserialize)]
struct OciState {
    #[serde(default)]
    id: String,
    /// The container's first process, before it runs the container's program.
    pid: u32,
    bundle: PathBuf,
}

/// What a hook looks at.
struct Bundle {
    /// The container's id in the OCI state.
    id: String,
    /// The container's first process.
    pid: u32,
    path: PathBuf,
    /// The content of its `config.json`.
    json: Vec<u8>,
}

/// Decides whether the container may start. `args` are the gate's own, the
/// first two (`strict-groups hook`) included; `state` is the OCI state.
///
/// # Errors
/// Every reason to refuse. Its text is one line.
pub fn verify(args: &[String], state: impl Read) -> Result<(), HookError> {
    verify_on(&Machine, args, state)
}

/// What the hook reads of the machine that it runs on.
pub(crate) trait Node {
    /// The `config.json` of a bundle.
    fn config_json(&self, bundle: &Path) -> io::Result<Vec<u8>>;

    /// The `/etc/group` below `root`, a path in the view of the process `pid`; None where there is none.
    fn group_file(&self, pid: u32, root: &Path) -> io::Result<Option<Vec<u8>>>;

    /// The node's configuration.
    fn configuration(&self, path: Option<&Path>) -> Result<Config, ConfigError>;
}

struct Machine;

impl Node for Machine {
    fn config_json(&self, bundle: &Path) -> io::Result<Vec<u8>> {
        bundle::read(bundle, Path::new(bundle::CONFIG))
    }

    fn group_file(&self, pid: u32, root: &Path) -> io::Result<Option<Vec<u8>>> {
        match rootfs::directory(rootfs::of_process(pid)?, root) {
            Ok(root) => rootfs::read(root, rootfs::GROUP_FILE),
            // A runtime that keeps it elsewhere (a virtual machine) does not look groups up in it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn configuration(&self, path: Option<&Path>) -> Result<Config, ConfigError> {
        Config::load(path)
    }
}

/// [`verify`] on this `node`.
pub(crate) fn verify_on(node: &impl Node, args: &[String], state: impl Read) -> Result<(), HookError> {
    if mark::is_mark(args) {
        // It says by being there all that it has to say. The state is read for a runtime that waits for that.
        let _ = bundle::read_limited(state);
        return Ok(());
    }
    if let Some(gate) = StaticGate::parse(args).map_err(HookError::StaticArguments)? {
        return verify_static(node, &gate, state);
    }
    let gate = Gate::parse(args).map_err(HookError::Arguments)?.ok_or(HookError::NotAGate)?;
    let unreadable =
        |source| HookError::Unreadable { pod: gate.pod.clone(), container: gate.container.clone(), source };
    let Bundle { id, pid, path: bundle, json } = Bundle::read(node, state).map_err(unreadable)?;
    let view = read_gated(&gate, &bundle, &json).map_err(unreadable)?;
    gate.verify_spec(&view).map_err(|refusal| {
        // What to do about it depends on the container runtime; who that is shows in the annotations.
        let annotations = spec::read_with_annotations(&json).map(|(_, annotations)| annotations);
        refusal.under(Runtime::of(&annotations.unwrap_or_default(), &id))
    })?;
    let file =
        group_file(node, pid, &bundle, &view).map_err(|source| unreadable(InputError::GroupFile(source)))?;
    Ok(gate.verify_group_file(&view, file.as_deref().unwrap_or_default())?)
}

fn verify_static(node: &impl Node, gate: &StaticGate, state: impl Read) -> Result<(), HookError> {
    let bundle = Bundle::read(node, state).map_err(HookError::StaticUnreadable)?;
    let (view, annotations) = spec::read_with_annotations(&bundle.json).map_err(|source| {
        HookError::StaticUnreadable(InputError::Spec { path: config_json(&bundle.path), source })
    })?;
    // A file that cannot be read is no reason to refuse what is not Strict.
    let renames_groups = group_file(node, bundle.pid, &bundle.path, &view).map_or(true, |file| {
        file.is_some_and(|file| groups::alias(&file, &view.user.additional_gids).is_some())
    });
    let start = Start { id: &bundle.id, view: &view, annotations: &annotations, renames_groups };
    Ok(gate.judge(&start, || node.configuration(gate.config.as_deref()))?)
}

fn read_gated(gate: &Gate, bundle: &Path, json: &[u8]) -> Result<spec::View, InputError> {
    let path = || config_json(bundle);
    let view = spec::read(json).map_err(|source| InputError::Spec { path: path(), source })?;
    if view.gates.contains(gate) { Ok(view) } else { Err(InputError::NoGate { path: path() }) }
}

fn config_json(bundle: &Path) -> PathBuf {
    bundle.join(bundle::CONFIG)
}

/// The `/etc/group` that the container's first process is going to have. The
/// container's mounts are made already, but only that process sees them.
fn group_file(node: &impl Node, pid: u32, bundle: &Path, view: &spec::View) -> io::Result<Option<Vec<u8>>> {
    node.group_file(pid, &bundle.join(view.root_path.as_deref().unwrap_or("rootfs")))
}

impl Bundle {
    fn read(node: &impl Node, state: impl Read) -> Result<Self, InputError> {
        let state = bundle::read_limited(state).map_err(InputError::State)?;
        let OciState { id, pid, bundle } =
            serde_json::from_slice(&state).map_err(|error| InputError::State(io::Error::from(error)))?;
        match node.config_json(&bundle) {
            Ok(json) => Ok(Self { id, pid, path: bundle, json }),
            Err(source) => Err(InputError::Config { path: config_json(&bundle), source }),
        }
    }
}

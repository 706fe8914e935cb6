//! `strict-groups hook`: the gate, run by the OCI runtime as a createRuntime
//! hook (OCI runtime spec, "Hooks"). Exits 0 to let the container start, else
//! prints one line, which ends up in `kubectl describe pod`.
//!
//! It runs at every start of a Strict container, so it does little: no async
//! runtime, no logging, no file but the bundle's `config.json`.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use nix::{
    dir::Dir,
    fcntl::{OFlag, openat},
    sys::stat::Mode,
};
use serde::Deserialize;
use thiserror::Error;

use crate::{
    gate::{Gate, GateError, NAME_MAX, Refusal},
    spec::{self, SpecError},
    text,
};

/// More than any real state or `config.json`: Kubernetes allows 256 KiB of
/// annotations, and the kernel a few MiB of arguments and environment.
const LARGEST_INPUT: u64 = 16 * 1024 * 1024;

/// The longest path that is shown, in bytes: that of any real bundle.
const PATH_SHOWN: usize = 512;

/// Why the container does not start.
#[derive(Debug, Error)]
pub enum HookError {
    /// Not called with a gate's arguments.
    #[error(
        "strict-groups: `strict-groups hook` is run by the OCI runtime with the arguments that the plugin gave it, not by hand"
    )]
    NotAGate,
    /// The arguments are nearly those of a gate.
    #[error(
        "strict-groups: refused: the gate's own arguments are not understood ({0}); are plugin and hook of one version?"
    )]
    Arguments(#[source] GateError),
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
    bundle: PathBuf,
}

/// Decides whether the container may start. `args` are the gate's own, the
/// first two (`strict-groups hook`) included; `state` is the OCI state.
///
/// # Errors
/// Every reason to refuse. Its text is one line.
pub fn verify(args: &[String], state: impl Read) -> Result<(), HookError> {
    verify_with(args, state, read_config)
}

/// [`verify`] with another way to get the `config.json` of the bundle that the state names.
pub(crate) fn verify_with(
    args: &[String],
    state: impl Read,
    read_config: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
) -> Result<(), HookError> {
    let gate = Gate::parse(args).map_err(HookError::Arguments)?.ok_or(HookError::NotAGate)?;
    let view = read_bundle(&gate, state, read_config).map_err(|source| HookError::Unreadable {
        pod: gate.pod.clone(),
        container: gate.container.clone(),
        source,
    })?;
    Ok(gate.verify_spec(&view)?)
}

fn read_bundle(
    gate: &Gate,
    state: impl Read,
    read_config: impl FnOnce(&Path) -> io::Result<Vec<u8>>,
) -> Result<spec::View, InputError> {
    let state = read_limited(state).map_err(InputError::State)?;
    let state: OciState =
        serde_json::from_slice(&state).map_err(|error| InputError::State(io::Error::from(error)))?;
    let path = state.bundle.join("config.json");
    let json =
        read_config(&state.bundle).map_err(|source| InputError::Config { path: path.clone(), source })?;
    let view = spec::read(&json).map_err(|source| InputError::Spec { path: path.clone(), source })?;
    if view.gates.contains(gate) { Ok(view) } else { Err(InputError::NoGate { path }) }
}

/// Reads the bundle's own `config.json`: no link, no FIFO or device that
/// would make the hook wait.
fn read_config(bundle: &Path) -> io::Result<Vec<u8>> {
    let bundle = Dir::open(bundle, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(&bundle, "config.json", flags, Mode::empty())?);
    if file.metadata()?.is_file() {
        read_limited(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

fn read_limited(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(LARGEST_INPUT + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= LARGEST_INPUT) {
        Ok(bytes)
    } else {
        Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 16 MiB"))
    }
}

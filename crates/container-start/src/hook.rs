//! `strict-groups hook`: the gate, run by the OCI runtime as a createRuntime
//! hook (OCI runtime spec, "Hooks"). Exits 0 to let the container start, else
//! prints one line, which ends up in `kubectl describe pod`.
//!
//! It runs at every start of a Strict container, and as the static gate at every start of any container, so it does
//! little: no async wrapper, no logging. A Merge container costs it two `config.json` files, its own and its sandbox's,
//! and the node's configuration. Files of the container are read for Strict ones only, and only under an OCI runtime
//! that reads them too ([`crate::oci_runtime`]).

use std::{
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use serde::Deserialize;
use thiserror::Error;

use crate::{
    bundle,
    config::{Config, ConfigError, OldRuncExec},
    group_file::{self, GroupFile, GroupFileError},
    oci_runtime::{self, GroupLookup},
    static_gate::{Candidate, Sandbox, StaticGate, StaticGateError, StaticRefusal},
    wrapper,
};
use hostfs::rootfs;
use strict_groups_core::{
    engine::Engine,
    gate::{Cause, Gate, GateError, Refusal},
    groups, merge_marker, oci,
    spec::{self, SpecError},
    text,
};

mod limits;

pub use limits::run;

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
        text::one_line(.pod, text::NAME_MAX),
        text::one_line(.container, text::NAME_MAX)
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
    /// The time is up.
    #[error(
        "given up after {} s: reading config.json or the container's files hangs; look for a disk or network file system \
         that does not answer",
        limits::DEADLINE.as_secs()
    )]
    TooSlow,
    /// The processor time is up.
    #[error(
        "given up after {} s of processor time: config.json or a file of the container takes too long to read; look at the \
         size of its /etc/group",
        limits::PROCESSOR.as_secs()
    )]
    TooMuchWork,
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
pub trait Node {
    /// The `config.json` of a bundle.
    ///
    /// # Errors
    /// It cannot be read.
    fn config_json(&self, bundle: &Path) -> io::Result<Vec<u8>>;
    /// The `config.json` of the sandbox `id`, whose bundle is beside this one.
    ///
    /// # Errors
    /// It cannot be read.
    fn sandbox_json(&self, bundle: &Path, id: &str) -> io::Result<Vec<u8>>;
    /// How the OCI runtime that runs the hook reads groups.
    fn group_lookup(&self) -> GroupLookup;
    /// The `/etc/group` below `root`, a path in the view of the process `pid`. `generated` may be mounted there.
    ///
    /// # Errors
    /// Somebody else could change it, or it cannot be read.
    fn group_file(
        &self,
        pid: u32,
        root: &Path,
        generated: Option<&Path>,
    ) -> Result<GroupFile, GroupFileError>;
    /// The command line of the OCI runtime that runs the hook, its program left out.
    fn call(&self) -> Vec<OsString>;
    /// The supplementary groups that the OCI runtime gave the hook: its own.
    fn runtime_groups(&self) -> Vec<u32>;
    /// Whether `/proc` below `root`, a path in the view of the process `pid`, is a proc file system.
    fn has_procfs(&self, pid: u32, root: &Path) -> bool;
    /// Whether the container was created through our wrapper, which sees its execs too.
    fn has_wrapper(&self, bundle: &Path) -> bool;
    /// The node's configuration.
    ///
    /// # Errors
    /// It cannot be used.
    fn configuration(&self, path: Option<&Path>) -> Result<Config, ConfigError>;
}

struct Machine;

impl Node for Machine {
    fn config_json(&self, bundle: &Path) -> io::Result<Vec<u8>> {
        bundle::read(bundle, Path::new(bundle::CONFIG))
    }

    fn sandbox_json(&self, bundle: &Path, id: &str) -> io::Result<Vec<u8>> {
        bundle::read_sandbox(bundle, id)
    }

    fn group_lookup(&self) -> GroupLookup {
        oci_runtime::of_parent()
    }

    fn group_file(
        &self,
        pid: u32,
        root: &Path,
        generated: Option<&Path>,
    ) -> Result<GroupFile, GroupFileError> {
        group_file::find(rootfs::directory(rootfs::of_process(pid)?, root)?, generated)
    }

    fn call(&self) -> Vec<OsString> {
        let parent = std::os::unix::process::parent_id();
        let line = std::fs::read(format!("/proc/{parent}/cmdline")).unwrap_or_default();
        let words = line.split(|byte| *byte == 0).skip(1);
        words.map(|word| OsStr::from_bytes(word).to_owned()).collect()
    }

    fn runtime_groups(&self) -> Vec<u32> {
        nix::unistd::getgroups().unwrap_or_default().into_iter().map(nix::unistd::Gid::as_raw).collect()
    }

    fn has_procfs(&self, pid: u32, root: &Path) -> bool {
        let proc = rootfs::of_process(pid).and_then(|of| rootfs::directory(of, &root.join("proc")));
        proc.is_ok_and(|proc| fstatfs(proc).is_ok_and(|found| found.filesystem_type() == PROC_SUPER_MAGIC))
    }

    fn has_wrapper(&self, bundle: &Path) -> bool {
        bundle::has_wrapper(bundle)
    }

    fn configuration(&self, path: Option<&Path>) -> Result<Config, ConfigError> {
        Config::load(path)
    }
}

/// [`verify`] on this `node`.
///
/// # Errors
/// As [`verify`].
pub fn verify_on(node: &impl Node, args: &[String], state: impl Read) -> Result<(), HookError> {
    if merge_marker::is_marker(args) {
        // The marker needs no check. Drain stdin, because some OCI runtimes block on it.
        let _ = bundle::read_limited(state);
        return Ok(());
    }
    if let Some(gate) = StaticGate::parse(args).map_err(HookError::StaticArguments)? {
        return verify_static(node, &gate, state);
    }
    let gate = Gate::parse(args).map_err(HookError::Arguments)?.ok_or(HookError::NotAGate)?;
    let unreadable =
        |source| HookError::Unreadable { pod: gate.pod.clone(), container: gate.container.clone(), source };
    let bundle = Bundle::read(node, state).map_err(unreadable)?;
    let view = read_gated(&gate, &bundle).map_err(unreadable)?;
    gate.verify_spec(&view.user, view.keeps_original_groups).map_err(|refusal| {
        // What to do about it depends on the container runtime; who that is shows in the annotations.
        let annotations = oci::read_annotations(&bundle.json);
        refusal.under(Engine::of(&annotations.unwrap_or_default(), &bundle.id))
    })?;
    let config = StaticGate::in_spec(&bundle.json).map_err(|source| unreadable(bundle.spec(source)))?;
    let config = config.and_then(|gate| gate.config);
    verify_runtime(node, config.as_deref(), &bundle, &view)
        .map_err(unreadable)?
        .map_err(|cause| gate.refusal(cause).into())
}

fn verify_static(node: &impl Node, gate: &StaticGate, state: impl Read) -> Result<(), HookError> {
    let bundle = Bundle::read(node, state).map_err(HookError::StaticUnreadable)?;
    let (view, annotations) = spec::read_with_annotations(&bundle.json)
        .map_err(|source| HookError::StaticUnreadable(bundle.spec(source)))?;
    let candidate = Candidate { id: &bundle.id, view: &view, annotations: &annotations };
    let sandbox = |id: &str| {
        Sandbox::in_config(oci::read_annotations(&node.sandbox_json(&bundle.path, id).ok()?).ok()?)
    };
    let config = gate.config.as_deref();
    let Some((pod, container)) = gate.judge(&candidate, sandbox, || node.configuration(config))? else {
        return Ok(());
    };
    match verify_runtime(node, config, &bundle, &view) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(cause)) => Err(Refusal { pod, container, cause }.into()),
        Err(source) => Err(HookError::Unreadable { pod, container, source }),
    }
}

/// Checks that the OCI runtime makes a new process, and reads the spec's groups as the numbers that they are: now, and at
/// each exec.
fn verify_runtime(
    node: &impl Node,
    config: Option<&Path>,
    bundle: &Bundle,
    view: &spec::View,
) -> Result<Result<(), Cause>, InputError> {
    if wrapper::is_restore(&node.call()) {
        return Ok(Err(Cause::Restored));
    }
    let root = bundle.path.join(view.root_path.as_deref().unwrap_or("rootfs"));
    let allowed = view.user.additional_gids.iter().copied().chain([view.user.gid]);
    let groups = groups::excess(node.runtime_groups(), allowed);
    if !groups.is_empty() && !node.has_procfs(bundle.pid, &root) {
        return Ok(Err(Cause::RuntimeGroups { groups }));
    }
    if node.group_lookup() == GroupLookup::Literal {
        return Ok(Ok(()));
    }
    let confinement = oci::read_confinement(&bundle.json).map_err(|source| bundle.spec(source))?;
    let maps = oci::read_id_maps(&bundle.json).map_err(|source| bundle.spec(source))?;
    let generated = group_file::generated(&bundle.path, &confinement);
    let file = match node.group_file(bundle.pid, &root, generated.as_deref()) {
        Ok(file) => file,
        Err(error) => return Ok(Err(Cause::GroupFile { reason: error.to_string() })),
    };
    Ok(match file.judge(&view.user, &maps, &confinement) {
        Err(alias) => Err(Cause::Alias(alias)),
        Ok(false) => Ok(()),
        Ok(true) if node.has_wrapper(&bundle.path) => Ok(()),
        // A configuration that cannot be read allows nothing.
        Ok(true) => match node.configuration(config) {
            Ok(config) if config.old_runc_exec() == OldRuncExec::Allow => Ok(()),
            Ok(_) | Err(_) => Err(Cause::ExecAtRisk),
        },
    })
}

fn read_gated(gate: &Gate, bundle: &Bundle) -> Result<spec::View, InputError> {
    let view = spec::read(&bundle.json).map_err(|source| bundle.spec(source))?;
    if view.gates.contains(gate) { Ok(view) } else { Err(InputError::NoGate { path: bundle.config_json() }) }
}

impl Bundle {
    fn read(node: &impl Node, state: impl Read) -> Result<Self, InputError> {
        let state = bundle::read_limited(state).map_err(InputError::State)?;
        let OciState { id, pid, bundle } =
            serde_json::from_slice(&state).map_err(|error| InputError::State(io::Error::from(error)))?;
        match node.config_json(&bundle) {
            Ok(json) => Ok(Self { id, pid, path: bundle, json }),
            Err(source) => Err(InputError::Config { path: bundle.join(bundle::CONFIG), source }),
        }
    }

    fn config_json(&self) -> PathBuf {
        self.path.join(bundle::CONFIG)
    }

    fn spec(&self, source: impl Into<SpecError>) -> InputError {
        InputError::Spec { path: self.config_json(), source: source.into() }
    }
}

//! `create`: makes the bundle's spec Strict before the underlying OCI runtime reads it. `run` and `restore` leave no
//! moment to verify the result, so they are refused for a container that is Strict.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashSet},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, open},
    sys::stat::Mode,
};

use super::{
    argv::Create,
    error::{Fault, Subject, WrapperError},
    persisted, report,
};
use crate::{
    bundle,
    config::{self, Config, ConfigError},
    record::{self, RecordError},
    shim,
    static_gate::{Candidate, Sandbox, StaticCause, StaticGate, StaticRefusal, Verdict, nothing_to_lose},
};
use hostfs::rootfs;
use strict_groups_core::{
    engine::Engine,
    gate::{Gate, State},
    membership,
    oci::{self, Annotations, IdMaps},
    policy::{self, PolicyError},
    spec::{self, SpecError, View},
    text,
};

/// A bundle's spec file.
struct SpecFile {
    directory: PathBuf,
    name: PathBuf,
}

impl SpecFile {
    fn of(create: &Create<'_>) -> Self {
        let bundle = create.bundle.unwrap_or(Path::new("."));
        let path = match create.config {
            // crun takes any other name from where it is called, and only this one from the bundle.
            Some(config) if config != Path::new(bundle::CONFIG) => config.to_owned(),
            _ => bundle.join(bundle::CONFIG),
        };
        let name = path.file_name().map_or_else(PathBuf::new, PathBuf::from);
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        Self { directory: directory.unwrap_or(Path::new(".")).to_owned(), name }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    fn replace(&self, content: &[u8]) -> Result<(), Fault> {
        bundle::replace(&self.directory, &self.name, content)
            .map_err(|source| Fault::Write { path: self.path(), source })
    }
}

/// Makes the spec of a container that is Strict so, and leaves that of any other one alone.
///
/// # Errors
/// Every reason for which the container must not be made.
pub(super) fn prepare(create: &Create<'_>, config: Result<Config, ConfigError>) -> Result<(), WrapperError> {
    let file = SpecFile::of(create);
    let Read { json, view, annotations } = read(create, &file)?;
    let (gated, gate) = match gated(create.id, &json, &view, &annotations, config, &file)? {
        Gated::Strict { spec, gate } => (spec, gate),
        Gated::Merge { marked: None } => return Ok(()),
        Gated::Merge { marked: Some(new) } => {
            let fault = |fault| WrapperError::Fault { subject: Subject::Id(create.id.to_owned()), fault };
            return file.replace(&new).map_err(fault);
        }
    };

    let subject = Subject::Named { pod: gate.pod.clone(), container: gate.container.clone() };
    let fault = |fault| WrapperError::Fault { subject: subject.clone(), fault };
    let spec = |source| Fault::Spec { path: file.path(), source };
    let declared = declared(create, &json, &view, &annotations).map_err(fault)?;
    let resolution = spec::resolve(&gated, &declared).map_err(|source| fault(spec(source)))?;
    let new = match (resolution.json, gated) {
        (Some(new), _) => Some(new),
        (None, Cow::Owned(gated)) => Some(gated),
        (None, Cow::Borrowed(_)) => None,
    };
    if let Some(new) = &new {
        file.replace(new).map_err(fault)?;
        persisted::replace(&json, new).map_err(fault)?;
    }
    let bundle = create.bundle.unwrap_or(Path::new("."));
    bundle::note_wrapper(bundle)
        .map_err(|source| fault(Fault::Write { path: bundle.join(bundle::WRAPPER), source }))?;
    if !resolution.removed.is_empty() {
        report::resolved(&subject, create.id, &resolution.groups, &resolution.removed);
    }
    Ok(())
}

/// Lets a container through that is not Strict. `why` is the reason for any other one.
///
/// # Errors
/// It is Strict, or that is not known.
pub(super) fn refuse_strict(
    create: &Create<'_>,
    config: Result<Config, ConfigError>,
    why: Fault,
) -> Result<(), WrapperError> {
    let file = SpecFile::of(create);
    let Read { view, annotations, .. } = read(create, &file)?;
    if let Some(gate) = shut_gate(&view) {
        gate.verify(&view.user)?;
    }
    let strict = match view.gates.first() {
        Some(gate) => Ungated::Strict { pod: gate.pod.clone(), container: gate.container.clone() },
        None => ungated(create.id, &file.directory, &view, &annotations, config)?,
    };
    strict.merge_or(why)
}

/// What a bundle's spec says.
struct Read {
    json: Vec<u8>,
    view: View,
    annotations: Annotations,
}

fn read(create: &Create<'_>, file: &SpecFile) -> Result<Read, WrapperError> {
    let fault = |fault| WrapperError::Fault { subject: Subject::Id(create.id.to_owned()), fault };
    let json = bundle::read(&file.directory, &file.name)
        .map_err(|source| fault(Fault::Read { path: file.path(), source }))?;
    let (view, annotations) = spec::read_with_annotations(&json)
        .map_err(|source| fault(Fault::Spec { path: file.path(), source }))?;
    Ok(Read { json, view, annotations })
}

/// What becomes of a container's spec.
enum Gated<'j> {
    /// It is Strict: its spec with the gate.
    Strict { spec: Cow<'j, [u8]>, gate: Gate },
    /// It is not: its spec with the marker that says so, where that is needed.
    Merge { marked: Option<Vec<u8>> },
}

/// Tells whether the container is Strict, and gives its spec a gate where it has none.
fn gated<'j>(
    id: &str,
    json: &'j [u8],
    view: &View,
    annotations: &Annotations,
    config: Result<Config, ConfigError>,
    file: &SpecFile,
) -> Result<Gated<'j>, WrapperError> {
    if let Some(gate) = shut_gate(view) {
        // The gate would say the same; not every runtime passes on what a hook prints.
        gate.verify(&view.user)?;
    }
    let pending = view.gates.iter().find(|gate| matches!(gate.state, State::Pending { .. }));
    if let Some(gate) = pending.or(view.gates.first()) {
        return Ok(Gated::Strict { spec: Cow::Borrowed(json), gate: gate.clone() });
    }

    let hook_path = config.as_ref().ok().and_then(Config::hook_path).map(Path::to_owned);
    let ungated = ungated(id, &file.directory, view, annotations, config)?;
    let fault = |fault| WrapperError::Fault { subject: Subject::Id(id.to_owned()), fault };
    let spec = |source: SpecError| fault(Fault::Spec { path: file.path(), source });
    let path =
        || hook_path.map_or_else(std::env::current_exe, Ok).map_err(|error| fault(Fault::OwnPath(error)));
    match ungated {
        Ungated::Strict { pod, container } => {
            let gate = Gate { pod, container, state: State::Pending { declared: None } };
            let shut = spec::shut(json, &path()?.to_string_lossy(), &gate).map_err(spec)?;
            Ok(Gated::Strict { spec: shut.map_or(Cow::Borrowed(json), Cow::Owned), gate })
        }
        // The static gate knows less than the record, and would refuse it while the plugin is not running.
        Ungated::Merge { by_record: true } if StaticGate::in_spec(json).is_ok_and(|gate| gate.is_some()) => {
            let marked = spec::mark(json, &path()?.to_string_lossy()).map_err(spec)?;
            Ok(Gated::Merge { marked })
        }
        Ungated::Merge { .. } => Ok(Gated::Merge { marked: None }),
    }
}

fn shut_gate(view: &View) -> Option<&Gate> {
    view.gates.iter().find(|gate| matches!(gate.state, State::Refused { .. }))
}

/// The policy of a container that has no gate.
pub(super) enum Ungated {
    Strict {
        pod: String,
        container: String,
    },
    Merge {
        /// Whether containerd had to be asked for it.
        by_record: bool,
    },
}

impl Ungated {
    /// Lets Merge pass. `fault` is what is wrong if the container is Strict.
    ///
    /// # Errors
    /// It is.
    pub(super) fn merge_or(self, fault: Fault) -> Result<(), WrapperError> {
        match self {
            Self::Merge { .. } => Ok(()),
            Self::Strict { pod, container } => {
                Err(WrapperError::Fault { subject: Subject::Named { pod, container }, fault })
            }
        }
    }
}

/// Tells whether the container of `bundle`, which has no gate, is Strict.
///
/// # Errors
/// That is not known, or the node's configuration has such a container refused.
pub(super) fn ungated(
    id: &str,
    bundle: &Path,
    view: &View,
    annotations: &Annotations,
    config: Result<Config, ConfigError>,
) -> Result<Ungated, WrapperError> {
    let resolve = config.as_ref().is_ok_and(|config| config.runtime().ungated() == config::Ungated::Resolve);
    // Exempt is who must start while nobody enforces anything.
    let config = if resolve { config.map(Config::without_exempt) } else { config };
    let static_gate = StaticGate { runtime: Engine::of(annotations, id), config: None };
    let Decided { verdict, by_record } = decide(&static_gate, id, bundle, view, annotations, config)?;
    match verdict {
        Ok(Verdict::Merge) => Ok(Ungated::Merge { by_record }),
        Ok(Verdict::Strict { pod, container }) if resolve => {
            let container = match static_gate.runtime {
                Engine::Other => text::one_line(id, text::NAME_MAX),
                Engine::Containerd | Engine::CriO => container,
            };
            Ok(Ungated::Strict { pod, container })
        }
        Ok(Verdict::Strict { pod, container }) => {
            Err(StaticRefusal::Container { pod, container, cause: StaticCause::NotSeen }.into())
        }
        // As the static gate does it: with a gate of its own it starts, whatever the policy is.
        Err(StaticRefusal::Container { pod, container, cause })
            if cause.is_no_fault_of_the_pod() && nothing_to_lose(view) =>
        {
            Ok(Ungated::Strict { pod, container })
        }
        Err(StaticRefusal::Container { cause, .. }) if static_gate.runtime == Engine::Other => {
            Err(WrapperError::NoPod { subject: Subject::Id(id.to_owned()), cause })
        }
        Err(refusal) => Err(refusal.into()),
    }
}

struct Decided {
    verdict: Result<Verdict, StaticRefusal>,
    /// Whether containerd was asked.
    by_record: bool,
}

/// The policy of a container without a gate, by the files of its bundle where they say enough.
///
/// # Errors
/// containerd, which knows the pod, does not answer.
fn decide(
    static_gate: &StaticGate,
    id: &str,
    bundle: &Path,
    view: &View,
    annotations: &Annotations,
    config: Result<Config, ConfigError>,
) -> Result<Decided, WrapperError> {
    let by_bundle = |verdict| Ok(Decided { verdict, by_record: false });
    let in_bundle =
        |id: &str| Sandbox::in_config(oci::read_annotations(&bundle::read_sandbox(bundle, id).ok()?).ok()?);
    let (Engine::Containerd, Ok(config)) = (static_gate.runtime, &config) else {
        return by_bundle(static_gate.decide(&Candidate { id, view, annotations }, in_bundle, || config));
    };
    // Where the container has a key of ours that its sandbox lacks, the pod was annotated since, or containerd did not
    // pass our keys on when it made the sandbox: pod_annotations was another one then.
    let in_bundle = |id: &str| in_bundle(id).filter(|sandbox| has_our_keys_of(annotations, sandbox));
    // Whatever the plugin decided: if it was Merge, this can still be Strict by a newer configuration.
    let view = &View { seen_as_merge: false, ..view.clone() };
    let candidate = Candidate { id, view, annotations };
    let (pod, container) = match static_gate.decide(&candidate, in_bundle, || Ok(config.clone())) {
        Err(StaticRefusal::Container {
            pod,
            container,
            cause: StaticCause::UnknownSandbox | StaticCause::Policy(PolicyError::DependsOnLabels),
        }) => (pod, container),
        verdict => return by_bundle(verdict),
    };
    let mut asked = Ok(());
    let in_record = |sandbox: &str| {
        let pod = shim::parents_containerd().ok_or(RecordError::NoSocket);
        match pod.and_then(|socket| record::pod(&socket, sandbox)) {
            Ok((labels, annotations)) => Some(Sandbox { annotations, labels: Some(labels) }),
            Err(error) => {
                asked = Err(error);
                None
            }
        }
    };
    let verdict = static_gate.decide(&candidate, in_record, || Ok(config.clone()));
    match asked {
        Ok(()) => Ok(Decided { verdict, by_record: true }),
        Err(_) if nothing_to_lose(view) => by_bundle(Ok(Verdict::Strict { pod, container })),
        Err(error) => {
            let subject = Subject::Named { pod, container };
            Err(WrapperError::Fault { subject, fault: Fault::Pod(error) })
        }
    }
}

/// Whether the sandbox has every annotation of ours that a container has.
fn has_our_keys_of(annotations: &Annotations, sandbox: &Sandbox) -> bool {
    annotations
        .iter()
        .filter(|(key, _)| policy::form(key).is_some())
        .all(|(key, value)| sandbox.annotations.get(key) == Some(value))
}

/// The groups that the process may have beside its primary one: what was declared, where that can be known, else all that
/// it has but for those that the image gives its user.
fn declared(
    create: &Create<'_>,
    json: &[u8],
    view: &View,
    annotations: &Annotations,
) -> Result<Vec<u32>, Fault> {
    let made = &view.user.additional_gids;
    let runtime = Engine::of(annotations, create.id);
    if runtime == Engine::Containerd {
        return declared_in_record(create, view);
    }
    if !view.gates.is_empty() && view.gates.iter().all(|gate| !matches!(gate.state, State::Pending { .. })) {
        // Resolved by the plugin; the gate itself says what is allowed.
        return Ok(made.clone());
    }
    // CRI-O puts the groups of CDI devices first, then the primary one, then the image's.
    let by_devices = match runtime {
        Engine::CriO => made.iter().position(|gid| *gid == view.user.gid).unwrap_or(0),
        Engine::Containerd | Engine::Other => 0,
    };
    let (devices, rest) = made.split_at(by_devices);
    let known: Vec<HashSet<u32>> = view
        .gates
        .iter()
        .filter_map(|gate| match &gate.state {
            State::Pending { declared } => declared.as_ref().map(|gids| gids.iter().copied().collect()),
            State::Resolved { .. } | State::Refused { .. } => None,
        })
        .collect();
    let implied = if known.is_empty() {
        let maps = oci::read_id_maps(json).map_err(|error| Fault::Spec {
            path: Path::new(bundle::CONFIG).to_owned(),
            source: error.into(),
        })?;
        implied(create, view, &maps)?
    } else {
        BTreeSet::new()
    };
    let is_declared =
        |gid: &u32| known.iter().all(|declared| declared.contains(gid)) && !implied.contains(gid);
    Ok(devices.iter().chain(rest.iter().filter(|gid| is_declared(gid))).copied().collect())
}

/// On containerd, the groups that the kubelet declared for the container; never a guess from the image's files. Where
/// nothing can be removed, containerd is not asked.
fn declared_in_record(create: &Create<'_>, view: &View) -> Result<Vec<u32>, Fault> {
    let made = &view.user.additional_gids;
    let is_settled = !view.gates.is_empty() && view.gates.iter().all(|gate| gate.verify(&view.user).is_ok());
    if is_settled || made.iter().all(|gid| *gid == view.user.gid) {
        return Ok(made.clone());
    }
    let socket = shim::parents_containerd().ok_or(Fault::Declared(RecordError::NoSocket))?;
    record::declared(&socket, create.id).map_err(Fault::Declared)
}

/// The groups that the image gives the user of the process.
fn implied(create: &Create<'_>, view: &View, maps: &IdMaps) -> Result<BTreeSet<u32>, Fault> {
    let path = create.bundle.unwrap_or(Path::new(".")).join(view.root_path.as_deref().unwrap_or("rootfs"));
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root: OwnedFd = open(&path, flags, Mode::empty())
        .map_err(|errno| Fault::RootFs { path: path.clone(), source: errno.into() })?;
    let read = |file| rootfs::read_as_engines(&root, file).map_err(|source| Fault::Image { file, source });
    let (passwd, group) = (read(rootfs::PASSWD_FILE)?, read(rootfs::GROUP_FILE)?);
    // CRI-O looks users and groups up first, and turns ids of the machine into the container's later.
    let uid = view.user.uid;
    let uids: Vec<u32> = maps.uids.iter().filter_map(|range| range.to_host(uid)).chain([uid]).collect();
    let groups = membership::implied(&passwd, &group, &uids);
    let mapped = |gid: &u32| maps.gids.iter().find_map(|range| range.to_container(*gid));
    Ok(groups.iter().filter_map(mapped).chain(groups.iter().copied()).collect())
}

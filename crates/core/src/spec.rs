//! An OCI runtime spec (`config.json`) with our gates in it: read, made Strict, refused. What is text of a spec is [`crate::oci`].

use std::collections::HashSet;

use thiserror::Error;

use crate::gate::{Gate, GateError, State};
use crate::groups;
use crate::json::{Ambiguous, Object};
use crate::merge_marker;
use crate::oci::{
    Annotations, HOOKS, Hooks, OciError, PROCESS, ProcessUser, User, annotations_of, keeps_original_groups,
    process, root, root_path,
};

mod process;

pub use process::{StrictProcess, strict_process};

/// The createRuntime hooks of a spec, and which of them are gates.
struct Gates<'a> {
    hooks: Hooks<'a>,
    /// In the order of the hooks.
    gates: Vec<Option<Gate>>,
}

impl<'a> Gates<'a> {
    fn read(root: &Object<'a>) -> Result<Self, SpecError> {
        let hooks = Hooks::read(root)?;
        let gates = hooks.args().map(Gate::parse).collect::<Result<_, _>>()?;
        Ok(Self { hooks, gates })
    }

    fn iter(&self) -> impl Iterator<Item = &Gate> {
        self.gates.iter().flatten()
    }

    fn has_marker(&self) -> bool {
        self.hooks.args().any(merge_marker::is_marker)
    }

    /// The text of `hooks` after each gate got the state that `change` gives; None when it gives none for any of them.
    fn rewrite(&self, change: impl Fn(&Gate) -> Option<State>) -> Option<String> {
        let new = self.gates.iter().map(|gate| {
            let gate = gate.as_ref()?;
            Some(Gate { state: change(gate)?, ..gate.clone() }.args())
        });
        self.hooks.rewrite(&new.collect::<Vec<_>>())
    }
}

/// What [`read`] sees in a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The user of the first process.
    pub user: ProcessUser,
    /// The gates among the createRuntime hooks, in the order they stand.
    pub gates: Vec<Gate>,
    /// Whether the Merge marker is among them, so that the policy is known to be Merge.
    pub seen_as_merge: bool,
    /// Whether the annotation [`KEEP_GROUPS`](crate::oci::KEEP_GROUPS) is there, with whatever value.
    pub keeps_original_groups: bool,
    /// `root.path` (OCI runtime-spec, "Root"): relative to the bundle, or absolute.
    pub root_path: Option<String>,
}

/// What [`resolve`] made of a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The new spec. None: the old one is right already, there is nothing to write.
    pub json: Option<Vec<u8>>,
    /// The user as it was before.
    pub user: ProcessUser,
    /// The supplementary groups that the process keeps.
    pub groups: Vec<u32>,
    /// The supplementary groups that were taken from it, by this call.
    pub removed: Vec<u32>,
    /// Those that were taken from it earlier, as its resolved gates say.
    pub removed_before: Vec<u32>,
}

/// The most removed groups that a gate carries, the first ones. They are for logs and listings only, and all arguments
/// of the hook together have to fit into one execve(2), where an image can name as many groups as it likes.
const REMOVED_CARRIED: usize = 1024;

/// When a spec is made Strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// Always, so that its gates are resolved afterwards.
    Gated,
    /// If its gates would refuse it as it is, or it lacks its primary group.
    Refused,
    /// If it has a group too many, or lacks its primary group; it needs no gate.
    Excessive,
}

/// Why a spec is not understood, or may not be changed. A container that was decided Strict must not start with it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpecError {
    /// It is not understood.
    #[error(transparent)]
    Oci(#[from] OciError),
    /// The container was not decided Strict: there is no gate, so nothing may be changed.
    #[error("the spec has no gate of strict-groups")]
    NoGate,
    /// There is a gate, and it is not understood.
    #[error(transparent)]
    Gate(#[from] GateError),
}

impl From<Ambiguous> for SpecError {
    fn from(ambiguous: Ambiguous) -> Self {
        Self::Oci(ambiguous.into())
    }
}

/// Reads what is needed to verify a spec, or to list it.
///
/// # Errors
/// Whenever the spec could mean something else to the OCI runtime than it does here.
pub fn read(json: &[u8]) -> Result<View, SpecError> {
    view(&root(json)?)
}

fn view(root: &Object<'_>) -> Result<View, SpecError> {
    root.distinct()?;
    let process = process(root)?;
    let gates = Gates::read(root)?;
    Ok(View {
        user: User::read(&process)?.values,
        gates: gates.iter().cloned().collect(),
        seen_as_merge: gates.has_marker(),
        keeps_original_groups: keeps_original_groups(root)?,
        root_path: root_path(root)?,
    })
}

/// Reads what [`read`] reads, and the annotations with their values.
///
/// # Errors
/// Like [`read`], and when two annotations have the same name or a value is no string.
pub fn read_with_annotations(json: &[u8]) -> Result<(View, Annotations), SpecError> {
    let root = root(json)?;
    Ok((view(&root)?, annotations_of(&root)?))
}

/// Makes a spec Strict: takes the groups that are neither `declared` nor the primary group from
/// its process, and turns its pending gates into resolved ones.
///
/// A gate that is resolved already (by another instance, or by an earlier call) still counts: a
/// group that it does not allow is taken away as well. A refused gate stays refused. A second call
/// finds nothing left to do.
///
/// # Errors
/// [`SpecError::NoGate`] for a container that was not decided Strict; others when the spec is not
/// understood. Nothing may be written then, see [`refuse`].
pub fn resolve(json: &[u8], declared: &[u32]) -> Result<Resolution, SpecError> {
    make_strict(json, declared, When::Gated)
}

/// The same, but a spec stays as it is if nothing has to be taken from it and its gates let it pass: a pending gate
/// that knows what the pod declares.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_if_needed(json: &[u8], declared: &[u32]) -> Result<Resolution, SpecError> {
    make_strict(json, declared, When::Refused)
}

/// Takes what is neither `declared` nor the primary group from a spec whose container is about to start, so that an
/// exec does not get it either. A spec without a gate is mended too; one that has nothing too many stays as it is.
///
/// # Errors
/// When the spec is not understood.
pub fn mend(json: &[u8], declared: &[u32]) -> Result<Resolution, SpecError> {
    make_strict(json, declared, When::Excessive)
}

fn make_strict(json: &[u8], declared: &[u32], when: When) -> Result<Resolution, SpecError> {
    let root = root(json)?;
    root.distinct()?;
    let gates = Gates::read(&root)?;
    if when != When::Excessive && gates.iter().next().is_none() {
        return Err(SpecError::NoGate);
    }
    let process = process(&root)?;
    let user = User::read(&process)?;
    let made = &user.values.additional_gids;

    let mut allowed = groups::strict(user.values.gid, made, declared).kept;
    for gate in gates.iter() {
        if let State::Resolved { groups, .. } = &gate.state {
            allowed = groups::strict(user.values.gid, &allowed, groups).kept;
        }
    }
    let groups::Filtered { kept, removed } = groups::strict(user.values.gid, made, &allowed);
    let removed_before = removed_before(&gates);

    let is_strict = removed.is_empty() && made.contains(&user.values.gid);
    let stays = is_strict
        && match when {
            When::Gated => false,
            When::Refused => gates.iter().all(|gate| gate.verify(&user.values).is_ok()),
            When::Excessive => true,
        };
    if stays {
        return Ok(Resolution { json: None, groups: kept, removed, removed_before, user: user.values });
    }
    let new_hooks = gates.rewrite(|gate| resolved(&gate.state, &kept, &removed));
    let new_process = (kept != *made).then(|| user.with_groups(&process, &kept));
    let changes: Vec<(&str, &str)> = [(PROCESS, new_process.as_deref()), (HOOKS, new_hooks.as_deref())]
        .into_iter()
        .filter_map(|(name, text)| Some((name, text?)))
        .collect();
    let json = (!changes.is_empty()).then(|| root.with(&changes).into_bytes());
    Ok(Resolution { json, groups: kept, removed, removed_before, user: user.values })
}

/// What the resolved gates say that was taken, each group once.
fn removed_before(gates: &Gates<'_>) -> Vec<u32> {
    let mut all = Vec::new();
    for gate in gates.iter() {
        if let State::Resolved { removed, .. } = &gate.state {
            all.extend(removed);
        }
    }
    let mut seen = HashSet::with_capacity(all.len());
    all.retain(|group| seen.insert(*group));
    all
}

/// The state of a gate after the process was left with `kept`; None where it stays as it is.
fn resolved(state: &State, kept: &[u32], removed: &[u32]) -> Option<State> {
    match state {
        State::Refused { .. } => None,
        State::Resolved { groups, .. } if groups == kept => None,
        State::Pending { .. } => {
            let removed = removed.iter().copied().take(REMOVED_CARRIED).collect();
            Some(State::Resolved { groups: kept.to_vec(), removed })
        }
        State::Resolved { removed: earlier, .. } => {
            let mut seen = HashSet::with_capacity(earlier.len() + removed.len());
            let all = earlier.iter().chain(removed).copied().filter(|group| seen.insert(*group));
            let all = all.take(REMOVED_CARRIED).collect();
            Some(State::Resolved { groups: kept.to_vec(), removed: all })
        }
    }
}

/// Gives a spec that has no gate a pending one at the end of its createRuntime hooks, which runs
/// `path` (absolute): for a container that was created while nobody decided. None: it has a gate.
///
/// # Errors
/// When the hooks are not understood.
pub fn shut(json: &[u8], path: &str, gate: &Gate) -> Result<Option<Vec<u8>>, SpecError> {
    let root = root(json)?;
    root.distinct()?;
    let gates = Gates::read(&root)?;
    if gates.iter().next().is_some() {
        return Ok(None);
    }
    Ok(Some(root.with(&[(HOOKS, &gates.hooks.with_one_more(path, &gate.args()))]).into_bytes()))
}

/// Gives a spec the Merge marker ([`crate::merge_marker`]) at the end of its createRuntime hooks, which runs
/// `path` (absolute). None: it has it.
///
/// # Errors
/// When the hooks are not understood.
pub fn mark(json: &[u8], path: &str) -> Result<Option<Vec<u8>>, SpecError> {
    let root = root(json)?;
    root.distinct()?;
    let gates = Gates::read(&root)?;
    if gates.has_marker() {
        return Ok(None);
    }
    Ok(Some(root.with(&[(HOOKS, &gates.hooks.with_one_more(path, &merge_marker::args()))]).into_bytes()))
}

/// Turns the pending gates of a spec into refused ones that say why. None: there is no pending one.
///
/// It looks at nothing but the hooks, so that it also works on a spec whose other parts are broken.
///
/// # Errors
/// [`SpecError::NoGate`] for a container that was not decided Strict; others when not even the
/// hooks are understood. A pending gate stays then, and refuses the container as well.
pub fn refuse(json: &[u8], reason: &str) -> Result<Option<Vec<u8>>, SpecError> {
    let root = root(json)?;
    let gates = Gates::read(&root)?;
    if gates.iter().next().is_none() {
        return Err(SpecError::NoGate);
    }
    let refused = gates.rewrite(|gate| match gate.state {
        State::Pending { .. } => Some(State::Refused { reason: reason.to_owned() }),
        State::Resolved { .. } | State::Refused { .. } => None,
    });
    Ok(refused.map(|hooks| root.with(&[(HOOKS, &hooks)]).into_bytes()))
}

#[cfg(test)]
mod tests;

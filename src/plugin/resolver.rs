//! Resolves a container in containerd's store, between its creation and its start: removes what was not declared and
//! opens the gate for the rest. A container from which nothing has to be removed is left as it is.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, Ordering},
};
use std::time::Duration;

use prost_types::Any;
use thiserror::Error;
use tracing::debug;

use super::{
    aside,
    limit::{self, TooManyGroups},
    listed::Listed,
    recent::Recent,
};
use crate::{
    ops::metrics::Refusal,
    runtimes::containerd::{ContainerdError, Containers, Record, SPEC_TYPE},
};
use strict_groups_core::{
    declared::{self, DeclaredError},
    gate::Gate,
    groups,
    runtime_type::RuntimeType,
    spec::{self, Resolution, SpecError},
    text,
};

/// How many sandboxes and containers are remembered.
const REMEMBERED: usize = 1024;

/// Those with longer lists of groups are not: they are read again.
const MOST_GROUPS: usize = 64;

/// Why a container stays shut.
#[derive(Debug, Error)]
pub(super) enum ResolveError {
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
    #[error("containerd's record has no spec of type {SPEC_TYPE} (it has {})", text::quoted(.found, 96))]
    SpecType { found: String },
    #[error(
        "the declared groups are not in containerd's record: there is no extension {}",
        declared::EXTENSION
    )]
    NoExtension,
    #[error("the declared groups cannot be read from containerd's record: {0}")]
    Declared(#[from] DeclaredError),
    #[error("the container's spec cannot be filtered: {0}")]
    Spec(#[from] SpecError),
    #[error(transparent)]
    TooManyGroups(#[from] TooManyGroups),
}

impl From<&ResolveError> for Refusal {
    fn from(error: &ResolveError) -> Self {
        match error {
            ResolveError::Containerd(_) => Self::RuntimeApi,
            ResolveError::SpecType { .. }
            | ResolveError::NoExtension
            | ResolveError::Declared(_)
            | ResolveError::Spec(_)
            | ResolveError::TooManyGroups(_) => Self::Record,
        }
    }
}

#[derive(Debug)]
pub(super) struct Resolver {
    containers: Containers,
    /// Whether the last call of containerd's API failed.
    doubt: AtomicBool,
    /// What pods declare, by the sandbox's id; None: the record does not say. A sandbox's record does not change.
    sandboxes: Mutex<Recent<Option<Vec<u32>>>>,
    /// What was read at post-create, until the start.
    resolved: Mutex<Recent<Own>>,
}

/// What a container was resolved to, in the container's own GIDs.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) groups: Listed,
    pub(super) removed: Listed,
}

/// What the own record of a Strict container says, in the container's own GIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Own {
    /// The primary group.
    pub(super) gid: u32,
    /// The groups that the kubelet sent for it.
    pub(super) declared: Vec<u32>,
    /// The supplementary groups that the spec gives it.
    pub(super) groups: Vec<u32>,
    /// Those that were taken from it since it was created.
    pub(super) removed: Listed,
    /// Those among them that were still there when it was about to start.
    pub(super) late: Vec<u32>,
    /// The shim's name.
    pub(super) runtime: String,
}

impl Own {
    fn new(runtime: String, declared: Vec<u32>, resolution: Resolution) -> Self {
        let Resolution { user, groups, removed, removed_before, .. } = resolution;
        let mut all = groups::excess(removed_before, removed.iter().copied());
        all.extend(removed);
        Self { gid: user.gid, declared, groups, removed: Listed::new(&all), late: Vec::new(), runtime }
    }

    /// Whether it is small enough to be kept: a pod decides how many groups it declares.
    fn is_short(&self) -> bool {
        self.declared.len().max(self.groups.len()) <= MOST_GROUPS
    }

    /// Whether the pid that the runtime names is the container's own process.
    pub(super) fn shows_its_process(&self) -> bool {
        shows_its_process(&self.runtime)
    }
}

fn shows_its_process(shim: &str) -> bool {
    RuntimeType::of(shim).has_own_process()
}

/// A record that can be worked with.
struct Opened {
    runtime: String,
    spec: Any,
    metadata: Option<Any>,
}

/// What a container that was not started yet is to become.
struct Filtered {
    /// The spec to write.
    changed: Option<Any>,
    /// What is said of it then, or why it is refused.
    outcome: Result<(Resolved, Own), ResolveError>,
}

impl Opened {
    /// The groups that the kubelet sent for the container.
    fn declared(&self) -> Result<Vec<u32>, ResolveError> {
        let metadata = self.metadata.as_ref().ok_or(ResolveError::NoExtension)?;
        Ok(declared::from_extension(&metadata.type_url, &metadata.value)?)
    }

    /// How much there is to read, in bytes.
    fn size(&self) -> usize {
        self.spec.value.len() + self.metadata.as_ref().map_or(0, |metadata| metadata.value.len())
    }

    /// `shut`: the gate that it gets if it has none, and what runs it.
    fn filter(self, shut: Option<&(String, Gate)>) -> Result<Filtered, ResolveError> {
        let declared = self.declared();
        let Self { runtime, spec, .. } = self;
        let shut = match shut {
            Some((path, gate)) => spec::shut(&spec.value, path, gate)?,
            None => None,
        };
        let json = shut.as_deref().unwrap_or(&spec.value);
        let filtered = declared.and_then(|declared| {
            let resolution = spec::resolve_if_needed(json, &declared)?;
            limit::check(&resolution.groups)?;
            Ok((resolution, declared))
        });
        let (changed, outcome) = match filtered {
            Ok((mut resolution, declared)) => {
                let changed = resolution.json.take();
                let Resolution { groups, removed, .. } = &resolution;
                let resolved = Resolved { groups: Listed::new(groups), removed: Listed::new(removed) };
                (changed, Ok((resolved, Own::new(runtime, declared, resolution))))
            }
            Err(error) => (spec::refuse(json, &error.to_string())?, Err(error)),
        };
        let changed = changed.or(shut).map(|value| Any { type_url: spec.type_url, value });
        Ok(Filtered { changed, outcome })
    }

    /// As [`Opened::filter`], for a container that was created already: what has to be written, and what it then is.
    fn mend(self) -> Result<(Option<Any>, Own), ResolveError> {
        let declared = self.declared()?;
        let mut resolution = spec::mend(&self.spec.value, &declared)?;
        limit::check(&resolution.groups)?;
        let changed = resolution.json.take().map(|value| Any { type_url: self.spec.type_url, value });
        let late = resolution.removed.clone();
        Ok((changed, Own { late, ..Own::new(self.runtime, declared, resolution) }))
    }
}

impl Resolver {
    pub(super) fn new(containers: Containers) -> Self {
        Self {
            containers,
            doubt: AtomicBool::new(false),
            sandboxes: Mutex::new(Recent::new(REMEMBERED)),
            resolved: Mutex::new(Recent::new(REMEMBERED)),
        }
    }

    /// Forgets what it knows: the next runtime may be another one.
    pub(super) fn forget(&self) {
        lock(&self.sandboxes).clear();
        lock(&self.resolved).clear();
    }

    /// The groups that a pod declares for all of its containers; None: its sandbox's record does not say.
    ///
    /// That the sandbox is there shows that this is the store that the runtime writes to. It is not asked for again as
    /// long as containerd's API works.
    pub(super) async fn declared_by_pod(
        &self,
        sandbox: &str,
        wait: Duration,
    ) -> Result<Option<Vec<u32>>, ContainerdError> {
        if !self.doubt.load(Ordering::Relaxed)
            && let Some(known) = lock(&self.sandboxes).get(sandbox)
        {
            return Ok(known.clone());
        }
        let mut record = self.get(sandbox, wait).await?;
        let metadata = record.extensions.remove(declared::SANDBOX_EXTENSION);
        drop(record);
        let declared = match metadata {
            Some(metadata) => aside::run(metadata.value.len(), move || {
                declared::from_sandbox_extension(&metadata.type_url, &metadata.value)
            })
            .await
            .inspect_err(
                |error| debug!(sandbox, %error, "the sandbox's record does not say what is declared"),
            )
            .ok(),
            None => None,
        };
        if declared.as_ref().is_none_or(|declared| declared.len() <= MOST_GROUPS) {
            lock(&self.sandboxes).put(sandbox, declared.clone());
        }
        Ok(declared)
    }

    /// Filters the spec of container `id` and turns its gate to resolved, if that is needed. When it is not possible
    /// for a reason that lies in the record, the gate is made to tell that reason.
    pub(super) async fn resolve(&self, id: &str, wait: Duration) -> Result<Resolved, ResolveError> {
        let opened = self.open(id, wait).await?;
        self.resolve_opened(id, opened, None, wait).await
    }

    /// Does for container `id`, which was created while nobody decided, what
    /// would have been done at its creation: gives it `gate` (run by `path`)
    /// unless it has one, and resolves it when that is pending.
    pub(super) async fn adopt(
        &self,
        id: &str,
        path: String,
        gate: Gate,
        wait: Duration,
    ) -> Result<Resolved, ResolveError> {
        let opened = self.open(id, wait).await?;
        self.resolve_opened(id, opened, Some((path, gate)), wait).await
    }

    async fn resolve_opened(
        &self,
        id: &str,
        opened: Opened,
        shut: Option<(String, Gate)>,
        wait: Duration,
    ) -> Result<Resolved, ResolveError> {
        let Filtered { changed, outcome } =
            aside::run(opened.size(), move || opened.filter(shut.as_ref())).await?;
        if let Some(spec) = changed {
            self.update(id, spec, wait).await?;
        }
        let (resolved, own) = outcome?;
        if own.is_short() {
            lock(&self.resolved).put(id, own);
        }
        Ok(resolved)
    }

    /// What the record of container `id` says, which is about to start. A spec that still has a group too many is
    /// mended, for the sake of an exec: the created process has what it has.
    ///
    /// Not asked for if it was just resolved here.
    pub(super) async fn before_start(&self, id: &str, wait: Duration) -> Result<Own, ResolveError> {
        if let Some(own) = lock(&self.resolved).take(id) {
            return Ok(own);
        }
        let opened = self.open(id, wait).await?;
        let (changed, own) = aside::run(opened.size(), move || opened.mend()).await?;
        if let Some(spec) = changed {
            self.update(id, spec, wait).await?;
        }
        Ok(own)
    }

    /// What container `id` would be resolved to if it were Strict. Nothing is written.
    pub(super) async fn would_resolve(&self, id: &str, wait: Duration) -> Result<Resolved, ResolveError> {
        let opened = self.open(id, wait).await?;
        aside::run(opened.size(), move || {
            let declared = opened.declared()?;
            let user = spec::read(&opened.spec.value)?.user;
            let groups::Filtered { kept, removed } =
                groups::strict(user.gid, &user.additional_gids, &declared);
            Ok(Resolved { groups: Listed::new(&kept), removed: Listed::new(&removed) })
        })
        .await
    }

    /// The groups that a Strict container `id` may have: its primary group, and the declared ones.
    pub(super) async fn allowed(&self, id: &str, wait: Duration) -> Result<Vec<u32>, ResolveError> {
        let opened = self.open(id, wait).await?;
        aside::run(opened.size(), move || {
            let mut allowed = opened.declared()?;
            allowed.push(spec::read(&opened.spec.value)?.user.gid);
            Ok(allowed)
        })
        .await
    }

    /// Whether the pid that the runtime names for container `id` is the container's own process.
    pub(super) async fn shows_its_process(&self, id: &str, wait: Duration) -> Result<bool, ContainerdError> {
        Ok(shows_its_process(&self.get(id, wait).await?.runtime))
    }

    /// Gives container `id`, which was created while nobody decided and is Merge, the Merge marker; `path` is what
    /// runs it.
    pub(super) async fn mark(&self, id: &str, path: &str, wait: Duration) -> Result<(), ResolveError> {
        let Opened { spec, .. } = self.open(id, wait).await?;
        let path = path.to_owned();
        let marked = aside::run(spec.value.len(), move || {
            let value = spec::mark(&spec.value, &path)?;
            Ok::<_, SpecError>(value.map(|value| Any { type_url: spec.type_url, value }))
        });
        if let Some(spec) = marked.await? {
            self.update(id, spec, wait).await?;
        }
        Ok(())
    }

    async fn open(&self, id: &str, wait: Duration) -> Result<Opened, ResolveError> {
        let mut record = self.get(id, wait).await?;
        match record.spec {
            Some(spec) if spec.type_url == SPEC_TYPE => {
                let metadata = record.extensions.remove(declared::EXTENSION);
                Ok(Opened { runtime: record.runtime, spec, metadata })
            }
            other => Err(ResolveError::SpecType { found: other.unwrap_or_default().type_url }),
        }
    }

    async fn get(&self, id: &str, wait: Duration) -> Result<Record, ContainerdError> {
        let result = self.containers.get(id, wait).await;
        self.doubt.store(result.is_err(), Ordering::Relaxed);
        result
    }

    async fn update(&self, id: &str, spec: Any, wait: Duration) -> Result<(), ContainerdError> {
        let result = self.containers.update_spec(id, spec, wait).await;
        self.doubt.store(result.is_err(), Ordering::Relaxed);
        result
    }
}

/// A panic elsewhere leaves nothing half done in here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strict_groups_core::oci::ProcessUser;

    fn own(runtime: &str, removed: &[u32], removed_before: &[u32]) -> Own {
        let user = ProcessUser { uid: 1000, gid: 3000, additional_gids: vec![] };
        let (removed, removed_before) = (removed.to_vec(), removed_before.to_vec());
        let resolution = Resolution { json: None, user, groups: vec![3000], removed, removed_before };
        Own::new(runtime.to_owned(), vec![4000], resolution)
    }

    #[test]
    fn kata_and_gvisor_do_not_show_the_containers_process() {
        for shim in ["io.containerd.runc.v2", "io.containerd.runtime.v1.linux", "", "com.example.v1"] {
            assert!(own(shim, &[], &[]).shows_its_process(), "{shim}");
        }
        for shim in ["io.containerd.kata.v2", "io.containerd.kata-qemu.v2", "io.containerd.runsc.v1"] {
            assert!(!own(shim, &[], &[]).shows_its_process(), "{shim}");
        }
    }

    #[test]
    fn group_that_was_taken_twice_is_named_once() {
        assert_eq!(own("x", &[7, 8], &[5, 7]).removed.first, [5, 7, 8]);
        assert_eq!(own("x", &[], &[5]).removed.first, [5]);
    }
}

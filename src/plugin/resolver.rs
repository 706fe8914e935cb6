//! Resolves a container in containerd's store, between its creation and its
//! start: removes what was not declared and opens the gate for the rest.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use prost_types::Any;
use thiserror::Error;

use crate::{
    containerd::{ContainerdError, Containers, SPEC_TYPE},
    declared::{self, DeclaredError},
    gate::Gate,
    groups,
    metrics::Refusal,
    spec::{self, SpecError},
    text,
};

/// How long containerd's API is taken to work because it just did. A fault in
/// this time is still a refusal, only one that the gate tells with less detail.
const TRUST: Duration = Duration::from_secs(2);

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
}

impl From<&ResolveError> for Refusal {
    fn from(error: &ResolveError) -> Self {
        match error {
            ResolveError::Containerd(_) => Self::RuntimeApi,
            ResolveError::SpecType { .. }
            | ResolveError::NoExtension
            | ResolveError::Declared(_)
            | ResolveError::Spec(_) => Self::Record,
        }
    }
}

#[derive(Debug)]
pub(super) struct Resolver {
    containers: Containers,
    /// When a container was last resolved; None after a fault of containerd's API.
    worked: Mutex<Option<Instant>>,
}

/// What a container was resolved to, in the container's own GIDs.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) groups: Vec<u32>,
    pub(super) removed: Vec<u32>,
}

impl Resolver {
    pub(super) fn new(containers: Containers) -> Self {
        Self { containers, worked: Mutex::new(None) }
    }

    /// Is this the store that the runtime writes to? The sandbox's record is
    /// in it before any of its containers is created. Not asked again while
    /// containers are resolved without a fault.
    pub(super) async fn check(&self, sandbox: &str, wait: Duration) -> Result<(), ContainerdError> {
        if self.worked.lock().is_ok_and(|at| at.is_some_and(|at| at.elapsed() < TRUST)) {
            return Ok(());
        }
        self.containers.get(sandbox, wait).await.map(drop)
    }

    /// [`Resolver::try_resolve`], and remembers how it went.
    pub(super) async fn resolve(&self, id: &str, wait: Duration) -> Result<Resolved, ResolveError> {
        let result = self.try_resolve(id, wait).await;
        if let Ok(mut at) = self.worked.lock() {
            *at = match &result {
                Err(ResolveError::Containerd(_)) => None,
                Ok(_) | Err(_) => Some(Instant::now()),
            };
        }
        result
    }

    /// Does for container `id`, which was created while nobody decided, what
    /// would have been done at its creation: gives it `gate` (run by `path`)
    /// unless it has one, and resolves it when that is pending.
    pub(super) async fn adopt(
        &self,
        id: &str,
        path: &str,
        gate: &Gate,
        wait: Duration,
    ) -> Result<Resolved, ResolveError> {
        let (spec, _) = self.read(id, wait).await?;
        if let Some(value) = spec::shut(&spec.value, path, gate)? {
            self.containers.update_spec(id, Any { type_url: spec.type_url, value }, wait).await?;
        }
        self.resolve(id, wait).await
    }

    /// What container `id` would be resolved to if it were Strict. Nothing is written.
    pub(super) async fn would_resolve(&self, id: &str, wait: Duration) -> Result<Resolved, ResolveError> {
        let (spec, extension) = self.read(id, wait).await?;
        let extension = extension.ok_or(ResolveError::NoExtension)?;
        let declared = declared::from_extension(&extension.type_url, &extension.value)?;
        let user = spec::read(&spec.value)?.user;
        let groups::Filtered { kept, removed } = groups::strict(user.gid, &user.additional_gids, &declared);
        Ok(Resolved { groups: kept, removed })
    }

    /// Gives container `id`, which was created while nobody decided and is Merge, the mark that
    /// tells the static gate so; `path` is what runs it.
    pub(super) async fn mark(&self, id: &str, path: &str, wait: Duration) -> Result<(), ResolveError> {
        let (spec, _) = self.read(id, wait).await?;
        if let Some(value) = spec::mark(&spec.value, path)? {
            self.containers.update_spec(id, Any { type_url: spec.type_url, value }, wait).await?;
        }
        Ok(())
    }

    /// The groups that the kubelet declared for container `id`.
    pub(super) async fn declared(&self, id: &str, wait: Duration) -> Result<Vec<u32>, ResolveError> {
        let (_, extension) = self.read(id, wait).await?;
        let extension = extension.ok_or(ResolveError::NoExtension)?;
        Ok(declared::from_extension(&extension.type_url, &extension.value)?)
    }

    /// The spec of container `id`, and the extension with its declared groups.
    async fn read(&self, id: &str, wait: Duration) -> Result<(Any, Option<Any>), ResolveError> {
        let mut record = self.containers.get(id, wait).await?;
        match record.spec {
            Some(spec) if spec.type_url == SPEC_TYPE => {
                Ok((spec, record.extensions.remove(declared::EXTENSION)))
            }
            other => Err(ResolveError::SpecType { found: other.unwrap_or_default().type_url }),
        }
    }

    /// Filters the spec of container `id` and turns its gate to resolved. When
    /// that is not possible for a reason that lies in the record, the gate is
    /// made to tell that reason.
    async fn try_resolve(&self, id: &str, wait: Duration) -> Result<Resolved, ResolveError> {
        let (spec, extension) = self.read(id, wait).await?;
        let (json, outcome) = match filter(&spec.value, extension.as_ref()) {
            Ok(resolution) => {
                let resolved = Resolved { groups: resolution.groups, removed: resolution.removed };
                (resolution.json, Ok(resolved))
            }
            Err(error) => (spec::refuse(&spec.value, &error.to_string())?, Err(error)),
        };
        if let Some(value) = json {
            self.containers.update_spec(id, Any { type_url: spec.type_url, value }, wait).await?;
        }
        outcome
    }
}

fn filter(spec: &[u8], extension: Option<&Any>) -> Result<spec::Resolution, ResolveError> {
    let extension = extension.ok_or(ResolveError::NoExtension)?;
    let declared = declared::from_extension(&extension.type_url, &extension.value)?;
    Ok(spec::resolve(spec, &declared)?)
}

//! What we ask the runtime ourselves.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tracing::{info, warn};

use super::edit::user::User;
use crate::runtimes::cri::{CallError, Cri, Info, v1::ContainerState};
use strict_groups_core::spec;

/// How long we wait for an answer of ours.
const LIMIT: Duration = Duration::from_secs(5);
/// How many users of containers are kept. An entry has some 200 bytes.
const KEPT: usize = 4096;

/// The runtime, as far as we ask it.
#[derive(Debug)]
pub(super) struct ContainerRuntime {
    cri: Cri,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether the runtime has the feature itself; None: not asked since a connection was made.
    native: Option<bool>,
    /// Whether it keeps a record of what a container declares; None: the same.
    has_records: Option<bool>,
    /// How many connections were made.
    connections: u64,
    /// What was last said about it.
    told: Option<bool>,
    users: HashMap<String, User>,
}

impl ContainerRuntime {
    pub(super) fn new(socket: &Path) -> Self {
        Self { cri: Cri::new(socket, LIMIT), known: Mutex::default() }
    }

    /// Whether the runtime has the feature itself.
    pub(super) async fn is_native(&self) -> Result<bool, CallError> {
        let connections = {
            let known = self.known();
            if let Some(native) = known.native {
                return Ok(native);
            }
            known.connections
        };
        let native = self.cri.enforces_natively().await?;
        let mut known = self.known();
        if known.connections == connections {
            known.native = Some(native);
        }
        if known.told.replace(native) != Some(native) {
            if native {
                info!(
                    "the runtime supports supplementalGroupsPolicy itself: everything is passed on as it is"
                );
            } else {
                info!("the runtime does not support supplementalGroupsPolicy: the proxy adds it");
            }
        }
        Ok(native)
    }

    /// A new connection was made: the runtime may be another one than before.
    pub(super) fn may_be_another(&self) {
        let mut known = self.known();
        known.native = None;
        known.has_records = None;
        known.connections += 1;
    }

    /// Whether the runtime keeps a record of what a container declares, which the plugin reads: containerd does.
    pub(super) async fn has_records(&self) -> Result<bool, CallError> {
        let connections = {
            let known = self.known();
            if let Some(has_records) = known.has_records {
                return Ok(has_records);
            }
            known.connections
        };
        let has_records = self.cri.version().await?.runtime_name == "containerd";
        let mut known = self.known();
        if known.connections == connections {
            known.has_records = Some(has_records);
        }
        Ok(has_records)
    }

    /// Whether the plugin gave container `id` a gate when it was created: without one it would be started as if its
    /// policy were Merge.
    ///
    /// # Errors
    /// It is not known; why.
    pub(super) async fn is_gated(&self, id: &str) -> Result<bool, String> {
        let status = self.cri.container(id.to_owned()).await.map_err(|error| error.to_string())?;
        let status = status.ok_or("the runtime does not know the container that it just made")?;
        let info = status.info.get(Info::KEY).and_then(|info| Info::read(info));
        let info = info.ok_or("the runtime does not tell the container's spec")?;
        let spec = spec::read(info.spec.get().as_bytes());
        Ok(!spec.map_err(|error| format!("the container's spec: {error}"))?.gates.is_empty())
    }

    /// Removes a container that must not be started.
    pub(super) async fn remove(&self, id: &str) {
        if let Err(error) = self.cri.remove(id.to_owned()).await {
            warn!(id, "a refused container stays, and is not started: {error}");
        }
    }

    /// The user of the first process of container `id`, where the runtime tells it.
    pub(super) async fn user_of(&self, id: &str) -> Option<User> {
        if let Some(user) = self.known_user(id) {
            return Some(user);
        }
        let answer = match self.cri.container(id.to_owned()).await {
            Ok(answer) => answer?,
            Err(error) => {
                warn!(id, "the container's user is not told: {error}");
                return None;
            }
        };
        let user = User::of(answer.info.get(Info::KEY)?)?;
        // Until it is started, its spec may change.
        if answer.status.is_some_and(|status| status.state() != ContainerState::ContainerCreated) {
            self.remember(id.to_owned(), user.clone());
        }
        Some(user)
    }

    /// The same, where it is known already.
    pub(super) fn known_user(&self, id: &str) -> Option<User> {
        self.known().users.get(id).cloned()
    }

    /// Keeps the user of container `id`, which was started.
    pub(super) fn remember(&self, id: String, user: User) {
        let mut known = self.known();
        if known.users.len() >= KEPT {
            known.users.clear();
        }
        known.users.insert(id, user);
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

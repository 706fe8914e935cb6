//! Brings together what the runtime and `/proc` say of each container.

use std::{collections::HashMap, path::Path};

use thiserror::Error;

use super::{
    abilities::Abilities,
    containerd::{self, Known, Status, Task},
    crio, image,
    observed::{Made, Owner, Process, RunState, Seen},
};
use crate::{
    runtimes::containerd::{ContainerdError, Containers},
    runtimes::cri::{self, CallError, Cri, v1},
};
use hostfs::identity::{self, IdentityError};
use strict_groups_core::{gate::State, runtime_type::RuntimeType};

/// Why there is no list.
#[derive(Debug, Error)]
pub enum CollectError {
    /// A call to the runtime failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// containerd's containers API failed.
    #[error(transparent)]
    Containerd(#[from] ContainerdError),
}

/// Which containers are asked for; None: any.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Of this namespace.
    pub namespace: Option<String>,
    /// Of pods with this name.
    pub pod: Option<String>,
}

/// The runtime, as it names itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRuntime {
    /// Such as `containerd`.
    pub name: String,
    /// Such as `1.7.24`.
    pub version: String,
}

/// What the runtime knows of a container, beside the CRI's list.
struct Details {
    state: RunState,
    pid: Option<u32>,
    /// Whether `pid` is that of a sandbox or a hypervisor.
    isolated: bool,
    made: Result<Made, String>,
}

/// Asks the runtime that listens on `socket`, and `/proc`.
///
/// # Errors
/// The runtime does not answer.
pub async fn collect(socket: &Path, filter: &Filter) -> Result<(ContainerRuntime, Vec<Seen>), CollectError> {
    let cri = Cri::new(socket, cri::LIMIT);
    let version = cri.version().await?;
    let runtime = ContainerRuntime { name: version.runtime_name, version: version.runtime_version };
    let (containers, mut details) = if runtime.name == "containerd" {
        from_containerd(&cri, filter).await?
    } else {
        from_another(&cri, filter).await?
    };
    let mut seen: Vec<Seen> = containers
        .into_iter()
        .filter_map(|(container, owner)| Some(see(details.remove(&container.id)?, container, owner)))
        .collect();
    read_implied(&mut seen);
    seen.sort_by(|a, b| key(a).cmp(&key(b)));
    Ok((runtime, seen))
}

fn key(seen: &Seen) -> (&str, &str, &str, &str, u32, &str) {
    let Owner { namespace, pod, pod_uid, .. } = &seen.owner;
    (namespace, pod, pod_uid, &seen.name, seen.attempt, &seen.id)
}

type Found = (Vec<(v1::Container, Owner)>, HashMap<String, Details>);

async fn from_containerd(cri: &Cri, filter: &Filter) -> Result<Found, CollectError> {
    let api = Containers::new(cri.socket());
    let records = async { containerd::records(&api).await.map_err(CollectError::from) };
    let (native, pods, containers, tasks, records) = tokio::try_join!(
        async { Ok(cri.enforces_natively().await?) },
        async { Ok(cri.pods().await?) },
        async { Ok(cri.containers().await?) },
        async { Ok(containerd::tasks(cri).await?) },
        records,
    )?;
    let containers = owned(containers, pods, filter);
    let mut records: HashMap<_, _> = records.into_iter().map(|record| (record.id.clone(), record)).collect();
    let details = containers.iter().map(|(container, _)| {
        let (made, isolated) = match records.remove(&container.id) {
            Some(Known { runtime, made, .. }) => {
                let isolated = !RuntimeType::of(&runtime).has_own_process();
                (made.map(|made| Made { native, ..made }), isolated)
            }
            None => (Err("containerd has no record of it".to_owned()), false),
        };
        let task = tasks.get(&container.id);
        let state = match (cri_state(container), task.map(|task| task.status)) {
            (RunState::Running, Some(Status::Paused | Status::Pausing)) => RunState::Paused,
            (state, _) => state,
        };
        let runs = |task: &&Task| matches!(task.status, Status::Running | Status::Paused | Status::Pausing);
        let pid = task.filter(runs).map(|task| task.pid).filter(|pid| *pid > 0);
        (container.id.clone(), Details { state, pid, isolated, made })
    });
    let details = details.collect();
    Ok((containers, details))
}

async fn from_another(cri: &Cri, filter: &Filter) -> Result<Found, CollectError> {
    let (pods, containers) = tokio::try_join!(cri.pods(), cri.containers())?;
    let containers = owned(containers, pods, filter);
    let ids: Vec<String> = containers.iter().map(|(container, _)| container.id.clone()).collect();
    let mut found = crio::details(cri, &ids).await?;
    let details = containers.iter().filter_map(|(container, _)| {
        let crio::Details { pid, made } = found.remove(&container.id)?;
        let pid = Some(pid).filter(|pid| *pid > 0);
        let details = Details { state: cri_state(container), pid, isolated: false, made };
        Some((container.id.clone(), details))
    });
    let details = details.collect();
    Ok((containers, details))
}

/// The containers that are asked for, each with its pod.
fn owned(
    containers: Vec<v1::Container>,
    pods: Vec<v1::PodSandbox>,
    filter: &Filter,
) -> Vec<(v1::Container, Owner)> {
    let pods: HashMap<String, Owner> = pods
        .into_iter()
        .map(|pod| {
            let v1::PodSandboxMetadata { name, uid, namespace, .. } = pod.metadata.unwrap_or_default();
            let (labels, annotations) = (pod.labels, pod.annotations);
            let sandbox = pod.id.clone();
            (pod.id, Owner { namespace, pod: name, pod_uid: uid, labels, sandbox, annotations })
        })
        .collect();
    let is = |wanted: &Option<String>, value: &String| wanted.as_ref().is_none_or(|wanted| wanted == value);
    containers
        .into_iter()
        .map(|container| {
            // A pod that was made after the pods were listed has no name yet; the next list shows it.
            let owner = pods.get(&container.pod_sandbox_id).cloned().unwrap_or_default();
            (container, owner)
        })
        .filter(|(_, owner)| is(&filter.namespace, &owner.namespace) && is(&filter.pod, &owner.pod))
        .collect()
}

fn cri_state(container: &v1::Container) -> RunState {
    match container.state() {
        v1::ContainerState::ContainerCreated => RunState::Created,
        v1::ContainerState::ContainerRunning => RunState::Running,
        v1::ContainerState::ContainerExited => RunState::Exited,
        v1::ContainerState::ContainerUnknown => RunState::Unknown,
    }
}

fn see(details: Details, container: v1::Container, owner: Owner) -> Seen {
    let Details { state, pid, isolated, made } = details;
    // Others may have the number of a process that ended, and before the start it is the OCI runtime's own.
    let pid = pid.filter(|_| state.has_process() && !isolated);
    let process = pid.and_then(look);
    let v1::ContainerMetadata { name, attempt } = container.metadata.unwrap_or_default();
    let pid = pid.filter(|_| process.is_some());
    Seen {
        id: container.id,
        owner,
        name,
        attempt,
        created_at: container.created_at,
        state,
        isolated,
        pid,
        made,
        process,
        implied: None,
    }
}

/// The process, or why it cannot be looked at. None: it has ended.
fn look(pid: u32) -> Option<Result<Process, String>> {
    match identity::with_status(pid) {
        Ok((identity, status)) => Some(match Abilities::read(&status) {
            Some(abilities) => Ok(Process { identity, abilities }),
            None => Err(format!("/proc/{pid}/status has no usable capabilities")),
        }),
        Err(IdentityError::Gone { .. }) => None,
        Err(IdentityError::Io { pid, source }) => Some(Err(format!("cannot read /proc/{pid}: {source}"))),
        Err(error @ IdentityError::Unknown { .. }) => Some(Err(error.to_string())),
    }
}

/// Reads the files of the images where nothing else tells what is not declared.
fn read_implied(seen: &mut [Seen]) {
    let open: Vec<(&mut Seen, (u32, u32))> = seen
        .iter_mut()
        .filter_map(|seen| {
            let made = seen.made.as_ref().ok().filter(|made| made.declared.is_none())?;
            let resolved = made.spec.gates.iter().any(|gate| matches!(gate.state, State::Resolved { .. }));
            let job = (seen.pid.filter(|_| !resolved)?, made.spec.user.uid);
            Some((seen, job))
        })
        .collect();
    let (open, jobs): (Vec<_>, Vec<_>) = open.into_iter().unzip();
    for (seen, implied) in open.into_iter().zip(image::implied(jobs)) {
        seen.implied = implied;
    }
}

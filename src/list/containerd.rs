//! What containerd knows of its containers beyond the CRI, in two calls however many there are.
//!
//! The CRI would give the same in `ContainerStatus` with `verbose`, one call for each container, in each of which
//! containerd reads the record from its database. The containers API gives all records at once, spec and
//! the kubelet's request included, and the tasks API all processes. The latter takes most of the time, since
//! containerd asks every shim; docs/benchmarks.md has figures.

use std::collections::HashMap;

use super::{changed, observed::Made};
use crate::{
    runtimes::containerd::{ContainerdError, Containers, Record, SPEC_TYPE},
    runtimes::cri::{self, CallError, Cri},
};
use strict_groups_core::{declared, spec};
use uds_grpc::Code;

mod tasks {
    #![allow(missing_docs, unreachable_pub, dead_code, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/containerd.services.tasks.v1.rs"));
}

pub(super) use tasks::Status;

const NAMESPACE: uds_grpc::Metadata<'static> = &[("containerd-namespace", "k8s.io")];

/// The CRI's containers, without the sandboxes.
const CONTAINERS: &str = r#"labels."io.cri-containerd.kind"==container"#;

/// Ids are hexadecimal.
const DIGITS: &str = "0123456789abcdef";

/// After so many digits a part cannot be too large for one message: it would be 1/256 of all.
const MOST_DIGITS: usize = 2;

/// A first process as containerd sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Task {
    pub(super) pid: u32,
    pub(super) status: Status,
}

/// All tasks, by the id of their container.
pub(super) async fn tasks(cri: &Cri) -> Result<HashMap<String, Task>, CallError> {
    let method = "/containerd.services.tasks.v1.Tasks/List";
    let request = tasks::ListTasksRequest {};
    let answer: tasks::ListTasksResponse = cri.call(method, &request, NAMESPACE).await?;
    let task = |task: tasks::Process| {
        let status = task.status();
        (task.id, Task { pid: task.pid, status })
    };
    Ok(answer.tasks.into_iter().map(task).collect())
}

/// What is known of a container from its record.
pub(super) struct Known {
    pub(super) id: String,
    /// The name of its shim.
    pub(super) runtime: String,
    pub(super) made: Result<Made, String>,
}

impl Known {
    fn new(record: Record) -> Self {
        Self { made: made(&record), id: record.id, runtime: record.runtime }
    }
}

/// What all records say. They may be more than fits into one message of containerd's; then they are asked for in parts,
/// by the first digits of their ids. No more of them is in memory than one message.
pub(super) async fn records(containers: &Containers) -> Result<Vec<Known>, ContainerdError> {
    let mut parts = vec![String::new()];
    let mut records = Vec::new();
    while let Some(prefix) = parts.pop() {
        let filter = if prefix.is_empty() {
            CONTAINERS.to_owned()
        } else {
            format!(r#"{CONTAINERS},id~="^{prefix}""#)
        };
        match containers.list(vec![filter], cri::LIMIT).await {
            Ok(part) => records.extend(part.into_iter().map(Known::new)),
            Err(error) if is_too_large(&error) && prefix.len() < MOST_DIGITS => {
                parts.extend(DIGITS.chars().map(|digit| format!("{prefix}{digit}")));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(records)
}

/// containerd refuses to send more than its limit, and we to take more than ours.
fn is_too_large(error: &ContainerdError) -> bool {
    matches!(
        error,
        ContainerdError::Refused { code: Code::ResourceExhausted, .. }
            | ContainerdError::NoUsableAnswer { .. }
    )
}

/// What a record says. Whether this containerd enforces the pod's own field, it does not. A containerd that does not
/// may know the field all the same: that depends on the CRI that it was built with.
fn made(record: &Record) -> Result<Made, String> {
    let (spec, annotations) = match &record.spec {
        Some(spec) if spec.type_url == SPEC_TYPE => match spec::read_with_annotations(&spec.value) {
            Ok((view, annotations)) => (view, changed::in_spec(&annotations)),
            // The annotations are for a note only.
            Err(_) => (spec::read(&spec.value).map_err(|error| error.to_string())?, None),
        },
        _ => return Err(format!("containerd's record has no spec of type {SPEC_TYPE}")),
    };
    let (declared, field_strict) = match record.extensions.get(declared::EXTENSION) {
        Some(extension) => {
            let read = |error: declared::DeclaredError| error.to_string();
            (
                Some(declared::from_extension(&extension.type_url, &extension.value).map_err(read)?),
                declared::asks_for_strict(&extension.type_url, &extension.value).map_err(read)?,
            )
        }
        None => (None, false),
    };
    Ok(Made {
        spec,
        declared,
        of_devices: Vec::new(),
        field_strict,
        native: false,
        annotations,
        is_final: true,
    })
}

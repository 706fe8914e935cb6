//! What CRI-O tells of a container: the verbose part of its CRI status.
//!
//! There is no call that gives it for all containers at once. It is JSON, and has the first process and the spec
//! that CRI-O keeps in memory (source: `server/container_status.go`, `containerInfo`). That is the spec before the
//! OCI runtime wrapper filtered it, until CRI-O is restarted. CRI-O does not keep which groups the pod declares;
//! where the gate carries them, they are known, else what the image's files give is what Strict takes away.

use std::collections::HashMap;

use tokio::task::JoinSet;

use super::observed::Made;
use crate::runtimes::cri::{CallError, Cri, Info};
use strict_groups_core::{
    gate::State,
    spec::{self, View},
};

/// Calls that are on their way at the same time.
const AT_ONCE: usize = 32;

/// What the verbose status says.
#[derive(Debug)]
pub(super) struct Details {
    /// 0: there is none. It may be that of a process that has ended.
    pub(super) pid: u32,
    pub(super) made: Result<Made, String>,
}

/// Asks for the containers `ids`. One that is gone meanwhile is left out.
pub(super) async fn details(cri: &Cri, ids: &[String]) -> Result<HashMap<String, Details>, CallError> {
    let mut found = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(AT_ONCE) {
        let mut calls = JoinSet::new();
        for id in ids.iter().cloned() {
            let cri = cri.clone();
            calls.spawn(async move {
                let status = cri.container(id.clone()).await;
                (id, status)
            });
        }
        for (id, status) in calls.join_all().await {
            if let Some(status) = status? {
                let info = status.info.get(Info::KEY).map_or("", String::as_str);
                found.insert(id, understand(info));
            }
        }
    }
    Ok(found)
}

fn understand(info: &str) -> Details {
    let Some(Info { pid, spec }) = Info::read(info) else {
        return Details { pid: 0, made: Err("the runtime's verbose status has no runtimeSpec".to_owned()) };
    };
    let made = spec::read(spec.get().as_bytes()).map(made).map_err(|error| error.to_string());
    Details { pid, made }
}

fn made(spec: View) -> Made {
    let declared = spec.gates.iter().find_map(|gate| match &gate.state {
        State::Pending { declared } => declared.clone(),
        State::Resolved { .. } | State::Refused { .. } => None,
    });
    // The groups of CDI devices come first, then the primary one, then the image's and the declared ones.
    let primary = spec.user.additional_gids.iter().position(|gid| *gid == spec.user.gid);
    let of_devices = spec.user.additional_gids.iter().take(primary.unwrap_or(0)).copied().collect();
    Made {
        spec,
        declared,
        of_devices,
        field_strict: false,
        native: false,
        // CRI-O copies the sandbox's, not those that the kubelet sends with a container.
        annotations: None,
        is_final: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(spec: &str) -> String {
        format!(r#"{{"sandboxID":"s","pid":42,"runtimeSpec":{spec},"privileged":false}}"#)
    }

    #[test]
    fn real_spec() {
        let spec = include_str!("../../tests/fixtures/crio-1.30.14/config.container.json");
        let Details { pid, made } = understand(&info(spec));
        let made = made.unwrap();
        assert_eq!(pid, 42);
        assert_eq!(made.spec.user.additional_gids, [3000, 50000, 4000]);
        assert_eq!((made.declared, made.of_devices, made.is_final), (None, vec![], false));
    }

    #[test]
    fn gate_says_what_is_declared_and_devices_come_first() {
        let spec = r#"{"process":{"user":{"gid":3000,"additionalGids":[44,3000,50000,4000]}},"hooks":{"createRuntime":
            [{"args":["strict-groups","hook","--gate=pending","--pod=a/b","--container=c","--declared=4000"]}]}}"#;
        let made = understand(&info(spec)).made.unwrap();
        assert_eq!((made.declared, made.of_devices), (Some(vec![4000]), vec![44]));
    }

    #[test]
    fn anything_else_is_said() {
        for broken in ["", "{}", "[]", r#"{"pid":1}"#, &info("7")] {
            assert!(understand(broken).made.is_err(), "{broken}");
        }
    }
}

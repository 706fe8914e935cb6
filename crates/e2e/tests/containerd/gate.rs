//! The gate in a running container's config.json: resolved where the pod is Strict, and no trace
//! of us where it is not.

#![allow(clippy::indexing_slicing, reason = "indexing a JSON value gives null where nothing is")]

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use crate::steps::{ANNOTATION, named};
use crate::world::{World, trial};
use e2e::plugin::binary;
use e2e::{Containerd, Image, Kind, Options, Pod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("gate::is_resolved_in_a_strict_container_on_containerd_1_7", |world| {
            strict(&world.old, "", "gate-strict")
        }),
        trial("gate::is_resolved_in_a_strict_container_with_crun", |world| {
            strict(&world.old, "crun", "gate-strict-crun")
        }),
        trial("gate::is_resolved_in_a_strict_container_on_containerd_2", |world| {
            strict(&world.new, "", "gate-strict-2")
        }),
        trial("gate::is_not_in_a_merge_container", merge),
    ]
}

/// The config.json of the example pod's container in this pod.
fn config(daemon: &Containerd, pod: &Pod) -> Result<Value> {
    let cri = daemon.cri();
    let pod = cri.run_pod(pod)?;
    let container = cri.launch(&pod, &named("app"))?;
    let path = daemon.bundle(&container).join("config.json");
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    cri.remove_pod(&pod.id)?;
    Ok(serde_json::from_slice(&text)?)
}

fn strict(daemon: &Containerd, handler: &str, name: &str) -> Result<()> {
    let pod = Pod::new(name).handler(handler).annotation(ANNOTATION, "Strict");
    let config = config(daemon, &pod)?;
    let user = json!({"uid": 1000, "gid": 3000, "additionalGids": [3000, 4000]});
    for (field, value) in user.as_object().into_iter().flatten() {
        ensure!(config["process"]["user"][field] == *value, "user: {}", config["process"]["user"]);
    }
    let args = [
        "strict-groups",
        "hook",
        "--gate=resolved",
        &format!("--pod=default/{name}"),
        "--container=app",
        "--groups=3000,4000",
        "--removed=50000",
    ];
    let hooks = json!({"createRuntime": [{"path": binary(daemon.run())?.canonicalize()?, "args": args}]});
    ensure!(config["hooks"] == hooks, "hooks: {}", config["hooks"]);
    Ok(())
}

/// Compared with what a containerd makes that has never heard of a plugin.
fn merge(world: &World) -> Result<()> {
    let alone = Containerd::start(&world.machine, &Arc::clone(&world.run), Kind::V1_7, Options::default())?;
    alone.import(&Image::example(&world.machine)?)?;
    let without = config(&alone, &Pod::new("gate-alone"))?;
    alone.stop()?;
    for pod in [Pod::new("gate-silent"), Pod::new("gate-merge").annotation(ANNOTATION, "Merge")] {
        let with = config(&world.old, &pod)?;
        ensure!(with["hooks"] == Value::Null, "hooks: {}", with["hooks"]);
        for part in ["ociVersion", "process", "hooks"] {
            ensure!(with[part] == without[part], "{part}: {} instead of {}", with[part], without[part]);
        }
        let groups = &with["process"]["user"]["additionalGids"];
        ensure!(*groups == json!([3000, 4000, 50000]), "groups: {groups}");
    }
    Ok(())
}

//! What a pid or an annotation of today does not show: containers of gVisor and Kata Containers, and pods that were
//! annotated after their sandbox was made.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};

use super::{items, list};
use crate::steps::{ANNOTATION, app, fresh_image, fresh_with, named, strict};
use crate::world::{World, trial};
use e2e::{Containerd, Handler, Kind, Options, Plugin, Pod, node_config};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("list::handlers_without_own_processes_on_containerd_1_7", |world| isolated(world, Kind::V1_7)),
        trial("list::handlers_without_own_processes_on_containerd_2", |world| isolated(world, Kind::V2)),
        trial("list::annotation_that_was_changed_since_on_containerd_1_7", |world| {
            changed(world, Kind::V1_7)
        }),
        trial("list::annotation_that_was_changed_since_on_containerd_2", |world| changed(world, Kind::V2)),
    ]
}

fn script(path: &Path, lines: &str) -> Result<()> {
    Ok(e2e::executable::script(path, &format!("#!/bin/sh\n{lines}\n"))?)
}

/// Handlers of other runtime types, whose shim is runc's in truth: it gives a container without an option to find the
/// OCI runtime by, as the shims of gVisor and Kata Containers have none.
fn handlers(world: &World, kind: Kind, dir: &Path) -> Result<String> {
    let shim = world.machine.containerd(kind)?.join("containerd-shim-runc-v2");
    script(&dir.join("shim"), &format!("PATH={}:$PATH exec {} \"$@\"", dir.display(), shim.display()))?;
    // Its state stays in the trial's folder.
    let runc = format!(
        "[ \"$1\" = --root ] && shift 2\nexec {} --root {}/root \"$@\"",
        world.machine.runc().display(),
        dir.display()
    );
    script(&dir.join("runc"), &runc)?;
    let plugin = kind.cri_plugin();
    let table = |(name, runtime_type)| {
        format!(
            "\n[plugins.\"{plugin}\".containerd.runtimes.{name}]\nruntime_type = \"{runtime_type}\"\n\
             runtime_path = \"{}/shim\"\n",
            dir.display()
        )
    };
    let types = [("gvisor", "io.containerd.runsc.v1"), ("kata", "io.containerd.kata-qemu.v2")];
    Ok(types.map(table).concat())
}

fn found(world: &World, daemon: &Containerd, arguments: &[&str], code: i32) -> Result<String> {
    list(&world.run, &daemon.socket(), arguments)?.exits(code)
}

fn isolated(world: &World, kind: Kind) -> Result<()> {
    let dir = tempfile::tempdir_in(world.run.dir())?;
    let options = Options::default()
        .nri()
        .handler(Handler::new("runc", world.machine.runc()))
        .extra(&handlers(world, kind, dir.path())?);
    let daemon = fresh_with(world, kind, options)?;
    let cri = daemon.cri();
    cri.launch(&cri.run_pod(&strict("away").handler("gvisor"))?, &app())?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    for handler in ["runc", "gvisor", "kata"] {
        cri.launch(&cri.run_pod(&strict(handler).handler(handler))?, &app())?;
    }
    cri.launch(&cri.run_pod(&Pod::new("merge").handler("kata"))?, &app())?;
    cri.create(&cri.run_pod(&strict("waiting").handler("kata"))?, &app())?;

    let listed = items(&found(world, &daemon, &["-o", "json"], 0)?)?;
    for (name, verdict, groups) in [
        ("runc", "Strict", json!([3000, 4000])),
        ("gvisor", "NotVerified", json!([3000, 4000])),
        ("kata", "NotVerified", json!([3000, 4000])),
        ("away", "Violated", json!([3000, 4000, 50000])),
        ("merge", "WouldLoseGroups", json!([3000, 4000, 50000])),
        ("waiting", "NotStarted", Value::Null),
    ] {
        let item = listed.get(&format!("{name}/app")).with_context(|| format!("no {name}"))?;
        let held = item.pointer("/user/linux/supplementalGroups").cloned().unwrap_or_default();
        ensure!(item["verdict"] == verdict && held == groups, "{name}: {item:#}");
        // The pid would be that of a sandbox or a hypervisor.
        ensure!(item["pid"].is_u64() == (name == "runc"), "{name}: {item:#}");
        ensure!(item["canChange"].is_null() == (name != "runc"), "{name}: {item:#}");
    }
    let table = found(world, &daemon, &[], 0)?;
    ensure!(table.matches("not-verified").count() == 2, "{table}");
    ensure!(items(&found(world, &daemon, &["--violations", "-o", "json"], 1)?)?.len() == 1, "{table}");
    drop(plugin);
    daemon.stop()
}

fn changed(world: &World, kind: Kind) -> Result<()> {
    let daemon = node_config::start(&world.machine, &world.run, kind, Options::default())?;
    fresh_image(world, &daemon)?;
    node_config::configure(&world.machine, &daemon)?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let cri = daemon.cri();
    let [changed, removed, same] = ["changed", "removed", "same"].map(|name| cri.run_pod(&strict(name)));
    let (changed, removed, same) = (changed?, removed?, same?);
    let added = cri.run_pod(&Pod::new("added"))?;
    for pod in [&changed, &removed, &added, &same] {
        cri.launch(pod, &named("first"))?;
    }
    let notes = |json: &str| -> Result<Vec<String>> {
        let listed = items(json)?;
        let noted = listed.iter().filter(|(_, item)| !item["note"].is_null());
        let mut names: Vec<String> = noted.map(|(name, _)| name.clone()).collect();
        names.sort();
        Ok(names)
    };
    ensure!(notes(&found(world, &daemon, &["-o", "json"], 0)?)?.is_empty(), "nothing was changed yet");

    // What the kubelet sends with the next container of a pod that was annotated meanwhile.
    let changed = changed.annotated(ANNOTATION, "Merge");
    let removed = removed.without_annotations();
    let added = added.annotated(&format!("{ANNOTATION}/pod"), "Strict");
    for pod in [&changed, &removed, &added, &same] {
        cri.create(pod, &named("second"))?;
    }
    let json = found(world, &daemon, &["-o", "json"], 0)?;
    let wanted: Vec<String> = ["added", "changed", "removed"]
        .iter()
        .flat_map(|pod| ["first", "second"].map(|container| format!("{pod}/{container}")))
        .collect();
    ensure!(notes(&json)? == wanted, "{:?}", notes(&json)?);
    let listed = items(&json)?;
    for (name, policy, note) in [
        (
            "changed/first",
            "Strict",
            "annotation supplemental-groups-policy.noderesource.dev was changed to \"Merge\"",
        ),
        ("removed/first", "Strict", "was removed after the pod's sandbox was made"),
        ("added/first", "Merge", "dev/pod was changed to \"Strict\""),
    ] {
        let item = listed.get(name).context("not listed")?;
        let said = item["note"].as_str().unwrap_or_default();
        ensure!(item["policy"]["name"] == policy && said.contains(note), "{name}: {item:#}");
        ensure!(said.contains("delete the pod"), "{said}");
    }
    let wide = found(world, &daemon, &["-o", "wide"], 0)?;
    ensure!(wide.matches("after the pod's sandbox was made").count() == 6, "{wide}");
    drop(plugin);
    daemon.stop()
}

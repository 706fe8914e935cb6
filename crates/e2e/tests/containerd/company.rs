//! The plugin is not alone on its containerd.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::foreign::Foreign;
use crate::steps::{MERGED, STRICT, app, expect, fresh, merge_works, strict, strict_works};
use crate::world::{World, trial};
use e2e::{Containerd, Kind, Plugin, Pod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("company::foreign_plugins_keep_their_effect", |world| foreign(world, Kind::V1_7)),
        trial("company::foreign_plugins_keep_their_effect_on_containerd_2", |world| foreign(world, Kind::V2)),
        trial("company::two_instances_get_along", |world| two(world, Kind::V1_7)),
        trial("company::two_instances_get_along_on_containerd_2", |world| two(world, Kind::V2)),
    ]
}

/// One is asked before ours, one after it.
fn foreign(world: &World, kind: Kind) -> Result<()> {
    let daemon = fresh(world, kind)?;
    let _early = Foreign::start(&daemon, "early", "10")?;
    let _plugin = Plugin::start(&daemon, None, &[])?;
    let _late = Foreign::start(&daemon, "late", "95")?;
    for (pod, groups, hooks) in
        [(strict("foreign-strict"), &STRICT[..], 3), (Pod::new("foreign-merge"), &MERGED[..], 2)]
    {
        let pod = daemon.cri().run_pod(&pod)?;
        let container = daemon.cri().launch(&pod, &app())?;
        expect(&daemon, &container, groups).with_context(|| pod.name())?;
        added(&daemon, &container, hooks).with_context(|| pod.name())?;
        daemon.cri().remove_pod(&pod.id)?;
    }
    daemon.stop()
}

/// What the foreign plugins add is there, and `hooks` hooks in all.
fn added(daemon: &Containerd, container: &str, hooks: usize) -> Result<()> {
    let spec: serde_json::Value =
        serde_json::from_slice(&std::fs::read(daemon.bundle(container).join("config.json"))?)?;
    let list = spec.pointer("/hooks/createRuntime").and_then(|list| list.as_array()).context("no hooks")?;
    ensure!(list.len() == hooks, "hooks: {list:?}");
    let environment = daemon.cri().exec(container, &["env"])?.stdout;
    for name in ["early", "late"] {
        ensure!(
            spec.pointer(&format!("/annotations/{name}.example.com")).is_some_and(|value| value == "added"),
            "no annotation of {name}"
        );
        ensure!(
            list.iter().any(|hook| hook.pointer("/args/0").is_some_and(|word| word == name)),
            "no hook of {name}: {list:?}"
        );
        let line = format!("{}=added", name.to_uppercase());
        ensure!(environment.lines().any(|found| found == line), "no {line} in {environment}");
    }
    Ok(())
}

/// As in a rolling update: the next one is there before the last one goes.
fn two(world: &World, kind: Kind) -> Result<()> {
    let daemon = fresh(world, kind)?;
    let one = Plugin::start(&daemon, None, &[])?;
    let other = Plugin::start(&daemon, None, &["--name", "strict-groups-next", "--index", "20"])?;
    strict_works(&daemon, "two-strict")?;
    merge_works(&daemon, "two-merge")?;

    // Decided by both, started when one of them is gone.
    let pod = daemon.cri().run_pod(&strict("two-to-one"))?;
    let container = daemon.cri().create(&pod, &app())?;
    one.stop(Signal::SIGKILL)?;
    daemon.cri().start(&container)?;
    expect(&daemon, &container, &STRICT).context("created with two, started with one")?;
    strict_works(&daemon, "one-strict")?;
    merge_works(&daemon, "one-merge")?;

    for plugin in [&one, &other] {
        ensure!(!plugin.log().contains("ERROR"), "{}", plugin.log());
    }
    daemon.stop()
}

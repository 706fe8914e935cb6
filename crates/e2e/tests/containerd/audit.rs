//! `mode = "audit"`: nothing changes, and the log says for every container what Strict would take.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{
    ANNOTATION, MERGED, STRICT, app, check, expect, fresh, merge_works, strict, strict_works,
};
use crate::world::{World, trial};
use e2e::{ContainerSpec, Containerd, Image, Kind, Options, Plugin, Pod, node_config};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("audit::reports_and_changes_nothing_on_containerd_1_7", |world| reports(world, Kind::V1_7)),
        trial("audit::reports_and_changes_nothing_on_containerd_2", |world| reports(world, Kind::V2)),
        trial("audit::what_a_pod_asks_for_is_enforced", asked_for),
        trial("audit::what_runs_already_is_reported", running),
        trial("audit::a_fault_is_one_line_and_stops_nothing", fault),
        trial("audit::the_static_gate_stops_only_what_a_pod_asks_for", static_gate),
    ]
}

const AUDIT: &str = r#"
mode = "audit"
default_policy = "Strict"

[[rule]]
namespaces = ["open"]
policy = "Merge"

[[rule]]
labels = { app = "web" }
policy = "Strict"
pods_may_override = true
"#;

/// The line that the log has about a pod, the only one.
fn line(plugin: &Plugin, pod: &str) -> Result<String> {
    let name = format!(" pod=\"{pod}\"");
    let line = plugin.wait_log(|line| line.contains(&name))?;
    let count = plugin.log().lines().filter(|line| line.contains(&name)).count();
    ensure!(count == 1, "{count} lines about {pod}: {}", plugin.log());
    Ok(line)
}

/// Groups of first process and exec, and what the OCI runtime got, without what differs from pod to pod.
type Made = (String, serde_json::Value);

/// Runs a container and looks at it; with a plugin, until that has reported it.
fn made(
    daemon: &Containerd,
    plugin: Option<&Plugin>,
    pod: &Pod,
    spec: &ContainerSpec,
) -> Result<(Made, String)> {
    let pod = daemon.cri().run_pod(pod)?;
    let container = daemon.cri().launch(&pod, spec)?;
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.cri().status(&container)?.pid))?;
    let groups = status.lines().find(|line| line.starts_with("Groups:")).context("no groups")?.to_owned();
    let exec = daemon.cri().exec(&container, &["cat", "/proc/self/status"])?.stdout;
    ensure!(exec.contains(&groups), "first process {groups}, exec {exec}");
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(daemon.bundle(&container).join("config.json"))?)?;
    let told = serde_json::json!([config.get("process"), config.get("hooks")]);
    let reported = plugin.map(|plugin| line(plugin, &pod.name())).transpose()?;
    daemon.cri().remove_pod(&pod.id)?;
    Ok(((groups, told), reported.unwrap_or_default()))
}

fn reports(world: &World, kind: Kind) -> Result<()> {
    let daemon = fresh(world, kind)?;
    let merge = |name: &str| Pod::new(name).annotation(ANNOTATION, "Merge");
    let nothing = app().supplemental(&[4000, 50000]);
    let image = "would_remove_groups=\"50000(group-in-image)\"";
    let cases = [
        (Pod::new("silent"), app(), "policy=\"Strict\" source=\"default_policy\"", image),
        (merge("against"), app(), "policy=\"refused\" source=\"annotation\"", image),
        (Pod::new("open").namespace("open"), app(), "policy=\"Merge\" source=\"rule 1\"", image),
        (Pod::new("label").label("app", "web"), app(), "policy=\"Strict\" source=\"rule 2\"", image),
        (merge("allowed").label("app", "web"), app(), "policy=\"Merge\" source=\"annotation\"", image),
        (Pod::new("nothing"), nothing, "policy=\"Strict\"", "would_remove_groups=\"\""),
    ];
    let without: Vec<_> =
        cases.iter().map(|(pod, spec, ..)| made(&daemon, None, pod, spec)).collect::<Result<_>>()?;
    let plugin = Plugin::start(&daemon, Some(AUDIT), &[])?;
    for ((pod, spec, decision, groups), (without, _)) in cases.iter().zip(&without) {
        let (with, line) = made(&daemon, Some(&plugin), pod, spec)?;
        ensure!(with == *without, "{with:?} instead of {without:?}");
        for part in ["INFO audit", "container=\"app\"", "groups=\"3000,4000", decision, groups] {
            ensure!(line.contains(part), "no {part} in {line}");
        }
    }
    drop(plugin);
    daemon.stop()
}

fn asked_for(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let plugin = Plugin::start(&daemon, Some(AUDIT), &[])?;
    strict_works(&daemon, "asks")?;
    ensure!(line(&plugin, "asks")?.contains("INFO strict"), "{}", plugin.log());
    // One container of a pod: the other is reported.
    let pod = Pod::new("half").annotation(&format!("{ANNOTATION}/container.app"), "Strict");
    let pod = daemon.cri().run_pod(&pod)?;
    for (name, groups) in [("app", &STRICT[..]), ("side", &MERGED)] {
        let container = daemon.cri().launch(&pod, &crate::steps::named(name))?;
        expect(&daemon, &container, groups)?;
    }
    let lines = ["container=\"app\"", "container=\"side\""]
        .map(|container| plugin.wait_log(|line| line.contains("pod=\"half\"") && line.contains(container)));
    let [app_line, side] = lines;
    ensure!(app_line?.contains("INFO strict"), "{}", plugin.log());
    ensure!(side?.contains("would_remove_groups=\"50000(group-in-image)\""), "{}", plugin.log());
    // A wrong annotation is no policy at all.
    let pod = daemon.cri().run_pod(&Pod::new("typo").annotation(ANNOTATION, "strict"))?;
    let error = daemon.cri().create(&pod, &app()).err().context("a wrong annotation was taken")?;
    ensure!(error.message.contains("write Strict or Merge"), "{error}");
    daemon.stop()
}

fn running(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    for pod in [Pod::new("runs"), strict("violates")] {
        daemon.cri().launch(&daemon.cri().run_pod(&pod)?, &app())?;
    }
    let waits = daemon.cri().create(&daemon.cri().run_pod(&Pod::new("waits"))?, &app())?;
    let plugin = Plugin::start(&daemon, Some(AUDIT), &[])?;
    let runs = line(&plugin, "runs")?;
    ensure!(runs.contains("INFO audit") && runs.contains("50000(group-in-image)"), "{runs}");
    let violates = line(&plugin, "violates")?;
    ensure!(violates.contains("VIOLATED"), "{violates}");
    daemon.cri().start(&waits)?;
    expect(&daemon, &waits, &MERGED)?;
    let waits = line(&plugin, "waits")?;
    ensure!(waits.contains("INFO audit"), "{waits}");
    daemon.stop()
}

fn fault(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let nowhere = daemon.dir().join("nowhere.sock");
    let plugin = Plugin::start_with(&daemon, &nowhere, Some(AUDIT))?;
    merge_works(&daemon, "blind")?;
    let line = line(&plugin, "blind")?;
    for part in
        ["WARN", "audit: what Strict would remove cannot be told", "nowhere.sock", "policy=\"Strict\""]
    {
        ensure!(line.contains(part), "no {part} in {line}");
    }
    daemon.stop()
}

fn static_gate(world: &World) -> Result<()> {
    let daemon = node_config::start(&world.machine, &world.run, Kind::V1_7, Options::default())?;
    daemon.import(&Image::example(&world.machine)?)?;
    fs::write(node_config::node_file(&daemon), AUDIT)?;
    node_config::configure(&world.machine, &daemon)?;
    merge_works(&daemon, "silent")?;
    check(&daemon, &Pod::new("label").label("app", "web"), &app(), &MERGED)?;
    check(&daemon, &Pod::new("merge").annotation(ANNOTATION, "Merge"), &app(), &MERGED)?;
    let pod = daemon.cri().run_pod(&strict("asks"))?;
    let container = daemon.cri().create(&pod, &app())?;
    let error = daemon.cri().start(&container).err().context("Strict became Merge")?;
    ensure!(error.message.contains("did not process this container"), "{error}");
    daemon.stop()
}

//! Rules of the node's configuration, with the plugin and with the static gate alone.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;

use crate::steps::{ANNOTATION, MERGED, STRICT, app, check, fresh, says, strict};
use crate::world::{World, trial};
use e2e::{Containerd, Image, Kind, Options, Plugin, Pod, node_config};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("rules::the_first_one_for_a_pod_wins_on_containerd_1_7", |world| {
            first_match(&fresh(world, Kind::V1_7)?)
        }),
        trial("rules::the_first_one_for_a_pod_wins_on_containerd_2", |world| {
            first_match(&fresh(world, Kind::V2)?)
        }),
        trial("rules::the_static_gate_holds_them_without_the_plugin", static_gate),
        trial("rules::by_label_the_static_gate_lets_through_what_the_plugin_saw", by_label),
    ]
}

const RULES: &str = r#"
[[rule]]
namespaces = ["team-a"]
labels = { "app.kubernetes.io/name" = "legacy", tier = "*" }
policy = "Merge"

[[rule]]
namespaces = ["team-*"]
policy = "Strict"

[[rule]]
labels = { hardened = "true" }
policy = "Strict"
pods_may_override = true

[[rule]]
namespaces = ["team-b", "open"]
policy = "Merge"
"#;

fn labelled(name: &str, namespace: &str, labels: &[(&str, &str)]) -> Pod {
    labels.iter().fold(Pod::new(name).namespace(namespace), |pod, (key, value)| pod.label(key, value))
}

fn first_match(daemon: &Containerd) -> Result<()> {
    let plugin = Plugin::start(daemon, Some(RULES), &[])?;
    let legacy = [("app.kubernetes.io/name", "legacy"), ("tier", "")];
    let hardened = [("hardened", "true")];
    for (name, namespace, labels, groups) in [
        ("namespace", "team-b", &[][..], &STRICT[..]),
        ("namespace-and-labels", "team-a", &legacy, &MERGED),
        ("one-label-missing", "team-a", &legacy[..1], &STRICT),
        ("labels-elsewhere", "team-b", &legacy, &STRICT),
        ("label", "default", &hardened, &STRICT),
        ("label-before-namespace", "open", &hardened, &STRICT),
        ("another-value", "default", &[("hardened", "false")], &MERGED),
        ("no-rule", "default", &[], &MERGED),
    ] {
        check(daemon, &labelled(name, namespace, labels), &app(), groups)?;
    }
    // What the rule allows, and what it does not.
    let pod = labelled("may-override", "default", &hardened).annotation(ANNOTATION, "Merge");
    check(daemon, &pod, &app(), &MERGED)?;
    let pod = daemon.cri().run_pod(&labelled("may-not", "team-b", &[]).annotation(ANNOTATION, "Merge"))?;
    let error = daemon.cri().create(&pod, &app()).err().context("Merge was allowed")?;
    says(&error.message, &["pod team-b/may-not, container app", "this node demands Strict"])?;
    let pod = labelled("strict-anyway", "open", &[]).annotation(ANNOTATION, "Strict");
    check(daemon, &pod, &app(), &STRICT)?;
    drop(plugin);
    daemon.stop()
}

/// A containerd 1.7 with the static gate, whose configuration is this.
fn gated(world: &World, config: &str) -> Result<Containerd> {
    let daemon = node_config::start(&world.machine, &world.run, Kind::V1_7, Options::default())?;
    daemon.import(&Image::example(&world.machine)?)?;
    fs::write(node_config::node_file(&daemon), config)?;
    node_config::configure(&world.machine, &daemon)?;
    Ok(daemon)
}

/// A plugin with the configuration that the static gate has.
fn plugin(daemon: &Containerd) -> Result<Plugin> {
    let file = node_config::node_file(daemon);
    Plugin::start(daemon, None, &["--config", file.to_str().context("a path that is no text")?])
}

/// The pod's sandbox starts, its container does not.
fn refused(daemon: &Containerd, pod: &Pod, why: &str) -> Result<()> {
    let pod = daemon.cri().run_pod(pod)?;
    let container = daemon.cri().create(&pod, &app())?;
    let Err(error) = daemon.cri().start(&container) else { bail!("{} was not refused", pod.name()) };
    ensure!(error.message.contains(why), "{}: {error}", pod.name());
    Ok(daemon.cri().remove_pod(&pod.id)?)
}

const UNSEEN: &str = "the strict-groups plugin did not process this container";
const BLIND: &str = "decides by the pod's labels, which only the strict-groups plugin knows";

fn static_gate(world: &World) -> Result<()> {
    let daemon = gated(world, RULES)?;
    refused(&daemon, &labelled("strict", "team-b", &[]), UNSEEN)?;
    // It could be the first rule or the second; the third one could be for any pod.
    refused(&daemon, &labelled("either", "team-a", &[("tier", "x")]), BLIND)?;
    refused(&daemon, &labelled("any", "default", &[]), BLIND)?;
    // Both outcomes of this one are Merge.
    let pod = labelled("says-merge", "default", &[]).annotation(ANNOTATION, "Merge");
    check(&daemon, &pod, &app(), &MERGED)?;

    fs::write(node_config::node_file(&daemon), "[[rule]]\nnamespaces = [\"team-*\"]\npolicy = \"Strict\"\n")?;
    refused(&daemon, &labelled("strict-still", "team-b", &[]), UNSEEN)?;
    check(&daemon, &labelled("free", "default", &[]), &app(), &MERGED)?;
    daemon.stop()
}

fn by_label(world: &World) -> Result<()> {
    let daemon = gated(world, "[[rule]]\nlabels = { hardened = \"*\" }\npolicy = \"Strict\"\n")?;
    let cri = daemon.cri();
    let early = cri.create(&cri.run_pod(&Pod::new("created-early"))?, &app())?;

    let running = plugin(&daemon)?;
    check(&daemon, &Pod::new("merge"), &app(), &MERGED)?;
    check(&daemon, &labelled("hardened", "default", &[("hardened", "")]), &app(), &STRICT)?;
    check(&daemon, &strict("strict"), &app(), &STRICT)?;
    // It was created while the plugin was not running, and is reported before the container runtime goes on.
    cri.start(&early).with_context(|| running.log())?;
    let seen = cri.create(&cri.run_pod(&Pod::new("seen"))?, &app())?;
    drop(running);

    cri.start(&seen).context("the plugin saw it")?;
    let config = fs::read_to_string(daemon.bundle(&seen).join("config.json"))?;
    ensure!(config.contains("--gate=merge"), "{config}");
    refused(&daemon, &Pod::new("unseen"), BLIND)?;
    daemon.stop()
}

//! What the node's configuration decides: the policy of pods that do not say, and whether they may.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::steps::{ANNOTATION, MERGED, STRICT, has_groups, launched, named};
use crate::world::{World, trial};
use e2e::{Containerd, Image, Kind, Options, Plugin, Pod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("node_default::the_configuration_decides_for_pods_that_do_not_say", |world: &World| {
        let options = Options::default().nri();
        let daemon = Containerd::start(&world.machine, &Arc::clone(&world.run), Kind::V1_7, options)?;
        daemon.import(&Image::example(&world.machine)?)?;
        for (config, check) in [
            ("", merge_by_default as fn(&Containerd) -> Result<()>),
            ("default_policy = \"Strict\"\n", merge_is_refused),
            ("default_policy = \"Strict\"\npods_may_override = true\n", merge_is_allowed),
        ] {
            let plugin = Plugin::start(&daemon, Some(config), &[])?;
            check(&daemon).with_context(|| format!("with {config:?}"))?;
            let code = plugin.stop(Signal::SIGTERM)?;
            ensure!(code == Some(0), "the plugin ended with {code:?}");
        }
        daemon.stop()
    })]
}

/// The groups of a container in a pod with these annotations.
fn groups(daemon: &Containerd, name: &str, forms: &[(&str, &str)], wanted: &[u32]) -> Result<()> {
    let pod = annotated(name, forms);
    let pod = daemon.cri().run_pod(&pod)?;
    has_groups(&launched(daemon.cri(), &pod, &named("app"))?, wanted).with_context(|| name.to_owned())?;
    Ok(daemon.cri().remove_pod(&pod.id)?)
}

fn annotated(name: &str, forms: &[(&str, &str)]) -> Pod {
    let annotate =
        |pod: Pod, (form, value): &(&str, &str)| pod.annotation(&format!("{ANNOTATION}{form}"), value);
    forms.iter().fold(Pod::new(name), annotate)
}

fn merge_by_default(daemon: &Containerd) -> Result<()> {
    groups(daemon, "silent", &[], &MERGED)?;
    groups(daemon, "asks-for-strict", &[("", "Strict")], &STRICT)
}

fn merge_is_refused(daemon: &Containerd) -> Result<()> {
    groups(daemon, "silent", &[], &STRICT)?;
    groups(daemon, "asks-for-strict", &[("/pod", "Strict")], &STRICT)?;
    // Overruled by the pod itself, so nobody is contradicted.
    groups(daemon, "overruled", &[("", "Merge"), ("/container.app", "Strict")], &STRICT)?;
    for form in ["", "/pod", "/container.app"] {
        let pod = daemon.cri().run_pod(&annotated("asks-for-merge", &[(form, "Merge")]))?;
        let error = daemon.cri().create(&pod, &named("app")).err();
        let text = error.context("Merge was allowed")?.message;
        for wanted in [
            &format!("annotation {ANNOTATION}{form} "),
            "pod default/asks-for-merge, container app",
            "configuration of this node demands Strict",
            "remove the annotation",
        ] {
            ensure!(text.contains(wanted), "no {wanted:?} in {text:?}");
        }
        // A key for another container says nothing about this one.
        daemon.cri().remove_pod(&pod.id)?;
    }
    groups(daemon, "merge-for-another", &[("/container.side", "Merge")], &STRICT)
}

fn merge_is_allowed(daemon: &Containerd) -> Result<()> {
    groups(daemon, "silent", &[], &STRICT)?;
    groups(daemon, "asks-for-merge", &[("", "Merge")], &MERGED)?;
    groups(daemon, "one-container", &[("/container.app", "Merge")], &MERGED)
}

//! Annotating a running pod: the sandbox keeps its annotations, and the kubelet sends those of now with each
//! container. The sandbox's count.

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;

use super::{Node, Outcome, With, within};
use crate::steps::{ANNOTATION, MERGED, STRICT, all, app, expect, strict};
use crate::world::{World, trial};
use e2e::{Image, Pod, RunningPod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("attacks::strict_pod_annotated_merge_later_stays_strict", |world| {
            strict_stays(world, |pod| pod.annotated(ANNOTATION, "Merge"))
        }),
        trial("attacks::strict_pod_without_its_annotation_stays_strict", |world| {
            strict_stays(world, RunningPod::without_annotations)
        }),
        trial("attacks::strict_pod_with_a_container_merge_stays_strict", |world| {
            strict_stays(world, |pod| pod.annotated(&format!("{ANNOTATION}/container.app"), "Merge"))
        }),
        trial("attacks::merge_pod_annotated_strict_later_with_plugin_starts", |world| {
            merge_starts(world, With::Plugin)
        }),
        trial("attacks::merge_pod_annotated_strict_later_no_plugin_starts", |world| {
            merge_starts(world, With::NoPlugin)
        }),
        trial("attacks::strict_pod_older_than_the_gate_is_not_merged", older),
    ]
}

fn node(world: &World, with: With) -> Result<Node> {
    let node = Node::start(world, with)?;
    node.daemon.import(&Image::example(&world.machine)?)?;
    Ok(node)
}

/// A container that starts again after the change: it is strict or refused, with the plugin and without.
fn strict_stays(world: &World, change: fn(&RunningPod) -> RunningPod) -> Result<()> {
    let mut node = node(world, With::Plugin)?;
    let pod = node.daemon.cri().run_pod(&strict("was-strict"))?;
    let container = node.daemon.cri().launch(&pod, &app())?;
    expect(&node.daemon, &container, &STRICT)?;

    let changed = change(&pod);
    let container = node.daemon.cri().launch(&changed, &app().attempt(1)).context("with the plugin")?;
    expect(&node.daemon, &container, &STRICT).context("with the plugin")?;

    drop(node.plugin.take());
    match node.attempt(&changed, &app().attempt(2))? {
        Outcome::Refused(text) => ensure!(text.contains("pod default/was-strict, container app"), "{text}"),
        Outcome::Runs { first, .. } => within(&first, &STRICT).context("without the plugin")?,
    }
    Ok(node.daemon.cri().remove_pod(&pod.id)?)
}

/// Nothing refuses the container, which is merged until somebody deletes the pod.
fn merge_starts(world: &World, with: With) -> Result<()> {
    let node = node(world, with)?;
    let pod = node.daemon.cri().run_pod(&Pod::new("was-merge"))?;
    let outcome = node.attempt(&pod.annotated(ANNOTATION, "Strict"), &app())?;
    let Outcome::Runs { id, .. } = &outcome else { bail!("{outcome:?}") };
    expect(&node.daemon, id, &MERGED)?;
    // Nor does a value that is none.
    let outcome = node.attempt(&pod.annotated(ANNOTATION, "strict"), &app().attempt(1))?;
    ensure!(matches!(outcome, Outcome::Runs { .. }), "{outcome:?}");
    Ok(node.daemon.cri().remove_pod(&pod.id)?)
}

/// The sandbox's spec was written before the drop-in let our annotations through, so it says nothing.
fn older(world: &World) -> Result<()> {
    let node = Node::bare(world)?;
    node.daemon.import(&Image::example(&world.machine)?)?;
    let pod = node.daemon.cri().run_pod(&strict("older"))?;
    node.configure(world)?;
    let now = [
        ("as it was", pod.clone()),
        ("annotated Merge", pod.annotated(ANNOTATION, "Merge")),
        ("not annotated", pod.without_annotations()),
    ];
    all(now.into_iter().zip(0..).map(|((name, pod), number)| {
        let check = || {
            if let Outcome::Runs { first, .. } = node.attempt(&pod, &app().attempt(number))? {
                within(&first, &STRICT)?;
            }
            Ok(())
        };
        (name, check())
    }))?;
    Ok(node.daemon.cri().remove_pod(&pod.id)?)
}

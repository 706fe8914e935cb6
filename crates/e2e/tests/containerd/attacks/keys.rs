//! Keys of annotations that differ from ours only in the case of letters, which Kubernetes accepts: the author means
//! Strict, and must not get Merge.

use anyhow::{Result, bail, ensure};
use libtest_mimic::Trial;

use super::{Node, Outcome, With};
use crate::steps::{all, app};
use crate::world::{World, trial};
use e2e::{Image, Pod};

const KEYS: [&str; 6] = [
    "Supplemental-Groups-Policy.noderesource.dev",
    "SUPPLEMENTAL-GROUPS-POLICY.NODERESOURCE.DEV",
    "supplemental-groups-policy.nodeResource.dev",
    "Supplemental-groups-policy.noderesource.dev/pod",
    "supplemental-groups-policy.noderesource.dev/Pod",
    "supplemental-groups-policy.Noderesource.dev/container.app",
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("attacks::key_in_another_case_with_plugin_is_refused", |world| check(world, With::Plugin)),
        trial("attacks::key_in_another_case_without_plugin_is_refused", |world| check(world, With::NoPlugin)),
    ]
}

fn check(world: &World, with: With) -> Result<()> {
    let node = Node::start(world, with)?;
    node.daemon.import(&Image::example(&world.machine)?)?;
    all(KEYS.into_iter().map(|key| (key, refused(&node, key))))
}

fn refused(node: &Node, key: &str) -> Result<()> {
    let pod = node.daemon.cri().run_pod(&Pod::new("key").annotation(key, "Strict"))?;
    let Outcome::Refused(text) = node.attempt(&pod, &app())? else { bail!("it started") };
    for part in ["pod default/key, container app", key] {
        ensure!(text.contains(part), "no {part:?} in: {text}");
    }
    Ok(node.daemon.cri().remove_pod(&pod.id)?)
}

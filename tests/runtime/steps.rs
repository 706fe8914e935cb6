//! What the trials do again and again: run a pod, look at who its processes are.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::support::{ContainerSpec, Containerd, Identity, Image, Kind, Options, Pod};
use crate::world::World;

/// The annotation by which a pod says its policy.
pub(crate) const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";

/// The announcement's groups, with and without what the image adds.
pub(crate) const STRICT: [u32; 2] = [3000, 4000];
pub(crate) const MERGED: [u32; 3] = [3000, 4000, 50000];

/// A pod that asks for Strict.
pub(crate) fn strict(name: &str) -> Pod {
    Pod::new(name).annotation(ANNOTATION, "Strict")
}

/// The announcement's container: user 1000, group 3000, supplementary group 4000.
pub(crate) fn app() -> ContainerSpec {
    named("app")
}

/// The same under another name.
pub(crate) fn named(name: &str) -> ContainerSpec {
    ContainerSpec::new(name, "localhost/strict-groups/announcement:1")
        .user(1000)
        .group(3000)
        .supplemental(&[4000])
}

/// A containerd of the trial's own, NRI on, no plugin, with the announcement's image.
pub(crate) fn fresh(world: &World, kind: Kind) -> Result<Containerd> {
    fresh_with(world, kind, Options::default().nri())
}

/// The same with other options.
pub(crate) fn fresh_with(world: &World, kind: Kind, options: Options) -> Result<Containerd> {
    let daemon = Containerd::start(&world.machine, &world.run, kind, options)?;
    daemon.import(&Image::announcement(&world.machine)?)?;
    Ok(daemon)
}

/// The groups of a container's first process and of an exec in it.
pub(crate) fn expect(daemon: &Containerd, container: &str, groups: &[u32]) -> Result<()> {
    let wanted: BTreeSet<u32> = groups.iter().copied().collect();
    let first = Identity::of_process(daemon.cri().status(container)?.pid)?;
    ensure!(first.groups() == wanted, "first process: {first}, wanted {wanted:?}");
    let output = daemon.cri().exec(container, &["cat", "/proc/self/status"])?;
    let exec = Identity::from_status(&output.stdout)?;
    ensure!(exec.groups() == wanted, "exec: {exec}, wanted {wanted:?}");
    Ok(())
}

/// Runs a pod from its beginning to its end; its processes must have these groups.
pub(crate) fn check(daemon: &Containerd, pod: &Pod, spec: &ContainerSpec, groups: &[u32]) -> Result<()> {
    let name = pod.config.metadata.clone().unwrap_or_default().name;
    let pod = daemon.cri().run_pod(pod)?;
    let container = daemon.cri().launch(&pod, spec).with_context(|| format!("pod {name}"))?;
    expect(daemon, &container, groups).with_context(|| format!("pod {name}"))?;
    Ok(daemon.cri().remove_pod(&pod.id)?)
}

/// The announcement's pod with the annotation is Strict.
pub(crate) fn strict_works(daemon: &Containerd, name: &str) -> Result<()> {
    check(daemon, &strict(name), &app(), &STRICT)
}

/// The same without the annotation is merged, and nothing stands in its way.
pub(crate) fn merge_works(daemon: &Containerd, name: &str) -> Result<()> {
    check(daemon, &Pod::new(name), &app(), &MERGED)
}

/// That an error says all of this, in one short line.
pub(crate) fn says(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is missing in: {text}");
    }
    ensure!(text.trim().lines().count() == 1 && text.len() < 900, "not one short line: {text}");
    Ok(())
}

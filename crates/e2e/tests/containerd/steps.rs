//! What the trials do again and again: run a pod, look at who its processes are.

use anyhow::{Context, Result, bail, ensure};

use crate::world::World;
use e2e::{ContainerSpec, Containerd, Cri, Identity, Image, Kind, Options, Pod, RunningPod};

/// The annotation by which a pod says its policy.
pub(crate) const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";

/// The image of KEP-3619's example pod, which every containerd of the world has.
pub(crate) const IMAGE: &str = "localhost/strict-groups/example:1";

/// The example pod's groups, with and without what the image adds.
pub(crate) const STRICT: [u32; 2] = [3000, 4000];
pub(crate) const MERGED: [u32; 3] = [3000, 4000, 50000];

/// A pod that asks for Strict.
pub(crate) fn strict(name: &str) -> Pod {
    Pod::new(name).annotation(ANNOTATION, "Strict")
}

/// The example pod's container: user 1000, group 3000, supplementary group 4000.
pub(crate) fn app() -> ContainerSpec {
    named("app")
}

/// The same under another name.
pub(crate) fn named(name: &str) -> ContainerSpec {
    ContainerSpec::new(name, IMAGE).user(1000).group(3000).supplemental(&[4000])
}

/// A containerd of the trial's own, NRI on, no plugin, with the example pod's image.
pub(crate) fn fresh(world: &World, kind: Kind) -> Result<Containerd> {
    fresh_with(world, kind, Options::default().nri())
}

/// The same with other options.
pub(crate) fn fresh_with(world: &World, kind: Kind, options: Options) -> Result<Containerd> {
    let daemon = Containerd::start(&world.machine, &world.run, kind, options)?;
    daemon.import(&Image::example(&world.machine)?)?;
    Ok(daemon)
}

/// Gives a containerd the example pod's image.
pub(crate) fn fresh_image(world: &World, daemon: &Containerd) -> Result<()> {
    daemon.import(&Image::example(&world.machine)?)
}

/// Who the first process is, which a process of an exec has to be as well.
pub(crate) fn identity(cri: &Cri, container: &str) -> Result<Identity> {
    let first = Identity::of_process(cri.status(container)?.pid)?;
    let output = cri.exec(container, &["cat", "/proc/self/status"])?;
    let exec = Identity::from_status(&output.stdout)?;
    let same = (first.uid, first.gid, first.groups()) == (exec.uid, exec.gid, exec.groups());
    ensure!(same, "first process {first}, exec {exec}");
    Ok(first)
}

/// Creates and starts a container and tells who its processes are.
pub(crate) fn launched(cri: &Cri, pod: &RunningPod, spec: &ContainerSpec) -> Result<Identity> {
    let container = cri.launch(pod, spec)?;
    identity(cri, &container)
}

/// An error unless the groups, the primary one included, are these.
pub(crate) fn has_groups(identity: &Identity, groups: &[u32]) -> Result<()> {
    ensure!(identity.groups() == groups.iter().copied().collect(), "{identity} instead of {groups:?}");
    Ok(())
}

/// The groups of a container's first process and of an exec in it are these.
pub(crate) fn expect(daemon: &Containerd, container: &str, groups: &[u32]) -> Result<()> {
    has_groups(&identity(daemon.cri(), container)?, groups)
}

/// Runs a pod from its beginning to its end; its processes must be the example pod's user, with these groups.
pub(crate) fn check(daemon: &Containerd, pod: &Pod, spec: &ContainerSpec, groups: &[u32]) -> Result<()> {
    let name = pod.name();
    let pod = daemon.cri().run_pod(pod)?;
    let seen = launched(daemon.cri(), &pod, spec).with_context(|| format!("pod {name}"))?;
    ensure!((seen.uid, seen.gid) == (1000, 3000), "pod {name}: {seen}");
    has_groups(&seen, groups).with_context(|| format!("pod {name}"))?;
    Ok(daemon.cri().remove_pod(&pod.id)?)
}

/// The KEP-3619 example pod with the annotation is Strict.
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

/// The result of a table of cases: every one that failed, by its name.
pub(crate) fn all<N: AsRef<str>>(cases: impl IntoIterator<Item = (N, Result<()>)>) -> Result<()> {
    let (mut number, mut failed) = (0, Vec::new());
    for (name, result) in cases {
        number += 1;
        if let Err(error) = result {
            failed.push(format!("{}: {error:#}", name.as_ref()));
        }
    }
    ensure!(number > 0, "no cases");
    if !failed.is_empty() {
        bail!("{} of {number} cases failed:\n{}", failed.len(), failed.join("\n"));
    }
    Ok(())
}

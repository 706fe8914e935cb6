//! The pod of the feature's announcement, without the annotation: what the two
//! runtimes do by themselves, and the plugin leaves as it is.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use crate::support::{ContainerSpec, Containerd, Identity, Pod};
use crate::world::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("announcement::containerd_1_7_merges", |world| {
            check(&world.old, &Pod::new("merge"), &spec(), &[3000, 4000, 50000])
        }),
        trial("announcement::containerd_1_7_ignores_the_cri_field", |world| {
            check(&world.old, &Pod::new("field"), &spec().strict_field(), &[3000, 4000, 50000])
        }),
        trial("announcement::containerd_1_7_merges_with_crun", |world| {
            check(&world.old, &Pod::new("crun").handler("crun"), &spec(), &[3000, 4000, 50000])
        }),
        trial("announcement::containerd_1_7_merges_in_a_user_namespace", |world| {
            let pod = Pod::new("userns").user_namespace(100_000, 65536);
            check(&world.old, &pod, &spec(), &[3000, 4000, 50000])
        }),
        trial("announcement::containerd_2_merges_by_default", |world| {
            check(&world.new, &Pod::new("merge"), &spec(), &[3000, 4000, 50000])
        }),
        trial("announcement::containerd_2_is_strict_by_the_cri_field", |world| {
            check(&world.new, &Pod::new("strict"), &spec().strict_field(), &[3000, 4000])
        }),
    ]
}

/// User 1000, group 3000, supplementary group 4000.
fn spec() -> ContainerSpec {
    ContainerSpec::new("app", "localhost/strict-groups/announcement:1")
        .user(1000)
        .group(3000)
        .supplemental(&[4000])
}

/// Runs the pod and compares the groups of its first process and of an exec.
fn check(daemon: &Containerd, pod: &Pod, spec: &ContainerSpec, groups: &[u32]) -> Result<()> {
    let cri = daemon.cri();
    let pod = cri.run_pod(pod)?;
    let container = cri.launch(&pod, spec)?;

    let wanted: BTreeSet<u32> = groups.iter().copied().collect();
    let first = Identity::of_process(cri.status(&container)?.pid)?;
    ensure!((first.uid, first.gid) == (1000, 3000) && first.groups() == wanted, "first process: {first}");
    let output = cri.exec(&container, &["cat", "/proc/self/status"])?;
    let exec = Identity::from_status(&output.stdout)?;
    ensure!((exec.uid, exec.gid) == (1000, 3000) && exec.groups() == wanted, "exec: {exec}");
    cri.remove_pod(&pod.id)?;
    Ok(())
}

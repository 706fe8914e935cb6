//! The pod of the feature's announcement with the annotation: Strict on both
//! runtimes, in the first process and in an exec.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::support::{ContainerSpec, Containerd, Identity, Plugin, Pod};
use crate::world::{World, trial};

const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("strict::announcement_on_containerd_1_7", |world| {
            announcement(&world.old, &world.old_plugin, &Pod::new("strict-1"))
        }),
        trial("strict::announcement_on_containerd_2", |world| {
            announcement(&world.new, &world.new_plugin, &Pod::new("strict-2"))
        }),
        trial("strict::announcement_with_crun", |world| {
            announcement(&world.old, &world.old_plugin, &Pod::new("strict-crun").handler("crun"))
        }),
        trial("strict::announcement_in_a_user_namespace", |world: &World| {
            let pod = Pod::new("strict-userns").user_namespace(300_000, 65536);
            announcement(&world.old, &world.old_plugin, &pod)
        }),
    ]
}

fn announcement(daemon: &Containerd, plugin: &Plugin, pod: &Pod) -> Result<()> {
    let cri = daemon.cri();
    let pod = cri.run_pod(&pod.clone().annotation(ANNOTATION, "Strict"))?;
    let spec = ContainerSpec::new("app", "localhost/strict-groups/announcement:1")
        .user(1000)
        .group(3000)
        .supplemental(&[4000]);
    let container = cri.launch(&pod, &spec)?;
    let wanted = [3000, 4000].into_iter().collect();
    let first = Identity::of_process(cri.status(&container)?.pid)?;
    ensure!((first.uid, first.gid) == (1000, 3000) && first.groups() == wanted, "first process: {first}");
    let output = cri.exec(&container, &["cat", "/proc/self/status"])?;
    let exec = Identity::from_status(&output.stdout)?;
    ensure!((exec.uid, exec.gid) == (1000, 3000) && exec.groups() == wanted, "exec: {exec}");
    cri.remove_pod(&pod.id)?;

    let name = pod.name();
    let line = plugin.wait_log(|line| line.contains(&format!("pod=\"{name}\""))).context("no log line")?;
    ensure!(line.contains("groups=\"3000,4000\" removed_groups=\"50000(group-in-image)\""), "{line}");
    Ok(())
}

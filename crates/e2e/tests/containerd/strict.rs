//! KEP-3619's example pod with the annotation: Strict on both
//! runtimes, in the first process and in an exec.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{ANNOTATION, STRICT, app, check};
use crate::world::{World, trial};
use e2e::{Containerd, Plugin, Pod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("strict::example_pod_on_containerd_1_7", |world| {
            example(&world.old, &world.old_plugin, &Pod::new("strict-1"))
        }),
        trial("strict::example_pod_on_containerd_2", |world| {
            example(&world.new, &world.new_plugin, &Pod::new("strict-2"))
        }),
        trial("strict::example_pod_with_crun", |world| {
            example(&world.old, &world.old_plugin, &Pod::new("strict-crun").handler("crun"))
        }),
        trial("strict::example_pod_in_a_user_namespace", |world: &World| {
            let pod = Pod::new("strict-userns").user_namespace(300_000, 65536);
            example(&world.old, &world.old_plugin, &pod)
        }),
    ]
}

fn example(daemon: &Containerd, plugin: &Plugin, pod: &Pod) -> Result<()> {
    check(daemon, &pod.clone().annotation(ANNOTATION, "Strict"), &app(), &STRICT)?;
    let name = pod.name();
    let line = plugin.wait_log(|line| line.contains(&format!("pod=\"{name}\""))).context("no log line")?;
    ensure!(line.contains("groups=\"3000,4000\" removed_groups=\"50000(group-in-image)\""), "{line}");
    Ok(())
}

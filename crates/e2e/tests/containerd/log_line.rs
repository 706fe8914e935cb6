//! The one line that the plugin logs for every Strict container, and containers that are out of
//! the ordinary in what they may do or in how long they live.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{ANNOTATION, has_groups, launched, named};
use crate::world::{World, trial};
use e2e::image::Draft;
use e2e::{ContainerSpec, Containerd, Plugin, Pod};

/// What the example pod's container leads to.
const EXAMPLE: &str = "groups=\"3000,4000\" removed_groups=\"50000(group-in-image)\"";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("log_line::one_for_a_strict_container", |world| {
            let pod = Pod::new("log-one").namespace("team-a");
            let line = logged(&world.old, &world.old_plugin, pod, &named("app"))?;
            ensure!(line.contains("namespace=\"team-a\" container=\"app\""), "{line}");
            ensure!(line.contains(EXAMPLE), "{line}");
            Ok(())
        }),
        trial("log_line::none_for_a_merge_container", none_for_merge),
        trial("log_line::one_in_a_user_namespace_without_a_violation", |world| {
            let pod = Pod::new("log-userns").user_namespace(400_000, 65536);
            let line = logged(&world.old, &world.old_plugin, pod, &named("app"))?;
            ensure!(line.contains(EXAMPLE), "{line}");
            Ok(())
        }),
        trial("log_line::one_in_a_user_namespace_that_maps_little", |world| {
            // 50000 has no id on the host there; the declared ones have.
            let pod = Pod::new("log-userns-small").user_namespace(500_000, 5000);
            let line = logged(&world.old, &world.old_plugin, pod, &named("app"))?;
            ensure!(line.contains(EXAMPLE), "{line}");
            Ok(())
        }),
        trial("log_line::names_of_the_image_are_made_harmless", harmless_names),
        trial("log_line::one_for_a_process_that_ends_at_once", |world| {
            let spec = named("app").command(&["true"]);
            let line = logged(&world.old, &world.old_plugin, Pod::new("log-true"), &spec)?;
            // Where it was too late for the names, the numbers are there.
            ensure!(line.contains("groups=\"3000,4000\" removed_groups=\"50000"), "{line}");
            Ok(())
        }),
        trial("log_line::nothing_removed", |world| {
            let spec = named("app").supplemental(&[4000, 50000]);
            let line = logged(&world.old, &world.old_plugin, Pod::new("log-nothing"), &spec)?;
            ensure!(line.contains("groups=\"3000,4000,50000\" removed_groups=\"\""), "{line}");
            Ok(())
        }),
        trial("log_line::a_privileged_container_starts_strict", |world| {
            let line = logged(
                &world.old,
                &world.old_plugin,
                Pod::new("log-privileged").privileged(),
                &named("app").privileged(),
            )?;
            ensure!(line.contains(EXAMPLE), "{line}");
            Ok(())
        }),
        trial("log_line::a_container_that_may_change_its_groups_starts_strict", |world| {
            let spec = named("app").capability("SETGID");
            let line = logged(&world.old, &world.old_plugin, Pod::new("log-setgid"), &spec)?;
            ensure!(line.contains(EXAMPLE), "{line}");
            Ok(())
        }),
    ]
}

/// Runs a Strict container to its end and gives the line that the plugin logged about its pod,
/// the only one. The container's groups are checked as long as it runs.
fn logged(daemon: &Containerd, plugin: &Plugin, pod: Pod, spec: &ContainerSpec) -> Result<String> {
    let cri = daemon.cri();
    let pod = cri.run_pod(&pod.annotation(ANNOTATION, "Strict"))?;
    if spec.config.command == ["true"] {
        let container = cri.launch(&pod, spec)?;
        let code = cri.wait_exit(&container)?;
        ensure!(code == 0, "ended with {code}");
    } else {
        let wanted: Vec<u32> = spec
            .security
            .supplemental_groups
            .iter()
            .map(|gid| u32::try_from(*gid))
            .collect::<Result<_, _>>()?;
        has_groups(&launched(cri, &pod, spec)?, &[&[3000], &wanted[..]].concat())?;
    }
    cri.remove_pod(&pod.id)?;
    flush(daemon, plugin, &pod.name())?;

    let name = format!("pod=\"{}\"", pod.name());
    let log = plugin.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(&name)).collect();
    ensure!(lines.len() == 1, "{} lines: {lines:?}", lines.len());
    let line = lines.first().context("no line")?;
    ensure!(line.contains(" INFO strict "), "{line}");
    Ok((*line).to_owned())
}

/// Waits until the plugin has logged all about earlier containers, by running a later one.
fn flush(daemon: &Containerd, plugin: &Plugin, name: &str) -> Result<()> {
    let cri = daemon.cri();
    let name = format!("{name}-after");
    let pod = cri.run_pod(&Pod::new(&name).annotation(ANNOTATION, "Strict"))?;
    cri.launch(&pod, &named("app"))?;
    plugin.wait_log(|line| line.contains(&format!("pod=\"{name}\"")))?;
    Ok(cri.remove_pod(&pod.id)?)
}

fn none_for_merge(world: &World) -> Result<()> {
    let cri = world.old.cri();
    for (name, policy) in [("log-merge", Some("Merge")), ("log-silent", None)] {
        let pod = Pod::new(name);
        let pod = if let Some(policy) = policy { pod.annotation(ANNOTATION, policy) } else { pod };
        let pod = cri.run_pod(&pod)?;
        cri.launch(&pod, &named("app"))?;
        cri.remove_pod(&pod.id)?;
        flush(&world.old, &world.old_plugin, name)?;
        let log = world.old_plugin.log();
        ensure!(!log.contains(&format!("pod=\"{name}\"")), "{log}");
    }
    Ok(())
}

fn harmless_names(world: &World) -> Result<()> {
    let image = Draft::new("localhost/strict-groups/log-names:1")
        .passwd("root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n")
        .group(
            [
                b"red\x1b[31m\x07:x:50000:alice\n".to_vec(),
                b"back\rwards\xe2\x80\xae:x:50001:alice\n".to_vec(),
                b"quo\"te\\:x:50002:alice\n".to_vec(),
                format!("{}:x:50003:alice\n", "n".repeat(10_000)).into_bytes(),
                b"\xff\xfe:x:50004:alice\n".to_vec(),
            ]
            .concat(),
        )
        .build(&world.machine)?;
    world.old.import(&image)?;
    let spec = ContainerSpec::new("app", image.name()).user(1000).group(3000).supplemental(&[4000]);
    let line = logged(&world.old, &world.old_plugin, Pod::new("log-names"), &spec)?;
    ensure!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
    for wanted in ["50000(red [31m)", "50001(back wards)", "50002(", "50003(nnnn", "50004("] {
        ensure!(line.contains(wanted), "no {wanted:?} in {line:?}");
    }
    ensure!(line.len() < 600, "{} bytes: {line}", line.len());
    Ok(())
}

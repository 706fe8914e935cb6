//! The forms of the annotation, and which one wins.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{ANNOTATION, MERGED, STRICT, all, has_groups, launched, named};
use crate::world::{World, trial};
use e2e::{Containerd, Identity, Pod};

/// Annotations (what follows the key, and the value), and which container has to be Strict.
struct Case {
    name: &'static str,
    annotations: &'static [(&'static str, &'static str)],
    containers: &'static [(&'static str, bool)],
}

const CASES: [Case; 13] = [
    Case { name: "nothing", annotations: &[], containers: &[("app", false)] },
    Case { name: "bare", annotations: &[("", "Strict")], containers: &[("app", true), ("side", true)] },
    Case { name: "bare-merge", annotations: &[("", "Merge")], containers: &[("app", false)] },
    Case { name: "pod", annotations: &[("/pod", "Strict")], containers: &[("app", true), ("side", true)] },
    Case {
        name: "pod-over-bare",
        annotations: &[("", "Merge"), ("/pod", "Strict")],
        containers: &[("app", true)],
    },
    Case {
        name: "pod-over-bare-merge",
        annotations: &[("", "Strict"), ("/pod", "Merge")],
        containers: &[("app", false)],
    },
    Case {
        name: "one-container",
        annotations: &[("/container.app", "Strict")],
        containers: &[("app", true), ("side", false)],
    },
    Case {
        name: "two-containers",
        annotations: &[("/container.app", "Strict"), ("/container.side", "Merge")],
        containers: &[("app", true), ("side", false)],
    },
    Case {
        name: "container-over-bare",
        annotations: &[("", "Strict"), ("/container.side", "Merge")],
        containers: &[("app", true), ("side", false)],
    },
    Case {
        name: "container-over-pod",
        annotations: &[("/pod", "Merge"), ("/container.app", "Strict")],
        containers: &[("app", true), ("side", false)],
    },
    Case {
        name: "all-levels",
        annotations: &[("", "Strict"), ("/pod", "Merge"), ("/container.app", "Strict")],
        containers: &[("app", true), ("side", false)],
    },
    Case {
        name: "name-begins-alike",
        annotations: &[("/container.app", "Strict")],
        containers: &[("app", true), ("app-2", false), ("ap", false)],
    },
    Case {
        name: "dots-in-the-name",
        annotations: &[("/container.app.v2", "Strict")],
        containers: &[("app.v2", true), ("app", false)],
    },
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("annotation::forms_and_precedence_on_containerd_1_7", |world| {
            all(CASES.iter().map(|case| (case.name, check(&world.old, "", case))))
        }),
        trial("annotation::forms_and_precedence_with_crun", |world| {
            let cases = CASES.iter().filter(|case| case.name.starts_with("container-over"));
            all(cases.map(|case| (case.name, check(&world.old, "crun", case))))
        }),
        trial("annotation::forms_and_precedence_on_containerd_2", |world| {
            let cases = CASES.iter().filter(|case| case.name.starts_with("container-over"));
            all(cases.map(|case| (case.name, check(&world.new, "", case))))
        }),
        trial("annotation::speaks_for_init_containers_and_for_ones_added_later", init_and_ephemeral),
        trial("annotation::other_keys_mean_nothing", |world| {
            let pod = Pod::new("annotation-others")
                .annotation("supplemental-groups-policy.noderesource.device", "strict")
                .annotation("supplemental-groups-policy.noderesource", "Strict")
                .annotation("noderesource.dev/supplemental-groups-policy", "Strict");
            let pod = world.old.cri().run_pod(&pod)?;
            has_groups(&launched(world.old.cri(), &pod, &named("app"))?, &MERGED)?;
            Ok(world.old.cri().remove_pod(&pod.id)?)
        }),
    ]
}

fn check(daemon: &Containerd, handler: &str, case: &Case) -> Result<()> {
    let cri = daemon.cri();
    let mut pod = Pod::new(&format!("annotation-{handler}{}", case.name)).handler(handler);
    for (form, value) in case.annotations {
        pod = pod.annotation(&format!("{ANNOTATION}{form}"), value);
    }
    let pod = cri.run_pod(&pod)?;
    for (name, strict) in case.containers {
        let identity = launched(cri, &pod, &named(name))?;
        has_groups(&identity, if *strict { &STRICT } else { &MERGED })
            .with_context(|| format!("container {name}"))?;
    }
    Ok(cri.remove_pod(&pod.id)?)
}

/// An init container has ended before the next one is created; an ephemeral one comes when the
/// others run. Neither is marked as such in the CRI.
fn init_and_ephemeral(world: &World) -> Result<()> {
    let cri = world.old.cri();
    let pod = Pod::new("annotation-init")
        .annotation(ANNOTATION, "Strict")
        .annotation(&format!("{ANNOTATION}/container.init-merge"), "Merge");
    let pod = cri.run_pod(&pod)?;

    let out = world.run.dir().join("annotation-init");
    fs::create_dir(&out)?;
    fs::set_permissions(&out, fs::Permissions::from_mode(0o777))?;
    for (name, groups) in [("init", &STRICT[..]), ("init-merge", &MERGED)] {
        let script = format!("cat /proc/self/status > /out/{name}");
        let spec = named(name).mount(&out.to_string_lossy(), "/out").command(&["sh", "-c", &script]);
        let container = cri.launch(&pod, &spec)?;
        let code = cri.wait_exit(&container)?;
        ensure!(code == 0, "{name} ended with {code}");
        let identity = Identity::from_status(&fs::read_to_string(out.join(name))?)?;
        has_groups(&identity, groups).with_context(|| format!("container {name}"))?;
    }
    for name in ["app", "debugger"] {
        let identity = launched(cri, &pod, &named(name))?;
        has_groups(&identity, &STRICT).with_context(|| format!("container {name}"))?;
    }
    Ok(cri.remove_pod(&pod.id)?)
}

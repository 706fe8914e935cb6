//! Groups whose name is a number: runc before 1.3 looks the spec's groups up in the container's
//! /etc/group by name, and so gives the process a group that stands nowhere in its spec.

use std::fs;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{ANNOTATION, has_groups, launched, named};
use crate::world::{World, trial};
use e2e::image::Draft;
use e2e::{ContainerSpec, Pod};

const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";
/// A group 4000 that is no group 4000.
const TRICK: &str = "root:x:0:\n4000:x:50000:\n";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("alias::in_the_image_is_refused", |world| {
            let image = Draft::new("localhost/strict-groups/alias:1").passwd(PASSWD).group(TRICK);
            world.old.import(&image.build(&world.machine)?)?;
            let spec = ContainerSpec::new("app", "localhost/strict-groups/alias:1");
            let spec = spec.user(1000).group(3000).supplemental(&[4000]);
            check(world, "alias-image", &spec, &["\"4000\"", "GID 50000", "rename"])
        }),
        trial("alias::mounted_over_the_images_file_is_refused", |world| {
            let file = world.run.dir().join("alias-group");
            fs::write(&file, TRICK)?;
            let path = file.to_str().context("a path of text")?;
            check(
                world,
                "alias-mount",
                &named("app").mount(path, "/etc/group"),
                &["another mount", "runc 1.3"],
            )
        }),
        trial("alias::of_itself_is_none", |world| {
            let image = Draft::new("localhost/strict-groups/alias-same:1").passwd(PASSWD);
            let image = image.group("root:x:0:\n3000:x:3000:\n4000:x:4000:\n5000:x:50000:\n");
            world.old.import(&image.build(&world.machine)?)?;
            let spec = ContainerSpec::new("app", "localhost/strict-groups/alias-same:1");
            let spec = spec.user(1000).group(3000).supplemental(&[4000]);
            let pod = world.old.cri().run_pod(&Pod::new("alias-same").annotation(ANNOTATION, "Strict"))?;
            has_groups(&launched(world.old.cri(), &pod, &spec)?, &[3000, 4000])?;
            Ok(world.old.cri().remove_pod(&pod.id)?)
        }),
    ]
}

/// Under Merge the container has the group, which shows that the trick works here; under Strict it
/// does not start, and the error has these words.
fn check(world: &World, name: &str, spec: &ContainerSpec, words: &[&str]) -> Result<()> {
    let cri = world.old.cri();
    let pod = cri.run_pod(&Pod::new(name))?;
    let identity = launched(cri, &pod, spec)?;
    ensure!(identity.groups().contains(&50000), "{identity}: this runc has no such lookup");
    cri.remove_pod(&pod.id)?;

    let pod = cri.run_pod(&Pod::new(name).annotation(ANNOTATION, "Strict"))?;
    let error = cri.launch(&pod, spec).err().context("it started")?.message;
    for part in [&[&*format!("pod default/{name}, container app")], words].concat() {
        ensure!(error.contains(part), "no {part} in: {error}");
    }
    Ok(cri.remove_pod(&pod.id)?)
}

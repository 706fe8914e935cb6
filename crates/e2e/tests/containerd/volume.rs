//! What it is all about: a volume that only members of a group may enter.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{ANNOTATION, named};
use crate::world::{World, trial};
use e2e::{Containerd, Pod};

const CONTENT: &str = "for members only\n";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("volume::strict_keeps_out_a_group_that_only_the_image_knows", |world| {
            check(world, &world.old, "", "Strict", 50000, false)
        }),
        trial("volume::strict_keeps_it_out_with_crun", |world| {
            check(world, &world.old, "crun", "Strict", 50000, false)
        }),
        trial("volume::strict_keeps_it_out_on_containerd_2", |world| {
            check(world, &world.new, "", "Strict", 50000, false)
        }),
        trial("volume::merge_lets_it_in", |world| check(world, &world.old, "", "Merge", 50000, true)),
        trial("volume::strict_lets_a_declared_group_in", |world| {
            check(world, &world.old, "", "Strict", 4000, true)
        }),
        trial("volume::strict_lets_the_primary_group_in", |world| {
            check(world, &world.old, "", "Strict", 3000, true)
        }),
    ]
}

/// Reads a file in a folder of mode 0770 and this group, in the first process and in an exec.
fn check(
    world: &World,
    daemon: &Containerd,
    handler: &str,
    policy: &str,
    group: u32,
    readable: bool,
) -> Result<()> {
    let cri = daemon.cri();
    let name =
        format!("volume-{policy}-{group}-{handler}-{:?}", daemon.kind()).to_lowercase().replace('_', "-");
    let dir = world.run.dir().join(&name);
    let (data, out) = (dir.join("data"), dir.join("out"));
    for (path, group, mode) in [(&dir, 0, 0o755), (&data, group, 0o770), (&out, 0, 0o777)] {
        fs::create_dir(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        chown(path, Some(0), Some(group))?;
    }
    let secret = data.join("secret");
    fs::write(&secret, CONTENT)?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o660))?;
    chown(&secret, Some(0), Some(group))?;

    let pod = cri.run_pod(&Pod::new(&name).handler(handler).annotation(ANNOTATION, policy))?;
    let volume = |spec: e2e::ContainerSpec| {
        spec.mount(&data.to_string_lossy(), "/data").mount(&out.to_string_lossy(), "/out")
    };
    let script = "cat /data/secret > /out/read 2>&1";
    let first = cri.launch(&pod, &volume(named("first")).command(&["sh", "-c", script]))?;
    let code = cri.wait_exit(&first)?;
    let read = fs::read_to_string(out.join("read")).context("what the first process wrote")?;
    has_groups(code, &read, readable).context("first process")?;

    let app = cri.launch(&pod, &volume(named("app")))?;
    let output = cri.exec(&app, &["cat", "/data/secret"])?;
    has_groups(output.code, &(output.stdout + &output.stderr), readable).context("exec")?;
    Ok(cri.remove_pod(&pod.id)?)
}

fn has_groups(code: i32, text: &str, readable: bool) -> Result<()> {
    if readable {
        ensure!(code == 0 && text == CONTENT, "code {code}: {text}");
    } else {
        ensure!(code != 0 && text.contains("Permission denied"), "code {code}: {text}");
        ensure!(!text.contains(CONTENT), "{text}");
    }
    Ok(())
}

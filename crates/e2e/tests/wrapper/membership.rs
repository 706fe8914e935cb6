//! The groups that an image gives a user, as real engines compute them, beside what the wrapper takes
//! for them: `membership::implied` has to have every one of them, or an image keeps a group.
//!
//! The random files follow from a seed, the same one unless `STRICT_GROUPS_SEED` says another;
//! `STRICT_GROUPS_CASES` says how many.

mod files;

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;
use strict_groups_core::membership::implied;

use crate::podman::Podman;
use e2e::wrapper::bundle::Bundle;
use e2e::wrapper::world::{World, trial};
use e2e::{ContainerSpec, Containerd, Kind, Options, Pod};
use e2e::{executable::script, image::Draft};
use files::{Files, User};

/// What the pods declare: groups that the files have as well, and one that they have not.
const DECLARED: [u32; 4] = [5, 7, 50000, 61234];

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("membership::containerd_1_7", containerd), trial("membership::podman", podman)]
}

/// `process.user` of a spec that an engine made.
struct Made {
    uid: u32,
    gid: u32,
    groups: BTreeSet<u32>,
}

impl Made {
    fn of(user: &Value) -> Result<Self> {
        let number = |value: &Value| -> Result<u32> { Ok(value.as_u64().context("no number")?.try_into()?) };
        let listed = user["additionalGids"].as_array().into_iter().flatten();
        Ok(Self {
            uid: user.get("uid").map_or(Ok(0), number)?,
            gid: user.get("gid").map_or(Ok(0), number)?,
            groups: listed.map(number).collect::<Result<_>>()?,
        })
    }
}

/// How many cases could have told a difference.
#[derive(Debug, Default)]
struct Counts {
    cases: usize,
    refused: usize,
    image_gives: usize,
    one_too_many: usize,
}

impl Counts {
    /// `plain`: what the engine makes of a pod that declares nothing; `declared`: of one that declares
    /// [`DECLARED`], where that was tried. None: the engine refuses this user.
    fn compare(
        &mut self,
        case: &str,
        files: &Files,
        plain: Option<Made>,
        declared: Option<Made>,
    ) -> Result<()> {
        self.cases += 1;
        let Some(plain) = plain else {
            self.refused += 1;
            return Ok(());
        };
        let told = || format!("{case}\npasswd {:?}\ngroup {:?}", text(&files.passwd), text(&files.group));
        let ours = implied(&files.passwd, &files.group, &[plain.uid]);
        let theirs: BTreeSet<u32> = plain.groups.iter().copied().filter(|gid| *gid != plain.gid).collect();
        let missed: Vec<&u32> = theirs.difference(&ours).collect();
        ensure!(missed.is_empty(), "the image would keep {missed:?}: {}", told());
        self.image_gives += usize::from(!theirs.is_empty());
        let more = ours.difference(&theirs).any(|gid| *gid != plain.gid);
        self.one_too_many += usize::from(more);
        ensure!(files.overlap || !more, "not the image's: {ours:?} beside {theirs:?}: {}", told());

        let Some(declared) = declared else { return Ok(()) };
        // What the wrapper leaves is the primary group and what was declared and not implied.
        let left: BTreeSet<u32> = declared
            .groups
            .iter()
            .copied()
            .filter(|gid| *gid == declared.gid || !ours.contains(gid))
            .collect();
        let mut wanted: BTreeSet<u32> = DECLARED.into_iter().filter(|gid| !ours.contains(gid)).collect();
        wanted.extend(declared.groups.contains(&declared.gid).then_some(declared.gid));
        ensure!(left == wanted, "{left:?} instead of {wanted:?}: {}", told());
        Ok(())
    }

    fn check(&self, engine: &str) -> Result<()> {
        println!("membership: {engine}: {self:?}");
        ensure!(self.image_gives * 4 >= self.cases, "too few images give groups: {self:?}");
        ensure!(self.refused * 2 <= self.cases, "too many are refused: {self:?}");
        Ok(())
    }
}

fn text(bytes: &[u8]) -> String {
    let mut text = String::from_utf8_lossy(bytes).into_owned();
    if text.len() > 600 {
        text = format!("{} bytes, {}", text.len(), text.chars().take(200).collect::<String>());
    }
    text
}

fn containerd(world: &World) -> Result<()> {
    let daemon = Containerd::start(&world.machine, &Arc::clone(&world.run), Kind::V1_7, Options::default())?;
    let cri = daemon.cri();
    let pod = cri.run_pod(&Pod::new("membership"))?;
    let mut counts = Counts::default();
    for (number, files) in files::all()?.iter().enumerate() {
        let name = format!("localhost/strict-groups/membership-{number}:1");
        let image = Draft::new(&name).passwd(files.passwd.clone()).group(files.group.clone());
        daemon.import(&image.build(&world.machine)?)?;
        for (user_number, user) in files.users.iter().enumerate() {
            let made = |declared: &[u32]| -> Result<Option<Made>> {
                let spec = ContainerSpec::new(&format!("c{number}-{user_number}-{}", declared.len()), &name);
                let spec = match user {
                    User::Id(uid) => spec.user(*uid),
                    User::Name(name) => spec.user_name(name),
                };
                let declared: Vec<i64> = declared.iter().copied().map(i64::from).collect();
                let Ok(container) = cri.create(&pod, &spec.supplemental(&declared)) else { return Ok(None) };
                let info = cri.status(&container)?.info;
                cri.remove(&container)?;
                Made::of(info.pointer("/runtimeSpec/process/user").context("no user in the spec")?).map(Some)
            };
            let case = format!("{} of {}, containerd", user, files.name);
            let declared = if user_number == 0 { made(&DECLARED)? } else { None };
            counts.compare(&case, files, made(&[])?, declared)?;
        }
    }
    cri.remove_pod(&pod.id)?;
    counts.check("containerd")?;
    daemon.stop()
}

/// podman stands for the engines that use the same library: CRI-O is one of them.
fn podman(world: &World) -> Result<()> {
    let dir = world.folder()?;
    let (runtime, spec) = (dir.join("runtime"), dir.join("spec.json"));
    // It keeps the spec and makes no container.
    script(
        &runtime,
        &format!(
            "#!/bin/sh\nfor argument; do\n[ \"$before\" != --bundle ] || cp \"$argument/config.json\" {}\n\
             before=$argument\ndone\nexit 1\n",
            spec.display()
        ),
    )?;
    let podman = Podman::new(world, &runtime)?;
    let bundle = Bundle::new(world)?;
    let rootfs = bundle.rootfs();
    let rootfs = rootfs.to_str().context("no text")?;
    let mut counts = Counts::default();
    for files in files::all()? {
        for (user_number, user) in files.users.iter().enumerate() {
            let name = user.to_string();
            let made = |declared: &[u32]| -> Result<Option<Made>> {
                let _ = fs::remove_file(&spec);
                // podman adds the user that it runs to them.
                bundle.image(&files.passwd, &files.group)?;
                let added: Vec<String> = declared.iter().map(|gid| format!("--group-add={gid}")).collect();
                let mut options = vec!["--rm", "--user", &name];
                options.extend(added.iter().map(String::as_str));
                let run = podman.run(&[&options[..], &["--rootfs", rootfs, "true"]].concat());
                let (_, _, said) = podman.output(&run)?;
                let Ok(json) = fs::read(&spec) else {
                    ensure!(said.contains("user"), "{said}");
                    return Ok(None);
                };
                let spec: Value = serde_json::from_slice(&json)?;
                Made::of(&spec["process"]["user"]).map(Some)
            };
            let case = format!("{user} of {}, podman", files.name);
            let declared = if user_number == 0 { made(&DECLARED)? } else { None };
            counts.compare(&case, &files, made(&[])?, declared)?;
        }
    }
    counts.check("podman")
}

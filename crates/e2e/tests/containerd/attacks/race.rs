//! `/etc/group` leads to a file that another container of the pod swaps as soon as the gate has read it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;

use super::{Node, Outcome, PASSWD, With, victim, within};
use crate::steps::{ANNOTATION, STRICT};
use crate::world::{World, trial};
use e2e::image::Draft;
use e2e::{ContainerSpec, Pod, RunningPod, swapper};

const IMAGE: &str = "localhost/strict-groups/race:1";
const OTHER: &str = "localhost/strict-groups/race-other:1";
const GOOD: &str = "root:x:0:\n";

/// How often it is tried for each number of reads.
const STARTS: usize = 20;

/// Where the file is.
#[derive(Clone, Copy)]
enum Place {
    /// A volume of both containers.
    Volume,
    /// What all containers of a pod share without any volume.
    SharedMemory,
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("attacks::race_on_volume_with_plugin_adds_no_group", |world| {
            race(world, Place::Volume, With::Plugin)
        }),
        trial("attacks::race_on_dev_shm_with_plugin_adds_no_group", |world| {
            race(world, Place::SharedMemory, With::Plugin)
        }),
        trial("attacks::race_on_volume_without_plugin_adds_no_group", |world| {
            race(world, Place::Volume, With::NoPlugin)
        }),
        trial("attacks::race_on_dev_shm_without_plugin_adds_no_group", |world| {
            race(world, Place::SharedMemory, With::NoPlugin)
        }),
    ]
}

/// Two containers of one pod, and what they share.
struct Race {
    node: Node,
    pod: RunningPod,
    /// The folder with the file, on the host, and as the containers have it.
    host: PathBuf,
    inside: &'static str,
    /// The volume on the host.
    volume: PathBuf,
    with: With,
}

fn race(world: &World, place: Place, with: With) -> Result<()> {
    let race = Race::start(world, place, with)?;
    race.control()?;
    // With the plugin there are two hooks, and each of them may read the file.
    let mut failed = Vec::new();
    let mut serial = 0;
    for reads in 1..=2 {
        let mut won = Vec::new();
        for _ in 0..STARTS {
            serial += 1;
            won.extend(race.attempt(serial, reads)?);
        }
        if let Some(first) = won.first() {
            failed.push(format!("{} of {STARTS} starts after read {reads}, such as {first}", won.len()));
        }
    }
    ensure!(failed.is_empty(), "the attack worked: {}", failed.join("; "));
    race.node.daemon.stop()
}

impl Race {
    fn start(world: &World, place: Place, with: With) -> Result<Self> {
        let node = Node::start(world, with)?;
        let inside = match place {
            Place::Volume => "/data",
            Place::SharedMemory => "/dev/shm",
        };
        node.import(world, Draft::new(IMAGE).passwd(PASSWD).link("/etc/group", &format!("{inside}/grp")))?;

        let volume = node.daemon.dir().join("volume");
        fs::create_dir(&volume)?;
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o777))?;
        let program = swapper::binary(&world.run)?;
        let pod = node.daemon.cri().run_pod(&Pod::new("race").annotation(ANNOTATION, "Strict"))?;
        let host = match place {
            Place::Volume => volume.clone(),
            Place::SharedMemory => {
                node.daemon.dir().join("state/io.containerd.grpc.v1.cri/sandboxes").join(&pod.id).join("shm")
            }
        };
        let race = Self { node, pod, host, inside, volume, with };
        // An image with a plain /etc/group: this container just runs.
        race.node.import(world, Draft::new(OTHER).passwd(PASSWD).group(GOOD))?;
        let other = ContainerSpec::new("other", OTHER).user(2000).group(2000);
        let other = race
            .volume(other.command(&["/swapper", inside]))
            .mount(program.to_str().context("a path of text")?, "/swapper");
        race.node.daemon.cri().launch(&race.pod, &other).context("the other container")?;
        Ok(race)
    }

    fn volume(&self, spec: ContainerSpec) -> ContainerSpec {
        spec.mount(&self.volume.to_string_lossy(), "/data")
    }

    /// What the victim declares, and the line that takes it away.
    fn trick(&self) -> (&'static [i64], &'static str) {
        match self.with {
            With::Plugin => (&[4000], "4000:x:50000:\n"),
            // A declared group is refused then for want of the plugin.
            With::NoPlugin => (&[], "3000:x:50000:\n"),
        }
    }

    /// Under Merge a file that is there from the beginning gives the group.
    fn control(&self) -> Result<()> {
        let (declared, evil) = self.trick();
        let pod = self.node.daemon.cri().run_pod(&Pod::new("race-control"))?;
        let spec = victim(IMAGE).supplemental(declared);
        let spec = match self.inside {
            "/data" => {
                fs::write(self.volume.join("grp"), evil)?;
                self.volume(spec)
            }
            inside => {
                let script = format!("echo {} > {inside}/grp; exec sleep 2147483647", evil.trim());
                let other = ContainerSpec::new("other", OTHER);
                let other = self.node.daemon.cri().launch(&pod, &other.command(&["sh", "-c", &script]))?;
                self.node
                    .daemon
                    .cri()
                    .exec(&other, &["sh", "-c", &format!("until cat {inside}/grp; do :; done")])?;
                spec
            }
        };
        let outcome = self.node.attempt(&pod, &spec).context("under Merge")?;
        let Outcome::Runs { first, .. } = &outcome else { bail!("under Merge: {outcome:?}") };
        ensure!(first.groups().contains(&50000), "under Merge: {first}: the trick does not work here");
        Ok(self.node.daemon.cri().remove_pod(&pod.id)?)
    }

    /// Starts the victim once. Gives who it is when the attack worked.
    fn attempt(&self, serial: u32, reads: u32) -> Result<Option<String>> {
        let (declared, evil) = self.trick();
        swapper::order(&self.host, serial, reads, GOOD, evil)?;
        // The first that it does is to leave its name, so that one that was stopped is told from one that ran.
        let ran = self.volume.join(format!("ran-{serial}"));
        let script =
            format!("grep -E 'Uid|Gid|Groups' /proc/self/status > /data/ran-{serial}; exec sleep 2147483647");
        let spec = self.volume(victim(IMAGE).supplemental(declared)).command(&["sh", "-c", &script]);
        let spec = spec.name(&format!("app-{serial}"));
        match self.node.attempt(&self.pod, &spec)? {
            Outcome::Refused(text) => {
                ensure!(!ran.exists(), "refused, but it ran as {:?}: {text}", fs::read_to_string(&ran));
                Ok(None)
            }
            Outcome::Runs { id, first } => {
                self.node.daemon.cri().remove(&self.stopped(id)?)?;
                let as_it_says = fs::read_to_string(&ran).unwrap_or_default();
                let won = within(&first, &STRICT).is_err() || as_it_says.contains("50000");
                Ok(won.then(|| first.to_string()))
            }
        }
    }

    fn stopped(&self, container: String) -> Result<String> {
        self.node.daemon.cri().stop(&container)?;
        Ok(container)
    }
}

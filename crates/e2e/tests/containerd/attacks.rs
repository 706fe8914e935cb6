//! Attacks on the promise: a Strict container has no group beyond its primary and declared ones, or does not start.
//!
//! Each runs on containerd 1.7 with the static gate, where runc before 1.3 looks every group up by its number in
//! the container's `/etc/group` as if that were a name. Each shows first, under Merge, that its trick works here.

mod annotated;
mod exec;
mod keys;
mod links;
mod race;

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{ANNOTATION, strict};
use crate::world::World;
use e2e::image::Draft;
use e2e::{
    ContainerSpec, Containerd, Handler, Identity, Kind, Options, Plugin, Pod, RunningPod, node_config,
};

/// What strict-groups says before anything else.
const OURS: &str = "strict-groups: ";

const PASSWD: &str = "root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";

pub(crate) fn trials() -> Vec<Trial> {
    [annotated::trials(), exec::trials(), keys::trials(), links::trials(), race::trials()]
        .into_iter()
        .flatten()
        .collect()
}

/// Whether the plugin runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum With {
    Plugin,
    NoPlugin,
}

/// A node with the static gate, runc alone, and the plugin where it is asked for.
pub(crate) struct Node {
    // First: it is ended first.
    pub(crate) plugin: Option<Plugin>,
    pub(crate) daemon: Containerd,
}

impl Node {
    pub(crate) fn start(world: &World, with: With) -> Result<Self> {
        let mut node = Self::bare(world)?;
        node.configure(world)?;
        if with == With::Plugin {
            node.plugin = Some(Plugin::start(&node.daemon, None, &[])?);
        }
        Ok(node)
    }

    /// Without anything of ours yet.
    fn bare(world: &World) -> Result<Self> {
        let options = Options::default().handler(Handler::new("runc", world.machine.runc())).network();
        let daemon = node_config::start(&world.machine, &Arc::clone(&world.run), Kind::V1_7, options)?;
        Ok(Self { plugin: None, daemon })
    }

    fn configure(&self, world: &World) -> Result<()> {
        node_config::configure(&world.machine, &self.daemon)
    }

    fn import(&self, world: &World, image: Draft) -> Result<()> {
        self.daemon.import(&image.build(&world.machine)?)
    }

    /// Creates and starts the container.
    fn attempt(&self, pod: &RunningPod, spec: &ContainerSpec) -> Result<Outcome> {
        match self.daemon.cri().launch(pod, spec) {
            Ok(id) => {
                let pid = self.daemon.cri().status(&id)?.pid;
                Ok(Outcome::Runs { first: Identity::of_process(pid)?, id })
            }
            Err(error) => {
                let text = error.to_string();
                ensure!(text.contains(OURS), "not refused by strict-groups: {text}");
                Ok(Outcome::Refused(text))
            }
        }
    }

    /// The groups of a process that is started in a running container. None: it was refused.
    fn exec(&self, container: &str) -> Result<Option<Identity>> {
        match self.daemon.cri().exec(container, &["cat", "/proc/self/status"]) {
            Ok(output) => Identity::from_status(&output.stdout).map(Some).with_context(|| output.stderr),
            Err(error) if error.to_string().contains(OURS) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Under Merge the container gets `group`, so the trick works here. Under Strict neither its first process nor an
    /// exec has a group beyond `allowed`.
    fn holds(&self, pod: &Pod, spec: &ContainerSpec, group: u32, allowed: &[u32]) -> Result<()> {
        let merge = self.daemon.cri().run_pod(pod)?;
        let outcome = self.attempt(&merge, spec).context("under Merge")?;
        let Outcome::Runs { first, .. } = &outcome else { anyhow::bail!("under Merge: {outcome:?}") };
        ensure!(first.groups().contains(&group), "under Merge: {first}: the trick does not work here");
        self.daemon.cri().remove_pod(&merge.id)?;

        let pod = self.daemon.cri().run_pod(&renamed(pod).annotation(ANNOTATION, "Strict"))?;
        match self.attempt(&pod, spec)? {
            Outcome::Refused(text) => {
                ensure!(text.contains(&format!("pod default/{}, container app", pod.name())), "{text}");
            }
            Outcome::Runs { id, first } => {
                within(&first, allowed).context("first process")?;
                if let Some(exec) = self.exec(&id)? {
                    within(&exec, allowed).context("exec")?;
                }
            }
        }
        Ok(self.daemon.cri().remove_pod(&pod.id)?)
    }
}

/// What became of a container.
#[derive(Debug)]
enum Outcome {
    Refused(String),
    Runs { id: String, first: Identity },
}

/// The same pod with a uid of its own.
fn renamed(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    pod.config.metadata = strict(&pod.name()).config.metadata;
    pod
}

/// An error where a process has a group that it must not have.
fn within(identity: &Identity, allowed: &[u32]) -> Result<()> {
    let groups = identity.groups();
    ensure!(groups.iter().all(|group| allowed.contains(group)), "the attack worked: {identity}");
    Ok(())
}

/// User 1000, group 3000, of this image.
fn victim(image: &str) -> ContainerSpec {
    ContainerSpec::new("app", image).user(1000).group(3000)
}

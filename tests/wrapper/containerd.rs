//! containerd 1.7 with the wrapper as its OCI runtime (`BinaryName`): without NRI, beside the plugin,
//! and after the plugin was killed.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::bundle::{ANNOTATION, gates};
use crate::command::{Real, Wrapper};
use crate::start::widening;
use crate::support::{ContainerSpec, Containerd, Handler, Identity, Image, Kind, Options, Plugin, Pod};
use crate::world::{World, trial};

const STRICT: [u32; 2] = [3000, 4000];
const MERGED: [u32; 3] = [3000, 4000, 50000];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("containerd::without_nri", without_nri),
        trial("containerd::beside_the_plugin_and_after_its_end", beside_the_plugin),
    ]
}

/// Like the drop-in of `strict-groups config containerd`, it passes our annotation on.
fn start(world: &World, wrapper: &Wrapper, options: Options) -> Result<Containerd> {
    let handler = Handler::new("runc", wrapper.script()?).settings(&format!(
        "pod_annotations = [\"{ANNOTATION}*\", \"{ANNOTATION}*/*\", \"kubernetes.io/config.source\"]\n"
    ));
    let daemon =
        Containerd::start(&world.machine, &Arc::clone(&world.run), Kind::V1_7, options.handler(handler))?;
    daemon.import(&Image::announcement(&world.machine)?)?;
    Ok(daemon)
}

fn app() -> ContainerSpec {
    ContainerSpec::new("app", "localhost/strict-groups/announcement:1")
        .user(1000)
        .group(3000)
        .supplemental(&[4000])
}

/// Runs the pod; its first process and an exec have these groups. Gives its bundle's gates.
fn runs(daemon: &Containerd, pod: &Pod, groups: &[u32]) -> Result<Vec<strict_groups::gate::Gate>> {
    let wanted: BTreeSet<u32> = groups.iter().copied().collect();
    let pod = daemon.cri().run_pod(pod)?;
    let container = daemon.cri().launch(&pod, &app()).with_context(|| pod.name())?;
    let first = Identity::of_process(daemon.cri().status(&container)?.pid)?;
    ensure!(first.groups() == wanted, "{}: {first}, wanted {wanted:?}", pod.name());
    let output = daemon.cri().exec(&container, &["cat", "/proc/self/status"])?;
    let exec = Identity::from_status(&output.stdout).with_context(|| output.stderr.clone())?;
    ensure!(exec.groups() == wanted, "{}: exec {exec}, wanted {wanted:?}", pod.name());
    let gates = gates(&daemon.bundle(&container).join("config.json"))?;
    daemon.cri().remove_pod(&pod.id)?;
    Ok(gates)
}

fn strict(name: &str) -> Pod {
    Pod::new(name).annotation(ANNOTATION, "Strict")
}

fn refused(daemon: &Containerd, pod: &Pod) -> Result<String> {
    let pod = daemon.cri().run_pod(pod).context("the sandbox must start")?;
    let container = daemon.cri().create(&pod, &app())?;
    let error = daemon.cri().start(&container).err().context("it was not refused")?;
    daemon.cri().remove_pod(&pod.id)?;
    Ok(error.to_string())
}

fn without_nri(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let daemon = start(world, &wrapper, Options::default())?;
    let gates = runs(&daemon, &strict("strict"), &STRICT)?;
    ensure!(gates.iter().all(|gate| gate.pod == "default/strict" && gate.container == "app"), "{gates:?}");
    ensure!(gates.len() == 1, "{gates:?}");
    ensure!(runs(&daemon, &Pod::new("plain"), &MERGED)?.is_empty(), "a gate");
    let only = Pod::new("only").annotation(&format!("{ANNOTATION}/container.app"), "Strict");
    runs(&daemon, &only, &STRICT)?;
    let other = Pod::new("other").annotation(&format!("{ANNOTATION}/container.other"), "Strict");
    runs(&daemon, &other, &MERGED)?;

    // The created process has a group more than config.json.
    let path = widening(world, Real::Runc, &wrapper.dir)?;
    wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", path.display()))?;
    let said = refused(&daemon, &strict("wide"))?;
    ensure!(said.contains("strict-groups: pod default/wide, container app"), "{said}");
    ensure!(said.contains("the created process holds groups") && said.contains("(50000)"), "{said}");
    wrapper.configure(&format!("[runtime]\npath = \"{}\"\n", Real::Runc.path(world).display()))?;

    let said = refused(&daemon, &Pod::new("typo").annotation(ANNOTATION, "strict"))?;
    ensure!(said.contains("strict-groups: pod default/typo, container app"), "{said}");
    ensure!(said.contains("write Strict or Merge"), "{said}");
    daemon.stop()
}

fn beside_the_plugin(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let daemon = start(world, &wrapper, Options::default().nri())?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    // Both resolve: the plugin with the declared list, so a group that is both stays.
    let gates = runs(&daemon, &strict("both"), &STRICT)?;
    ensure!(gates.len() == 1, "{gates:?}");
    runs(&daemon, &Pod::new("plain"), &MERGED)?;
    let both = app().supplemental(&[4000, 50000]);
    let pod = daemon.cri().run_pod(&strict("declared"))?;
    let container = daemon.cri().launch(&pod, &both)?;
    let first = Identity::of_process(daemon.cri().status(&container)?.pid)?;
    ensure!(first.groups() == MERGED.into(), "{first}");
    daemon.cri().remove_pod(&pod.id)?;

    plugin.stop(Signal::SIGKILL)?;
    runs(&daemon, &strict("alone"), &STRICT)?;
    runs(&daemon, &Pod::new("plain-alone"), &MERGED)?;
    wrapper.configure(&format!(
        "[runtime]\npath = \"{}\"\nungated = \"refuse\"\n",
        Real::Runc.path(world).display()
    ))?;
    let said = refused(&daemon, &strict("refused"))?;
    ensure!(
        said.contains("pod default/refused, container app") && said.contains("did not process"),
        "{said}"
    );
    runs(&daemon, &Pod::new("plain-still"), &MERGED)?;
    daemon.stop()
}

//! containerd with the wrapper as the OCI runtime of its handlers, as `strict-groups config containerd --wrapper` sets it
//! up: without NRI, beside the plugin, and after the plugin was killed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::start::widening;
use e2e::wrapper::bundle::{ANNOTATION, gates};
use e2e::wrapper::command::Real;
use e2e::wrapper::world::{World, trial};
use e2e::{ContainerSpec, Containerd, Handler, Identity, Image, Kind, Options, Plugin, Pod, node_config};

const STRICT: [u32; 2] = [3000, 4000];
const MERGED: [u32; 3] = [3000, 4000, 50000];

/// The handlers of [`start`] whose OCI runtimes are the real ones.
const HANDLERS: [&str; 2] = ["runc", "crun"];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("containerd::strict_without_nri_on_1_6_36", |world| without_nri(world, Kind::V1_6)),
        trial("containerd::strict_without_nri_on_1_7_2", |world| without_nri(world, Kind::V1_7_2)),
        trial("containerd::strict_without_nri_on_1_7_24", |world| without_nri(world, Kind::V1_7)),
        trial("containerd::strict_without_nri_on_1_7_35", |world| without_nri(world, Kind::V1_7_35)),
        trial("containerd::strict_without_nri_on_2_4_2", |world| without_nri(world, Kind::V2_4)),
        trial("containerd::group_of_image_that_is_declared_stays", declared),
        trial("containerd::process_with_more_than_config_json_is_refused", wide),
        trial("containerd::rule_by_label_is_decided_by_the_record", by_label),
        trial("containerd::pod_of_before_the_set_up_keeps_its_runtime", older_pod),
        trial("containerd::pod_without_a_source_is_decided_by_its_record", without_source),
        trial("containerd::pod_of_a_wrong_drop_in_is_decided_by_its_record", without_our_keys),
        trial("containerd::broken_configuration_stops_who_could_gain_a_group", nothing_to_lose),
        trial("containerd::annotation_of_a_running_pod_changes_nothing", annotated_later),
        trial("containerd::beside_the_plugin_and_after_its_end", beside_the_plugin),
        trial("containerd::strict_of_either_wins", either_wins),
        trial("containerd::removal_waits_for_the_last_container", removal),
        trial("containerd::removal_sees_containers_of_another_mount_namespace", own_mounts),
        trial("containerd::other_way_leaves_what_containers_are_stopped_by", other_way),
        trial("containerd::handlers_new_runtime_leaves_the_old_ones_file", new_runtime),
        trial("containerd::file_that_cannot_be_used_is_mended_by_a_write", mended),
    ]
}

/// A containerd with a handler for each OCI runtime, and one whose runtime gives the process a group too many.
fn start(world: &World, kind: Kind, options: Options) -> Result<Containerd> {
    let dir = world.folder()?;
    let options = options
        .handler(Handler::new("runc", world.machine.runc()))
        .handler(Handler::new("crun", world.machine.crun()))
        .handler(Handler::new("wide", widening(world, Real::Runc, &dir)?));
    let daemon = node_config::start(&world.machine, &Arc::clone(&world.run), kind, options)?;
    daemon.import(&Image::example(&world.machine)?)?;
    Ok(daemon)
}

fn configured(world: &World) -> Result<Containerd> {
    configured_as(world, Kind::V1_7)
}

fn configured_as(world: &World, kind: Kind) -> Result<Containerd> {
    let daemon = start(world, kind, Options::default())?;
    node_config::configure_for(&world.machine, &daemon, &["--wrapper"])?;
    Ok(daemon)
}

fn app() -> ContainerSpec {
    ContainerSpec::new("app", "localhost/strict-groups/example:1")
        .user(1000)
        .group(3000)
        .supplemental(&[4000])
}

fn strict(name: &str) -> Pod {
    Pod::new(name).annotation(ANNOTATION, "Strict")
}

/// Runs the container in the pod; its first process and an exec have these groups. Gives its bundle's gates.
fn runs_in(
    daemon: &Containerd,
    pod: &e2e::cri::RunningPod,
    spec: &ContainerSpec,
    groups: &[u32],
) -> Result<Vec<strict_groups_core::gate::Gate>> {
    let expected: BTreeSet<u32> = groups.iter().copied().collect();
    let container = daemon.cri().launch(pod, spec).with_context(|| pod.name())?;
    let first = Identity::of_process(daemon.cri().status(&container)?.pid)?;
    ensure!(first.groups() == expected, "{}: {first}, expected {expected:?}", pod.name());
    // As a probe does it.
    let output = daemon.cri().exec(&container, &["cat", "/proc/self/status"])?;
    let exec = Identity::from_status(&output.stdout).with_context(|| output.stderr.clone())?;
    ensure!(exec.groups() == expected, "{}: exec {exec}, expected {expected:?}", pod.name());
    gates(&daemon.bundle(&container).join("config.json"))
}

/// The same for the container of the KEP's example in a pod of its own.
fn runs(daemon: &Containerd, pod: &Pod, groups: &[u32]) -> Result<Vec<strict_groups_core::gate::Gate>> {
    let pod = daemon.cri().run_pod(pod)?;
    let gates = runs_in(daemon, &pod, &app(), groups)?;
    daemon.cri().remove_pod(&pod.id)?;
    Ok(gates)
}

fn refused(daemon: &Containerd, pod: &Pod) -> Result<String> {
    let pod = daemon.cri().run_pod(pod).context("the sandbox must start")?;
    let container = daemon.cri().create(&pod, &app())?;
    let error = daemon.cri().start(&container).err().context("it was not refused")?;
    daemon.cri().remove_pod(&pod.id)?;
    Ok(error.to_string())
}

fn configure_node(daemon: &Containerd, text: &str) -> Result<()> {
    Ok(fs::write(node_config::node_file(daemon), text)?)
}

fn without_nri(world: &World, kind: Kind) -> Result<()> {
    let daemon = configured_as(world, kind)?;
    for handler in HANDLERS {
        let named = |pod: Pod| pod.handler(handler);
        let gates = runs(&daemon, &named(strict("strict")), &STRICT).context(handler)?;
        ensure!(
            gates.iter().all(|gate| gate.pod == "default/strict" && gate.container == "app"),
            "{gates:?}"
        );
        ensure!(gates.len() == 1, "{gates:?}");
        ensure!(runs(&daemon, &named(Pod::new("plain")), &MERGED)?.is_empty(), "a gate");
        let only = Pod::new("only").annotation(&format!("{ANNOTATION}/container.app"), "Strict");
        runs(&daemon, &named(only), &STRICT)?;
        let other = Pod::new("other").annotation(&format!("{ANNOTATION}/container.other"), "Strict");
        runs(&daemon, &named(other), &MERGED)?;
    }
    let said = refused(&daemon, &Pod::new("typo").annotation(ANNOTATION, "strict"))?;
    ensure!(said.contains("strict-groups: pod default/typo, container app"), "{said}");
    ensure!(said.contains("write Strict or Merge"), "{said}");
    let said = refused(&daemon, &Pod::new("case").annotation(&ANNOTATION.to_uppercase(), "Strict"))?;
    ensure!(said.contains("is not understood"), "{said}");
    daemon.stop()
}

/// What the image gives the user and the pod declares as well is not taken away: the record says so, not the image.
fn declared(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    let pod = daemon.cri().run_pod(&strict("declared"))?;
    runs_in(&daemon, &pod, &app().supplemental(&[4000, 50000]), &MERGED)?;
    runs_in(&daemon, &pod, &app().name("none").supplemental(&[]), &[3000])?;
    daemon.stop()
}

fn wide(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    let said = refused(&daemon, &strict("wide").handler("wide"))?;
    ensure!(said.contains("strict-groups: pod default/wide, container app"), "{said}");
    ensure!(said.contains("the created process holds groups") && said.contains("(50000)"), "{said}");
    daemon.stop()
}

fn by_label(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    configure_node(&daemon, "[[rule]]\nlabels = { app = \"web\" }\npolicy = \"Strict\"\n")?;
    runs(&daemon, &Pod::new("web").label("app", "web"), &STRICT)?;
    runs(&daemon, &Pod::new("db").label("app", "db"), &MERGED)?;
    runs(&daemon, &Pod::new("none"), &MERGED)?;
    // An annotation cannot stand for the labels, whatever it is called.
    runs(&daemon, &Pod::new("forged").annotation("app", "db").label("app", "web"), &STRICT)?;
    daemon.stop()
}

/// containerd takes the OCI runtime of a container from the record of its sandbox: the command says so.
fn older_pod(world: &World) -> Result<()> {
    let daemon = start(world, Kind::V1_7, Options::default())?;
    let pod = daemon.cri().run_pod(&strict("older"))?;
    let mut command = node_config::command(&world.machine, &daemon)?;
    command.arg("--wrapper").arg("--config").arg(node_config::node_file(&daemon));
    let said = node_config::text(&command.arg("--write").arg(node_config::folder(&daemon)).output()?)?;
    ensure!(said.contains("Pods that exist keep the OCI runtime"), "{said}");
    daemon.restart(Signal::SIGTERM)?;
    runs_in(&daemon, &pod, &app(), &MERGED)?;
    daemon.cri().remove_pod(&pod.id)?;
    runs(&daemon, &strict("older"), &STRICT)?;
    daemon.stop()
}

/// As `crictl` makes pods: nothing in the bundle shows that the pod's annotations are there.
fn without_source(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    let by_hand = |pod: Pod| pod.without_annotation("kubernetes.io/config.source");
    runs(&daemon, &by_hand(strict("strict")), &STRICT)?;
    runs(&daemon, &by_hand(Pod::new("plain")), &MERGED)?;
    daemon.stop()
}

/// While another imported file takes our `pod_annotations` back, a sandbox's bundle says nothing of the policy, though it
/// has what shows that it is new.
fn without_our_keys(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    let drop_in = node_config::folder(&daemon).join("strict-groups.toml");
    let ours = fs::read_to_string(&drop_in)?;
    let theirs: String = ours
        .lines()
        .map(|line| match line.split_once("pod_annotations = ") {
            Some((before, _)) => format!("{before}pod_annotations = [\"kubernetes.io/*\"]\n"),
            None => format!("{line}\n"),
        })
        .collect();
    ensure!(theirs != ours && !theirs.contains("noderesource"), "{theirs}");
    fs::write(&drop_in, theirs)?;
    daemon.restart(Signal::SIGTERM)?;
    let pod = daemon.cri().run_pod(&strict("between"))?;
    fs::write(&drop_in, ours)?;
    daemon.restart(Signal::SIGTERM)?;
    runs_in(&daemon, &pod, &app(), &STRICT)?;
    daemon.stop()
}

/// A configuration that cannot be read stops who could gain a group, and nobody else.
fn nothing_to_lose(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    configure_node(&daemon, "mode = \"off\"\n")?;
    let pod = daemon.cri().run_pod(&Pod::new("alone"))?;
    let gates = runs_in(&daemon, &pod, &app().user(2000).group(2000).supplemental(&[]), &[2000])?;
    ensure!(gates.iter().any(|gate| gate.pod == "default/alone"), "{gates:?}");
    daemon.cri().remove_pod(&pod.id)?;
    let said = refused(&daemon, &Pod::new("more"))?;
    ensure!(said.contains("policy of this node cannot be read"), "{said}");
    daemon.stop()
}

fn annotated_later(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    let pod = daemon.cri().run_pod(&strict("strict"))?;
    runs_in(&daemon, &pod.annotated(ANNOTATION, "Merge"), &app(), &STRICT)?;
    let pod = daemon.cri().run_pod(&Pod::new("plain"))?;
    runs_in(&daemon, &pod.annotated(ANNOTATION, "Strict"), &app(), &MERGED)?;
    daemon.stop()
}

fn beside_the_plugin(world: &World) -> Result<()> {
    let daemon = start(world, Kind::V1_7, Options::default().nri())?;
    node_config::configure_for(&world.machine, &daemon, &["--wrapper", "--nri"])?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let gates = runs(&daemon, &strict("both"), &STRICT)?;
    ensure!(gates.len() == 1, "{gates:?}");
    runs(&daemon, &Pod::new("plain"), &MERGED)?;
    let pod = daemon.cri().run_pod(&strict("declared"))?;
    runs_in(&daemon, &pod, &app().supplemental(&[4000, 50000]), &MERGED)?;
    daemon.cri().remove_pod(&pod.id)?;

    plugin.stop(Signal::SIGKILL)?;
    runs(&daemon, &strict("alone"), &STRICT)?;
    runs(&daemon, &Pod::new("plain-alone"), &MERGED)?;
    configure_node(&daemon, "[runtime]\nungated = \"refuse\"\n")?;
    let said = refused(&daemon, &strict("refused"))?;
    ensure!(
        said.contains("pod default/refused, container app") && said.contains("did not process"),
        "{said}"
    );
    runs(&daemon, &Pod::new("plain-still"), &MERGED)?;
    daemon.stop()
}

/// Plugin and wrapper have different configurations.
fn either_wins(world: &World) -> Result<()> {
    let daemon = start(world, Kind::V1_7, Options::default().nri())?;
    node_config::configure_for(&world.machine, &daemon, &["--wrapper", "--nri"])?;
    let rule = |app: &str| format!("[[rule]]\nlabels = {{ app = \"{app}\" }}\npolicy = \"Strict\"\n");
    let plugin = Plugin::start(&daemon, Some(&rule("plugin")), &[])?;
    configure_node(&daemon, &rule("wrapper"))?;
    runs(&daemon, &Pod::new("plugin").label("app", "plugin"), &STRICT)?;
    runs(&daemon, &Pod::new("wrapper").label("app", "wrapper"), &STRICT)?;
    runs(&daemon, &Pod::new("neither").label("app", "other"), &MERGED)?;
    plugin.stop(Signal::SIGTERM)?;
    // The static gate knows neither labels nor this sandbox, and takes the wrapper's word.
    runs(&daemon, &Pod::new("alone").label("app", "wrapper"), &STRICT)?;
    runs(&daemon, &Pod::new("merge-alone").label("app", "other"), &MERGED)?;
    runs(&daemon, &Pod::new("by-hand").without_annotation("kubernetes.io/config.source"), &MERGED)?;
    daemon.stop()
}

/// The file that is the OCI runtime of the handler runc.
fn file(daemon: &Containerd) -> PathBuf {
    node_config::folder(daemon).join("strict-groups-runtime-runc+runc")
}

/// What `config containerd` with these options says, and its exit code.
fn config(
    world: &World,
    daemon: &Containerd,
    options: &[&str],
    folder: &Path,
) -> Result<(Option<i32>, String)> {
    let mut command = node_config::command(&world.machine, daemon)?;
    command.arg("--config").arg(node_config::node_file(daemon)).args(options).arg(folder);
    let output = command.output()?;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}

/// Stops the container, and its process is gone.
fn ends(daemon: &Containerd, container: &str) -> Result<()> {
    let pid = daemon.cri().status(container)?.pid;
    let output = daemon.cri().exec(container, &["cat", "/proc/self/status"])?;
    let exec = Identity::from_status(&output.stdout).with_context(|| output.stderr.clone())?;
    ensure!(exec.groups() == STRICT.into(), "exec: {exec}");
    daemon.cri().stop(container)?;
    ensure!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} lives on");
    Ok(daemon.cri().remove(container)?)
}

/// The containers that were made by the wrapper are stopped and removed by it.
fn removal(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    let pod = daemon.cri().run_pod(&strict("old"))?;
    let old = daemon.cri().launch(&pod, &app())?;
    let (file, folder) = (file(&daemon), node_config::folder(&daemon));
    ensure!(file.is_file(), "no {}", file.display());
    // By whatever path the folder is named.
    let alias = folder.join("../conf.d");
    let (code, said) = config(world, &daemon, &["--remove"], &alias)?;
    ensure!(
        code == Some(1) && said.contains("conf.d/strict-groups-runtime-runc+runc stays"),
        "{code:?} {said}"
    );
    // The container, and the pod's sandbox.
    ensure!(said.contains("2 containers") && said.contains(&old) && said.contains(&pod.id), "{said}");
    ensure!(!folder.join("strict-groups.toml").exists() && file.exists(), "{said}");
    // containerd was not restarted yet: pods start by the files, also of handlers that nobody uses.
    runs(&daemon, &strict("between").handler("crun"), &STRICT)?;

    daemon.restart(Signal::SIGTERM)?;
    runs(&daemon, &strict("new"), &MERGED).context("containerd runs runc again")?;
    let (code, said) = config(world, &daemon, &["--remove"], &folder)?;
    ensure!(code == Some(1) && said.contains("stays"), "{code:?} {said}");
    ends(&daemon, &old)?;
    daemon.cri().remove_pod(&pod.id)?;
    let (code, said) = config(world, &daemon, &["--remove"], &folder)?;
    ensure!(code == Some(0) && said.contains("removed "), "{code:?} {said}");
    ensure!(fs::read_dir(folder)?.next().is_none(), "something stays");
    daemon.stop()
}

/// The unit of a containerd may give it a mount namespace: its shims are found there.
fn own_mounts(world: &World) -> Result<()> {
    let daemon = start(world, Kind::V1_7, Options::default().own_mounts())?;
    node_config::configure_for(&world.machine, &daemon, &["--wrapper"])?;
    let pod = daemon.cri().run_pod(&strict("old"))?;
    daemon.cri().launch(&pod, &app())?;
    let folder = node_config::folder(&daemon);
    config(world, &daemon, &["--remove"], &folder)?;
    daemon.restart(Signal::SIGTERM)?;
    let (code, said) = config(world, &daemon, &["--remove"], &folder)?;
    ensure!(code == Some(1) && said.contains("2 containers") && file(&daemon).exists(), "{code:?} {said}");
    daemon.cri().remove_pod(&pod.id)?;
    daemon.stop()
}

/// From the wrapper's way to the NRI way, while a container runs.
fn other_way(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    let pod = daemon.cri().run_pod(&strict("old"))?;
    let old = daemon.cri().launch(&pod, &app())?;
    let (code, said) = config(world, &daemon, &["--write"], &node_config::folder(&daemon))?;
    ensure!(
        code == Some(0) && said.contains("stays: it is the OCI runtime of 2 containers"),
        "{code:?} {said}"
    );
    daemon.restart(Signal::SIGTERM)?;
    ends(&daemon, &old)?;
    daemon.cri().remove_pod(&pod.id)?;
    daemon.stop()
}

/// Another OCI runtime would not know the containers that there are.
fn new_runtime(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    let pod = daemon.cri().run_pod(&strict("old"))?;
    let old = daemon.cri().launch(&pod, &app())?;
    let main = daemon.dir().join("config.toml");
    let text = fs::read_to_string(&main)?;
    let binary = |path: PathBuf| {
        format!("BinaryName = \"{}\"\nRoot = \"{}/oci-runc\"", path.display(), daemon.dir().display())
    };
    let other = text.replace(&binary(world.machine.runc()), &binary(world.machine.crun()));
    ensure!(other != text, "the configuration has another form");
    fs::write(&main, other)?;
    node_config::configure_for(&world.machine, &daemon, &["--wrapper"])?;
    ensure!(file(&daemon).exists(), "the file by which the container is stopped is gone");
    ends(&daemon, &old)?;
    runs(&daemon, &strict("new"), &STRICT)?;
    daemon.cri().remove_pod(&pod.id)?;
    daemon.stop()
}

/// A file that was edited or is no program keeps pods from starting.
fn mended(world: &World) -> Result<()> {
    let daemon = configured(world)?;
    let pod = daemon.cri().run_pod(&strict("old"))?;
    let old = daemon.cri().launch(&pod, &app())?;
    let path = file(&daemon);
    let text = fs::read_to_string(&path)?;
    fs::write(&path, text.replace("path =", "pth ="))?;
    let said = daemon.cri().run_pod(&Pod::new("new")).err().context("it started")?.to_string();
    ensure!(
        said.contains("does not name the handler's OCI runtime") && said.contains("write it again"),
        "{said}"
    );
    let (code, said) = config(world, &daemon, &["--wrapper", "--write"], &node_config::folder(&daemon))?;
    ensure!(code == Some(0) && fs::read_to_string(&path)? == text, "{code:?} {said}");
    let kept = path.with_file_name("edited-strict-groups-runtime-runc+runc");
    ensure!(fs::read_to_string(&kept)?.contains("pth ="), "what was edited is lost");
    fs::remove_file(kept)?;
    ends(&daemon, &old)?;

    fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    let (code, said) = config(world, &daemon, &["--wrapper", "--write"], &node_config::folder(&daemon))?;
    ensure!(code == Some(0), "{code:?} {said}");
    runs(&daemon, &strict("new"), &STRICT)?;
    daemon.cri().remove_pod(&pod.id)?;
    daemon.stop()
}

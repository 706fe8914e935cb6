//! The start check: a Strict container's process is compared with what the kubelet declared, before it runs anything
//! of the image.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use tonic::Status;

use crate::steps::{
    ANNOTATION, MERGED, STRICT, app, expect, fresh, fresh_with, has_groups, merge_works, named, says, strict,
    strict_works,
};
use crate::store::{self, Calls, Fault, Store};
use crate::world::{World, trial};
use e2e::{ContainerSpec, Containerd, Handler, Kind, Options, Plugin, Pod, RunningPod, executable, wait_for};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("start_check::process_with_too_many_groups_is_refused_on_containerd_1_7", |world| {
            too_many(world, Kind::V1_7)
        }),
        trial("start_check::process_with_too_many_groups_is_refused_on_containerd_2", |world| {
            too_many(world, Kind::V2)
        }),
        trial("start_check::user_namespace_is_looked_through", user_namespace),
        trial("start_check::nothing_is_written_where_nothing_is_removed", nothing_written),
        trial("start_check::container_with_nothing_to_remove_survives_the_plugin", survives),
        trial("start_check::record_that_cannot_be_read_is_refused", unreadable),
        trial("start_check::record_that_was_widened_is_mended", mended),
        trial("start_check::container_that_nobody_decided_about_is_judged", undecided),
        trial("start_check::hidden_process_needs_a_record_without_excess", hidden),
        trial("start_check::merge_container_of_an_older_pod_gets_the_marker", marker),
    ]
}

/// A container from which nothing has to be removed: its user is in no group of the image.
fn nobody(name: &str) -> ContainerSpec {
    named(name).user(4242)
}

/// The text of the error by which a start was refused, from our own words on.
fn refused(daemon: &Containerd, container: &str) -> Result<String> {
    let Err(error) = daemon.cri().start(container) else { bail!("it was started") };
    let (_, ours) = error.message.split_once("strict-groups: ").context(error.message.clone())?;
    Ok(ours.to_owned())
}

/// A folder of the host into which a container's command writes that it ran.
struct Trace(PathBuf);

impl Trace {
    fn new(daemon: &Containerd, name: &str) -> Result<Self> {
        let dir = daemon.dir().join(format!("trace-{name}"));
        fs::create_dir(&dir)?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
        Ok(Self(dir))
    }

    fn left_by(&self, spec: ContainerSpec) -> ContainerSpec {
        let script = "echo ran > /trace/ran; exec sleep 1000";
        spec.command(&["/bin/sh", "-c", script]).mount(&self.0.display().to_string(), "/trace")
    }

    fn is_there(&self) -> bool {
        wait_for(Duration::from_secs(1), || self.0.join("ran").exists().then_some(())).is_some()
    }
}

fn too_many(world: &World, kind: Kind) -> Result<()> {
    let daemon = fresh_with(world, kind, options(world, &format!("many-{kind:?}"))?)?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let cri = daemon.cri();

    // That the trace works.
    let trace = Trace::new(&daemon, "fine")?;
    let container = cri.launch(&cri.run_pod(&strict("many-fine"))?, &trace.left_by(app()))?;
    ensure!(trace.is_there(), "a process that was started left no trace");
    expect(&daemon, &container, &STRICT)?;

    let trace = Trace::new(&daemon, "lies")?;
    let pod = cri.run_pod(&strict("many-lies").handler("lies"))?;
    let container = cri.create(&pod, &trace.left_by(app()))?;
    let error = refused(&daemon, &container)?;
    let subject = "pod default/many-lies, container app: refused before its start: ";
    says(&error, &[subject, "the created process holds groups", "(50000)", "delete the pod"])?;
    ensure!(!trace.is_there(), "the image's program was run");
    let status = cri.status(&container)?;
    ensure!(status.pid == 0, "it has a process: {status:?}");
    ensure!(status.message.contains("refused before its start"), "{status:?}");
    let line = plugin.wait_log(|line| line.contains("refused before its start"))?;
    for part in ["ERROR", "pod=\"many-lies\"", "namespace=\"default\"", "container=\"app\"", "(50000)"] {
        ensure!(line.contains(part), "no {part} in: {line}");
    }
    let lines = plugin.log().lines().filter(|line| line.contains("pod=\"many-lies\"")).count();
    ensure!(lines == 1, "{}", plugin.log());

    // A Merge container is left to its runtime.
    let pod = cri.run_pod(&Pod::new("many-merge").handler("lies"))?;
    expect_first(&daemon, &cri.launch(&pod, &app())?, &MERGED)?;
    merge_works(&daemon, "many-merge-after")?;
    strict_works(&daemon, "many-strict-after")?;
    ensure!(plugin.registrations() == 1, "{}", plugin.log());
    drop(plugin);
    daemon.stop()
}

/// The groups of the first process alone.
fn expect_first(daemon: &Containerd, container: &str, groups: &[u32]) -> Result<()> {
    let pid = daemon.cri().status(container)?.pid;
    has_groups(&e2e::Identity::of_process(pid)?, groups)
}

fn user_namespace(world: &World) -> Result<()> {
    let options = options(world, "userns")?.network();
    let daemon = fresh_with(world, Kind::V1_7, options)?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let cri = daemon.cri();
    let pod = |name: &str| strict(name).user_namespace(600_000, 65536);
    let container = cri.launch(&cri.run_pod(&pod("userns-fine"))?, &app())?;
    let groups = fs::read_to_string(format!("/proc/{}/status", cri.status(&container)?.pid))?;
    ensure!(groups.contains("Groups:\t603000 604000"), "{groups}");
    plugin.wait_log(|line| line.contains("INFO strict") && line.contains("userns-fine"))?;

    let container = cri.create(&cri.run_pod(&pod("userns-lies").handler("lies"))?, &app())?;
    says(&refused(&daemon, &container)?, &["the created process holds groups", "(50000)"])?;
    drop(plugin);
    daemon.stop()
}

fn nothing_written(world: &World) -> Result<()> {
    for kind in [Kind::V1_7, Kind::V2] {
        let daemon = fresh(world, kind)?;
        let store = Store::start(&daemon.dir().join("double.sock"), &daemon.socket())?;
        let plugin = Plugin::start_with_api(&daemon, store.socket())?;
        let pod = daemon.cri().run_pod(&strict("written").supplemental(&[4000]))?;
        store.calls();
        for (name, spec, updates, sandboxes) in
            [("first", nobody("first"), 0, 1), ("second", nobody("second"), 0, 0), ("app", app(), 1, 0)]
        {
            let container = daemon.cri().launch(&pod, &spec)?;
            expect(&daemon, &container, &STRICT).context(name)?;
            // The record was read once, after the creation.
            let (calls, wanted) = (store.calls(), Calls { sandboxes, containers: 1, updates });
            ensure!(calls == wanted, "{kind:?} {name}: {calls:?} instead of {wanted:?}");
            let config = fs::read_to_string(daemon.bundle(&container).join("config.json"))?;
            let gate = if updates == 0 {
                r#"--gate=pending","--pod=default/written","--container=first","--declared=4000""#
                    .replace("first", name)
            } else {
                "--gate=resolved".to_owned()
            };
            ensure!(config.contains(&gate), "no {gate} in {config}");
            let line = plugin
                .wait_log(|line| line.contains("INFO strict") && line.contains(&format!("\"{name}\"")))?;
            ensure!(line.contains("groups=\"3000,4000\""), "{line}");
        }
        drop(plugin);
        daemon.stop()?;
    }
    Ok(())
}

fn survives(world: &World) -> Result<()> {
    for kind in [Kind::V1_7, Kind::V2] {
        let daemon = fresh(world, kind)?;
        let cri = daemon.cri();
        let store = Store::start(&daemon.dir().join("double.sock"), &daemon.socket())?;
        let plugin = Plugin::start_with_api(&daemon, store.socket())?;
        let pod = cri.run_pod(&strict("survives").supplemental(&[4000]))?;
        // As if it were killed before post-create: it gets no further than CreateContainer.
        store.set(Fault::GetFails(|| Status::unavailable("as if it were killed")));
        let (harmless, needy) = (cri.create(&pod, &nobody("harmless"))?, cri.create(&pod, &app())?);
        let later = cri.create(&pod, &nobody("later"))?;
        plugin.stop(Signal::SIGKILL)?;
        cri.start(&harmless)?;
        expect(&daemon, &harmless, &STRICT)?;
        let error = refused(&daemon, &needy)?;
        says(&error, &["pod default/survives, container app: ", "Strict was never enforced"])?;

        // The next one finds nothing to write either.
        store.set(Fault::None);
        let plugin = Plugin::start_with_api(&daemon, store.socket())?;
        ensure!(store.calls().updates == 0, "{}", plugin.log());
        cri.start(&later)?;
        expect(&daemon, &later, &STRICT)?;
        drop(plugin);
        daemon.stop()?;
    }
    Ok(())
}

fn unreadable(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let cri = daemon.cri();
    let store = Store::start(&daemon.dir().join("double.sock"), &daemon.socket())?;
    let plugin = Plugin::start_with_api(&daemon, store.socket())?;
    let pod = cri.run_pod(&strict("unreadable").supplemental(&[4000]))?;
    for (name, fault, told) in [
        ("fails", Fault::GetFails(|| Status::unavailable("gone fishing")), "gone fishing"),
        ("hangs", Fault::GetHangs, "did not answer within"),
        (
            "no-metadata",
            Fault::Altered(|record| drop(record.extensions.remove("io.cri-containerd.container.metadata"))),
            "there is no extension",
        ),
    ] {
        store.set(Fault::GetFails(|| Status::unavailable("post-create")));
        let container = cri.create(&pod, &nobody(name))?;
        store.set(fault);
        let error = refused(&daemon, &container)?;
        let subject = format!("pod default/unreadable, container {name}: refused before its start: ");
        says(&error, &[&subject, "Strict cannot be verified", told, "the kubelet tries again"])
            .context(name)?;
    }
    store.set(Fault::None);
    let container = cri.create(&pod, &nobody("fine"))?;
    cri.start(&container)?;
    expect(&daemon, &container, &STRICT)?;
    ensure!(plugin.registrations() == 1, "{}", plugin.log());
    drop(plugin);
    daemon.stop()
}

fn mended(world: &World) -> Result<()> {
    let daemon = Arc::new(fresh_with(world, Kind::V1_7, options(world, "mended")?)?);
    let cri = daemon.cri();
    let store = Store::start(&daemon.dir().join("double.sock"), &daemon.socket())?;
    let plugin = Plugin::start_with_api(&daemon, store.socket())?;
    let pod = cri.run_pod(&strict("mended").supplemental(&[4000]).handler("pauses"))?;
    // What post-create reads is remembered, so it must not get that far.
    store.set(Fault::GetFails(|| Status::unavailable("post-create")));
    let container = cri.create(&pod, &nobody("app"))?;
    store.set(Fault::None);
    let starting = {
        let (daemon, container) = (Arc::clone(&daemon), container.clone());
        thread::spawn(move || daemon.cri().start(&container))
    };
    let created = daemon.bundle(&container).join("paused");
    wait_for(Duration::from_secs(20), || created.exists().then_some(())).context("it was not created")?;
    let wider = ("\"additionalGids\":[", "\"additionalGids\":[50000,");
    store::record(&daemon.socket(), &container, Some(wider))?;
    fs::remove_file(&created)?;
    starting.join().map_err(|_| anyhow!("starting panicked"))??;
    // The process was created by what the record said before; an exec is made by what it says now.
    expect(&daemon, &container, &STRICT)?;
    let record = store::record(&daemon.socket(), &container, None)?;
    let spec = String::from_utf8(record.spec.unwrap_or_default().value)?;
    ensure!(spec.contains(r#""additionalGids":[3000,4000]"#), "{spec}");
    let line = plugin.wait_log(|line| line.contains("INFO strict") && line.contains("pod=\"mended\""))?;
    ensure!(line.contains("removed_groups=\"50000(group-in-image)\""), "{line}");

    // It mends the record, and does not excuse the process.
    let pod = cri.run_pod(&strict("mended-lies").handler("lies"))?;
    store.set(Fault::GetFails(|| Status::unavailable("post-create")));
    let container = cri.create(&pod, &app())?;
    store.set(Fault::None);
    says(&refused(&daemon, &container)?, &["the created process holds groups", "(50000)"])?;
    let record = store::record(&daemon.socket(), &container, None)?;
    let spec = String::from_utf8(record.spec.unwrap_or_default().value)?;
    ensure!(spec.contains(r#""additionalGids":[3000,4000]"#), "{spec}");
    drop(plugin);
    daemon.stop()
}

/// Created while no plugin was registered, and catch-up could do nothing.
fn undecided(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let cri = daemon.cri();
    let create =
        |pod: Pod, spec: &ContainerSpec| -> Result<String> { Ok(cri.create(&cri.run_pod(&pod)?, spec)?) };
    let too_many = create(strict("undecided-strict"), &app())?;
    let harmless = create(strict("undecided-harmless"), &nobody("app"))?;
    let wrong = create(Pod::new("undecided-wrong").annotation(ANNOTATION, "strict"), &app())?;
    let merge = create(Pod::new("undecided-merge"), &app())?;
    let blind = create(strict("undecided-blind"), &nobody("app"))?;

    let store = Store::start(&daemon.dir().join("double.sock"), &daemon.socket())?;
    store.set(Fault::GetFails(|| Status::unavailable("during catch-up")));
    let plugin = Plugin::start_with_api(&daemon, store.socket())?;
    for pod in ["undecided-strict", "undecided-harmless", "undecided-wrong", "undecided-blind"] {
        plugin.wait_log(|line| line.contains("could not be enforced") && line.contains(pod))?;
    }
    let before = "refused before its start: ";
    says(&refused(&daemon, &blind)?, &[before, "cannot be verified", "during catch-up"])?;
    cri.start(&merge)?;
    expect(&daemon, &merge, &MERGED)?;
    store.set(Fault::None);
    says(&refused(&daemon, &too_many)?, &[before, "the created process holds groups", "(50000)"])?;
    says(&refused(&daemon, &wrong)?, &[before, "write Strict or Merge", "then delete the pod"])?;
    cri.start(&harmless)?;
    expect(&daemon, &harmless, &STRICT)?;
    drop(plugin);
    daemon.stop()
}

/// As under Kata Containers and gVisor, whose shims name a process that is not the container's.
fn hidden(world: &World) -> Result<()> {
    let daemon = fresh_with(world, Kind::V1_7, options(world, "hidden")?)?;
    let cri = daemon.cri();
    let store = Store::start(&daemon.dir().join("double.sock"), &daemon.socket())?;
    let plugin = Plugin::start_with_api(&daemon, store.socket())?;
    let kata = || {
        Fault::Altered(|record| {
            "io.containerd.kata.v2".clone_into(&mut record.runtime.get_or_insert_default().name);
        })
    };
    store.set(kata());
    // The runtime lies, and nobody can see it.
    let container = cri.launch(&cri.run_pod(&strict("hidden-fine").handler("lies"))?, &app())?;
    expect_first(&daemon, &container, &MERGED)?;
    let line = plugin.wait_log(|line| line.contains("pod=\"hidden-fine\""))?;
    for part in ["INFO", "cannot be seen", "runtime=\"io.containerd.kata.v2\"", "removed_groups=\"50000\""] {
        ensure!(line.contains(part), "no {part} in {line}");
    }
    // It is not compared with the node's process at the next registration either.
    drop(plugin);
    let plugin = Plugin::start_with_api(&daemon, store.socket())?;
    ensure!(!plugin.log().contains("VIOLATED"), "{}", plugin.log());

    store.set(Fault::GetFails(|| Status::unavailable("post-create")));
    let container = cri.create(&cri.run_pod(&strict("hidden-late").handler("lies"))?, &app())?;
    store.set(kata());
    let error = refused(&daemon, &container)?;
    says(
        &error,
        &["refused before its start: ", "(50000)", "under \"io.containerd.kata.v2\" cannot be seen"],
    )?;
    drop(plugin);
    daemon.stop()
}

/// The static gate may not know the policy of such a pod.
fn marker(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let cri = daemon.cri();
    let marked = |pod: &RunningPod, name: &str| -> Result<bool> {
        let container = cri.launch(pod, &named(name))?;
        expect(&daemon, &container, &MERGED)?;
        let config = fs::read_to_string(daemon.bundle(&container).join("config.json"))?;
        Ok(config.contains(r#"["strict-groups","hook","--gate=merge"]"#))
    };
    let older = cri.run_pod(&Pod::new("marker-older"))?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let young = cri.run_pod(&Pod::new("marker-young"))?;
    let nameless = Pod::new("marker-nameless").without_annotation("kubernetes.io/config.source");
    let nameless = cri.run_pod(&nameless)?;
    ensure!(marked(&older, "app")?, "no marker in a pod that is older than the registration");
    ensure!(!marked(&young, "app")?, "a marker in a pod that is younger than the registration");
    ensure!(marked(&nameless, "app")?, "no marker where nobody says that the annotations are passed on");
    drop(plugin);
    let plugin = Plugin::start(&daemon, None, &[])?;
    ensure!(marked(&young, "again")?, "no marker after the next registration");
    drop(plugin);
    daemon.stop()
}

/// Beside runc: a runtime that puts a group back and leaves the hooks out, and one that waits between `create` and its
/// own end until a file is taken out of the bundle.
pub(crate) fn options(world: &World, whose: &str) -> Result<Options> {
    let runc = world.machine.runc();
    let lies = script(
        world,
        &format!("{whose}-lies"),
        &runc,
        r#"case " $* " in *" create "*)
    grep -q '"io.kubernetes.cri.container-type":"container"' "$bundle/config.json" &&
        sed -i 's/"additionalGids":\[/&50000,/; s/"createRuntime":/"none":/' "$bundle/config.json" ;;
esac
exec "$runc" "$@""#,
    )?;
    let pauses = script(
        world,
        &format!("{whose}-pauses"),
        &runc,
        r#""$runc" "$@" || exit
case " $* " in *" create "*)
    grep -q '"io.kubernetes.cri.container-type":"container"' "$bundle/config.json" || exit 0
    touch "$bundle/paused"
    while [ -e "$bundle/paused" ]; do sleep 0.02; done ;;
esac"#,
    )?;
    Ok(Options::default()
        .nri()
        .handler(Handler::new("runc", runc))
        .handler(Handler::new("lies", lies))
        .handler(Handler::new("pauses", pauses)))
}

fn script(world: &World, name: &str, runc: &Path, body: &str) -> Result<PathBuf> {
    let path = world.run.dir().join(format!("runtime-{name}"));
    let runc = runc.display();
    // The shim has the runtime log into the bundle, at every call.
    let bundle = r#"for word; do [ "$last" = --log ] && bundle=$(dirname "$word"); last=$word; done"#;
    executable::script(&path, &format!("#!/bin/sh\nrunc='{runc}'\n{bundle}\n{body}\n"))?;
    Ok(path)
}

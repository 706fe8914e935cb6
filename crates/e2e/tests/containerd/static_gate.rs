//! The static gate on a real containerd 1.7 and 2.x, installed by the command's own output: no
//! moment is left in which a Strict pod starts unseen, and nothing else is stopped.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;

use crate::steps::{ANNOTATION, MERGED, STRICT, app, has_groups, strict};
use crate::world::{World, trial};
use e2e::{
    CONFIG_SOURCE, ContainerSpec, Containerd, Handler, Identity, Image, Kind, Options, Plugin, Pod,
    node_config,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("static_gate::containerd_1_7_without_the_plugin", |world| without_plugin(world, Kind::V1_7)),
        trial("static_gate::containerd_2_without_the_plugin", |world| without_plugin(world, Kind::V2)),
        trial("static_gate::containerd_1_7_with_the_plugin", |world| with_plugin(world, Kind::V1_7)),
        trial("static_gate::containerd_2_with_the_plugin", |world| with_plugin(world, Kind::V2)),
        trial("static_gate::containerd_1_7_makes_the_same_container", |world| same(world, Kind::V1_7)),
        trial("static_gate::containerd_2_makes_the_same_container", |world| same(world, Kind::V2)),
    ]
}

/// A containerd with two handlers and the example pod's image. It passes on more of the pods'
/// annotations than it should, so that a forged one reaches the gate.
fn start(world: &World, kind: Kind) -> Result<Containerd> {
    let runc = Handler::new("runc", world.machine.runc())
        .settings("pod_annotations = [\"test.example/*\", \"io.kubernetes.*\"]\n");
    let options = Options::default().handler(runc).handler(Handler::new("crun", world.machine.crun()));
    let daemon = node_config::start(&world.machine, &Arc::clone(&world.run), kind, options)?;
    daemon.import(&Image::example(&world.machine)?)?;
    Ok(daemon)
}

/// Runs the pod; its first process has these groups.
fn runs(daemon: &Containerd, pod: &Pod, spec: &ContainerSpec, groups: &[u32]) -> Result<()> {
    let pod = daemon.cri().run_pod(pod)?;
    let container = daemon.cri().launch(&pod, spec).with_context(|| format!("pod {}", pod.name()))?;
    let first = Identity::of_process(daemon.cri().status(&container)?.pid)?;
    has_groups(&first, groups).with_context(|| format!("pod {}", pod.name()))?;
    daemon.cri().remove_pod(&pod.id)?;
    Ok(())
}

/// Runs the pod's sandbox; its container does not start, with this text about it.
fn refused(daemon: &Containerd, pod: &Pod, spec: &ContainerSpec, why: &str) -> Result<()> {
    let text = refusal(daemon, pod, spec)?;
    let name = pod.config.metadata.clone().context("no metadata")?.name;
    let whom = format!("strict-groups: pod default/{name}, container app: ");
    ensure!(text.contains(&whom) && text.contains(why), "{text}");
    Ok(())
}

/// What the CRI says of a container that does not start although its sandbox does.
fn refusal(daemon: &Containerd, pod: &Pod, spec: &ContainerSpec) -> Result<String> {
    let pod = daemon.cri().run_pod(pod).context("the sandbox must start")?;
    let container = daemon.cri().create(&pod, spec)?;
    let Err(error) = daemon.cri().start(&container) else { bail!("pod {} was not refused", pod.name()) };
    daemon.cri().remove_pod(&pod.id)?;
    Ok(error.to_string())
}

const UNSEEN: &str = "the strict-groups plugin did not process this container";

fn without_plugin(world: &World, kind: Kind) -> Result<()> {
    let daemon = start(world, kind)?;
    node_config::configure(&world.machine, &daemon)?;
    let app = app();

    refused(&daemon, &strict("strict-runc"), &app, UNSEEN)?;
    // crun 1.8 keeps what a hook prints to itself.
    let text = refusal(&daemon, &strict("strict-crun").handler("crun"), &app)?;
    ensure!(text.contains("error executing hook") && text.contains("strict-groups"), "{text}");
    for handler in ["runc", "crun"] {
        runs(&daemon, &Pod::new(&format!("plain-{handler}")).handler(handler), &app, &MERGED)?;
    }
    runs(&daemon, &Pod::new("merge").annotation(ANNOTATION, "Merge"), &app, &MERGED)?;
    let for_app = format!("{ANNOTATION}/container.app");
    refused(&daemon, &Pod::new("app").annotation(&for_app, "Strict"), &app, UNSEEN)?;
    runs(&daemon, &strict("all-but-app").annotation(&for_app, "Merge"), &app, &MERGED)?;
    refused(&daemon, &Pod::new("typo").annotation(ANNOTATION, "strict"), &app, "write Strict or Merge")?;

    // A user whom the image gives nothing.
    let bare = ContainerSpec::new("app", "localhost/strict-groups/example:1").user(7).group(7);
    runs(&daemon, &strict("nothing-to-lose"), &bare, &[7])?;

    // What a pod's author may write.
    let mut forged = strict("forged");
    for prefix in ["io.kubernetes.cri", "io.kubernetes.cri-o"] {
        for (key, value) in [
            ("sandbox-id", "x"),
            ("container-type", "sandbox"),
            ("ContainerType", "sandbox"),
            ("sandbox-namespace", "kube-system"),
            ("sandbox-name", "static-node1"),
            ("container-name", "other"),
            ("ContainerID", ""),
        ] {
            forged = forged.annotation(&format!("{prefix}.{key}"), value);
        }
    }
    forged = forged.annotation("io.kubernetes.pod.namespace", "kube-system");
    forged = forged.annotation(&format!("{ANNOTATION}/container.other"), "Merge");
    fs::write(
        node_config::node_file(&daemon),
        "[exempt]\nnamespaces = [\"kube-system\"]\npods = [\"default/static-*\"]\n",
    )?;
    refused(&daemon, &forged, &app, UNSEEN)?;
    runs(&daemon, &strict("web").namespace("kube-system"), &app, &MERGED)?;
    runs(&daemon, &strict("static-node1"), &app, &MERGED)?;

    node_default(&daemon, &app, &bare)?;
    parallel(&daemon, &app)
}

/// What the node's configuration says counts at once, also when it is broken.
fn node_default(daemon: &Containerd, app: &ContainerSpec, bare: &ContainerSpec) -> Result<()> {
    let file = node_config::node_file(daemon);
    fs::write(&file, "default_policy = \"Strict\"\n")?;
    refused(daemon, &Pod::new("default"), app, UNSEEN)?;
    refused(daemon, &Pod::new("against").annotation(ANNOTATION, "Merge"), app, "demands Strict")?;

    fs::write(&file, "\ndefault_polcy = \"Strict\"\n")?;
    refused(daemon, &Pod::new("broken"), app, "node.toml is wrong")?;
    refused(daemon, &Pod::new("broken-line"), app, "line 2")?;
    runs(daemon, &strict("broken-bare"), bare, &[7])?;
    fs::write(&file, "")?;
    Ok(())
}

fn parallel(daemon: &Containerd, app: &ContainerSpec) -> Result<()> {
    std::thread::scope(|scope| {
        let refusal = scope.spawn(|| refused(daemon, &strict("at-once-strict"), app, UNSEEN));
        let start = scope.spawn(|| runs(daemon, &Pod::new("at-once-merge"), app, &MERGED));
        for thread in [refusal, start] {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        }
        Ok(())
    })
}

/// The command turns NRI on; with the plugin the static gate stops nothing.
fn with_plugin(world: &World, kind: Kind) -> Result<()> {
    let daemon = start(world, kind)?;
    node_config::configure(&world.machine, &daemon)?;
    let plugin = Plugin::start(&daemon, None, &[])?;
    let app = app();
    for handler in ["runc", "crun"] {
        runs(&daemon, &strict(&format!("strict-{handler}")).handler(handler), &app, &STRICT)?;
    }
    runs(&daemon, &Pod::new("plain"), &app, &MERGED)?;
    drop(plugin);
    refused(&daemon, &strict("after"), &app, UNSEEN)
}

/// A container's config.json is the same with the base spec as without, except for what is ours.
fn same(world: &World, kind: Kind) -> Result<()> {
    let daemon = start(world, kind)?;
    let specs = [app(), app().privileged()];
    let before: Vec<_> = specs.iter().map(|spec| config_json(&daemon, spec)).collect::<Result<_>>()?;
    node_config::configure(&world.machine, &daemon)?;
    for (spec, before) in specs.iter().zip(before) {
        only_ours_is_new(&before, config_json(&daemon, spec)?)?;
    }
    Ok(())
}

fn only_ours_is_new(before: &serde_json::Value, mut after: serde_json::Value) -> Result<()> {
    let hooks = after.as_object_mut().and_then(|spec| spec.remove("hooks")).context("no hooks")?;
    let args = hooks.pointer("/createRuntime/0/args").context("no createRuntime hook")?;
    ensure!(args.as_array().is_some_and(|args| args.iter().any(|arg| arg == "--gate=static")), "{args}");
    let annotations =
        after.get_mut("annotations").and_then(|all| all.as_object_mut()).context("no annotations")?;
    for ours in [ANNOTATION, CONFIG_SOURCE] {
        ensure!(annotations.remove(ours).is_some(), "the pod's annotation {ours} is not passed on");
    }
    ensure!(
        annotations.contains_key("test.example/a"),
        "an annotation that was passed on before is not any more"
    );
    ensure!(*before == after, "before: {before}\nafter: {after}");
    Ok(())
}

/// The spec of a container. What differs between any two is made equal: ids, and the process of the
/// sandbox, whose namespaces are joined.
fn config_json(daemon: &Containerd, spec: &ContainerSpec) -> Result<serde_json::Value> {
    let pod = Pod::new("same").annotation(ANNOTATION, "Merge").annotation("test.example/a", "1").privileged();
    let uid = pod.config.metadata.clone().context("no metadata")?.uid;
    let pod = daemon.cri().run_pod(&pod)?;
    let container = daemon.cri().launch(&pod, spec)?;
    let mut text = fs::read_to_string(daemon.bundle(&container).join("config.json"))?;
    daemon.cri().remove_pod(&pod.id)?;
    let sandbox = text.split("/proc/").find_map(|rest| Some(rest.split_once("/ns/ipc")?.0.to_owned()));
    let sandbox = format!("/proc/{}/ns/", sandbox.context("no namespace of the sandbox")?);
    for (from, to) in
        [(container.as_str(), "ID"), (&pod.id, "POD"), (&uid, "UID"), (&sandbox, "/proc/PID/ns/")]
    {
        text = text.replace(from, to);
    }
    let mut spec: serde_json::Value = serde_json::from_str(&text)?;
    // A privileged container has the machine's devices, and crun in another trial may just have given
    // /dev/null to somebody else.
    let devices = spec.pointer_mut("/linux/devices").and_then(serde_json::Value::as_array_mut);
    for device in devices.into_iter().flatten().filter_map(serde_json::Value::as_object_mut) {
        device.retain(|key, _| key != "uid" && key != "gid");
    }
    Ok(spec)
}

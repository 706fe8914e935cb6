//! What the proxy hands on to the plugin: the policy of a container's own request, and the declared groups.

use std::{
    fs,
    os::unix::fs::{MetadataExt, chown},
    path::PathBuf,
    thread,
};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use nix::sys::signal::Signal;
use prost::Message;
use serde_json::{Value, json};

use super::{ANNOTATION, TIMEOUT, app, garbled::Garbler, groups, node::Node, raw, refused, set};
use crate::world::World;
use e2e::{Kind, Pod, cri::v1, wait_for};

/// What is handed on at the moment.
fn files(node: &Node) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(node.requests())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    // Those that are being written have no names yet.
    files.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    Ok(files)
}

/// Waits until something is handed on.
fn file(node: &Node) -> Result<PathBuf> {
    wait_for(TIMEOUT, || files(node).ok()?.pop()).context("nothing is handed on")
}

fn read(file: &PathBuf) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(file)?)?)
}

/// A sandbox that was made before the proxy, or while the node did not have the feature.
pub(super) fn container_alone(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let direct = node.containerd.cri().run_pod(&Pod::new("old").strict_field())?;
    let without = proxy.cri.run_pod(&Pod::new("without"))?;
    for pod in [direct, without] {
        let name = pod.name();
        let container = proxy.cri.launch(&pod, &app().strict_field())?;
        ensure!(groups(&proxy.cri, &container)? == set(&[3000, 4000]), "pod {name}");
        // It is the container's own: the next one of the pod says nothing.
        let merge = proxy.cri.launch(&pod, &app().name("merge"))?;
        let expected: &[u32] = if name == "old" { &[3000, 4000] } else { &[3000, 4000, 50000] };
        ensure!(groups(&proxy.cri, &merge)? == set(expected), "pod {name}, without the field");
    }
    ensure!(files(&node)?.is_empty(), "{:?}", files(&node)?);
    proxy.cri.remove_all_pods()?;
    Ok(())
}

pub(super) fn sandbox_alone(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("web").strict_field())?;
    let container = proxy.cri.launch(&pod, &app())?;
    ensure!(groups(&proxy.cri, &container)? == set(&[3000, 4000]), "not strict");
    // Also when the runtime is called without the proxy: the sandbox has the annotation.
    let container = node.containerd.cri().launch(&pod, &app().name("direct"))?;
    ensure!(groups(&proxy.cri, &container)? == set(&[3000, 4000]), "not strict without the proxy");
    proxy.cri.remove_all_pods()?;
    Ok(())
}

/// Somebody who makes pods writes what the proxy, the kubelet and containerd write.
pub(super) fn forged(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let forge = |pod: Pod| {
        pod.annotation("io.kubernetes.container.restartCount", "7")
            .annotation("io.kubernetes.container.name", "other")
            .annotation("io.kubernetes.cri.container-name", "other")
            .annotation("io.kubernetes.cri.sandbox-uid", "00000000-0000-4000-8000-000000000000")
            .annotation("io.kubernetes.pod.uid", "00000000-0000-4000-8000-000000000000")
            .annotation("supplementalGroupsPolicy", "Merge")
    };
    let strict = app().strict_field().annotation("io.kubernetes.container.restartCount", "5");
    for pod in [Pod::new("sandbox").strict_field(), Pod::new("container")] {
        let pod = proxy.cri.run_pod(&forge(pod))?;
        // Annotated since: the kubelet sends it with each container.
        let pod = pod.annotated(ANNOTATION, "Merge");
        let container = proxy.cri.launch(&pod, &strict)?;
        ensure!(groups(&proxy.cri, &container)? == set(&[3000, 4000]), "{}", pod.name());
    }
    let pod =
        proxy.cri.run_pod(&forge(Pod::new("merge")).annotation("supplementalGroupsPolicy", "Strict"))?;
    let container = proxy.cri.launch(&pod, &app())?;
    ensure!(groups(&proxy.cri, &container)? == set(&[3000, 4000, 50000]), "not merged");
    proxy.cri.remove_all_pods()?;
    Ok(())
}

/// Killed after it passed the call on, while the plugin is asked.
pub(super) fn killed(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("web"))?;
    node.lose_plugin(Signal::SIGSTOP)?;
    let left = thread::scope(|scope| {
        let created = scope.spawn(|| proxy.cri.create(&pod, &app().strict_field()));
        let left = file(&node)?;
        proxy.stop(Signal::SIGKILL)?;
        node.lose_plugin(Signal::SIGCONT)?;
        let answer = created.join().map_err(|_| anyhow::anyhow!("the call panicked"))?;
        ensure!(answer.is_err(), "an answer without a proxy");
        anyhow::Ok(left)
    })?;
    ensure!(left.exists(), "a killed proxy cannot remove it");

    let next = node.proxy_on(&proxy.socket)?;
    ensure!(!left.exists(), "it stays");
    // The same name in the same sandbox, now without the field, and then with it.
    let merge = next.cri.launch(&pod, &app().attempt(1))?;
    ensure!(groups(&next.cri, &merge)? == set(&[3000, 4000, 50000]), "what was left decided");
    next.cri.stop(&merge)?;
    let strict = next.cri.launch(&pod, &app().attempt(2).strict_field())?;
    ensure!(groups(&next.cri, &strict)? == set(&[3000, 4000]), "not strict");
    // What became of the first one is not what the kubelet was told, but is not merged either.
    for id in raw::ids(&node.containerd.socket())? {
        let info = node.containerd.cri().status(&id)?.info;
        let has_gate = info.pointer("/runtimeSpec/hooks/createRuntime").is_some_and(Value::is_array);
        ensure!(has_gate != (id == merge), "{id} of {merge} and {strict}: {info}");
    }
    ensure!(files(&node)?.is_empty(), "{:?}", files(&node)?);
    next.cri.remove_all_pods()?;
    Ok(())
}

/// Containers of one name in several pods, half of them Strict, each with a group of its own.
pub(super) fn at_once(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    thread::scope(|scope| {
        let pods: Vec<_> = (0..8_u32)
            .map(|number| {
                let cri = &proxy.cri;
                scope.spawn(move || {
                    let strict = number % 2 == 0;
                    let pod = cri.run_pod(&Pod::new(&format!("web-{number}")))?;
                    for attempt in 0..4 {
                        let own = 4000 + number;
                        let spec = app().supplemental(&[own.into()]).attempt(attempt);
                        let spec = if strict { spec.strict_field() } else { spec };
                        let container = cri.launch(&pod, &spec)?;
                        let found = groups(cri, &container)?;
                        let merged: &[u32] = if strict { &[] } else { &[50000] };
                        let expected = set(&[&[3000, own], merged].concat());
                        ensure!(found == expected, "pod {number}, attempt {attempt}: {found:?}");
                        cri.stop(&container)?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        pods.into_iter().try_for_each(|pod| pod.join().map_err(|_| anyhow::anyhow!("it panicked"))?)
    })?;
    ensure!(files(&node)?.is_empty(), "{:?}", files(&node)?);
    proxy.cri.remove_all_pods()?;
    Ok(())
}

pub(super) fn planted(world: &World) -> Result<()> {
    const NOBODY: u32 = 65534;
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let folder = fs::metadata(node.requests())?;
    ensure!((folder.uid(), folder.mode() & 0o7777) == (0, 0o700), "{folder:?}");

    let pod = proxy.cri.run_pod(&Pod::new("web"))?;
    let file = node.requests().join(format!("{}+app", pod.id));
    let request = json!({
        "sandbox": pod.id, "pod_uid": "", "container": "app", "attempt": 0, "strict": false, "groups": [0, 50000],
    });
    fs::write(&file, request.to_string())?;
    chown(&file, Some(NOBODY), None)?;
    let words = ["pod default/web", "does not belong to root", file.to_str().context("a path")?];
    for spec in [app(), app().strict_field()] {
        let strict = spec.security.supplemental_groups_policy != 0;
        let code = if strict { tonic::Code::FailedPrecondition } else { tonic::Code::Unknown };
        refused(proxy.cri.create(&pod, &spec), code, &words)?;
    }
    // Root's, and about something else.
    chown(&file, Some(0), None)?;
    refused(
        proxy.cri.create(&pod, &app()),
        tonic::Code::Unknown,
        &["pod default/web, container app: ", "is not what the CRI proxy writes", "remove the file"],
    )?;
    fs::remove_file(&file)?;
    let merge = proxy.cri.launch(&pod, &app())?;
    ensure!(groups(&proxy.cri, &merge)? == set(&[3000, 4000, 50000]), "not merged");
    let strict = proxy.cri.launch(&pod, &app().name("strict").strict_field())?;
    ensure!(groups(&proxy.cri, &strict)? == set(&[3000, 4000]), "not strict");
    proxy.cri.remove_all_pods()?;
    Ok(())
}

/// A plugin that does not see what is handed on, such as one in a pod, makes a container Merge. It is taken back.
pub(super) fn elsewhere(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin_with(&["--requests-dir", "/nonexistent"])?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("web"))?;
    refused(
        proxy.cri.create(&pod, &app().strict_field()),
        tonic::Code::FailedPrecondition,
        &["pod default/web, container app: ", "did not process this container", "--requests-dir"],
    )?;
    ensure!(raw::ids(&node.containerd.socket())?.is_empty(), "it stayed");
    let pod = proxy.cri.run_pod(&Pod::new("field").strict_field())?;
    let strict = proxy.cri.launch(&pod, &app().strict_field())?;
    ensure!(groups(&proxy.cri, &strict)? == set(&[3000, 4000]), "the sandbox's annotation is enough");

    // Nothing can be written, for any user: what is not Strict does not pay.
    fs::remove_dir(node.requests())?;
    fs::write(node.requests(), "")?;
    refused(
        proxy.cri.create(&pod, &app().name("b").strict_field()),
        tonic::Code::FailedPrecondition,
        &["pod default/field", "cannot be enforced at the moment", "requests"],
    )?;
    let merge = proxy.cri.run_pod(&Pod::new("merge"))?;
    let merge = proxy.cri.launch(&merge, &app())?;
    ensure!(groups(&proxy.cri, &merge)? == set(&[3000, 4000, 50000]), "not merged");
    proxy.cri.remove_all_pods()?;
    Ok(())
}

/// The runtime says that it is CRI-O, which has no records.
fn renamed(method: &str, message: &Bytes) -> Vec<Bytes> {
    let renamed = || {
        let mut version = v1::VersionResponse::decode(message.get(5..)?).ok()?;
        "cri-o".clone_into(&mut version.runtime_name);
        let message = version.encode_to_vec();
        let length = u32::try_from(message.len()).ok()?.to_be_bytes();
        Some([&[0][..], &length, &message].concat().into())
    };
    vec![if method == "Version" { renamed().unwrap_or_default() } else { message.clone() }]
}

pub(super) fn declared(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let socket = node.containerd.dir().join("renamed.sock");
    let garbler = Garbler::start(&node.containerd.socket(), socket, renamed)?;
    let before_another = node.proxy_before(&garbler.socket)?;
    for (name, strict) in [("merge", false), ("strict", true)] {
        let pod = before_another.cri.run_pod(&Pod::new(name))?;
        let spec = app().supplemental(&[4000, 7]).attempt(3);
        let spec = if strict { spec.strict_field() } else { spec };
        node.lose_plugin(Signal::SIGSTOP)?;
        thread::scope(|scope| {
            let created = scope.spawn(|| before_another.cri.launch(&pod, &spec));
            let file = file(&node)?;
            let request = read(&file)?;
            node.lose_plugin(Signal::SIGCONT)?;
            for (field, value) in [
                ("groups", json!([4000, 7])),
                ("strict", json!(strict)),
                ("sandbox", json!(pod.id)),
                ("container", json!("app")),
                ("attempt", json!(3)),
            ] {
                ensure!(request.get(field) == Some(&value), "{field}: {request}");
            }
            let container = created.join().map_err(|_| anyhow::anyhow!("the call panicked"))??;
            let found = groups(node.containerd.cri(), &container)?;
            let expected: &[u32] = if strict { &[7, 3000, 4000] } else { &[7, 3000, 4000, 50000] };
            ensure!(found == set(expected), "{name}: {found:?}");
            ensure!(!file.exists(), "{name}: it stays");
            anyhow::Ok(())
        })?;
    }
    // containerd itself has a record, so a Merge container costs nothing.
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("containerd"))?;
    let before = fs::metadata(node.requests())?.modified()?;
    proxy.cri.launch(&pod, &app())?;
    ensure!(fs::metadata(node.requests())?.modified()? == before, "something was written");
    node.containerd.cri().remove_all_pods()?;
    Ok(())
}

//! What the proxy adds: the field, the status, `user.linux`.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use prost::Message;

use super::{ANNOTATION, SERVICE, app, groups, node::Node, raw, refused, set};
use crate::world::World;
use e2e::{ContainerSpec, Cri, Kind, Pod, RunningPod, cri::v1};

pub(super) fn field(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let cri = &proxy.cri;
    let pod = cri.run_pod(&Pod::new("field").strict_field())?;
    let container = cri.launch(&pod, &app().strict_field())?;
    ensure!(groups(cri, &container)? == set(&[3000, 4000]), "not strict");
    let user = cri.status(&container)?.user.context("no user")?;
    ensure!((user.uid, user.gid) == (1000, 3000), "{user:?}");
    ensure!(user.supplemental_groups == [3000, 4000], "{user:?}");

    let pod = cri.run_pod(&Pod::new("merge"))?;
    let container = cri.launch(&pod, &app())?;
    ensure!(groups(cri, &container)? == set(&[3000, 4000, 50000]), "not merged");
    // The annotation goes on working beside the field.
    let pod = cri.run_pod(&Pod::new("annotated").annotation(ANNOTATION, "Strict"))?;
    let container = cri.launch(&pod, &app())?;
    ensure!(groups(cri, &container)? == set(&[3000, 4000]), "the annotation has no effect");
    cri.remove_all_pods()?;
    Ok(())
}

/// The same requests to a 1.7 behind the proxy and to a 2.x without it.
pub(super) fn user(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let made =
        |cri: &Cri, pod: &Pod, spec: &ContainerSpec| -> Result<(v1::LinuxContainerUser, BTreeSet<u32>)> {
            let pod = cri.run_pod(pod)?;
            let container = cri.launch(&pod, spec)?;
            let user = cri.status(&container)?.user.context("no user")?;
            // The first answer with it is remembered; a kubelet does not ask for the verbose part.
            let again = cri.plain_status(&container)?;
            ensure!(again.info.is_empty(), "nobody asked for info");
            let again = again.status.and_then(|status| status.user).and_then(|user| user.linux);
            ensure!(again.as_ref() == Some(&user), "the second time {again:?}");
            let found = (user, groups(cri, &container)?);
            cri.remove_pod(&pod.id)?;
            Ok(found)
        };
    let root = ContainerSpec::new("app", "localhost/strict-groups/example:1").user(0);
    let specs = [
        ("strict", Pod::new("a").strict_field(), app().strict_field()),
        ("merge", Pod::new("b"), app()),
        ("root", Pod::new("c"), root.clone()),
        ("strict root", Pod::new("d").strict_field(), root.strict_field()),
    ];
    for (name, pod, spec) in specs {
        let (ours, theirs) = (made(&proxy.cri, &pod, &spec)?, made(world.new.cri(), &pod, &spec)?);
        let plain = |(user, groups): &(v1::LinuxContainerUser, BTreeSet<u32>)| {
            let listed: BTreeSet<i64> = user.supplemental_groups.iter().copied().collect();
            (user.uid, user.gid, listed, groups.clone())
        };
        ensure!(plain(&ours) == plain(&theirs), "{name}: ours {ours:?}, native {theirs:?}");
    }
    Ok(())
}

pub(super) fn refusals(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let cri = &proxy.cri;
    let contradicting = Pod::new("web").strict_field().annotation(ANNOTATION, "Merge");
    refused(
        cri.run_pod(&contradicting),
        tonic::Code::InvalidArgument,
        &["default/web", "Merge", "remove the annotation"],
    )?;
    refused(
        cri.run_pod(&Pod::new("web").policy(7)),
        tonic::Code::InvalidArgument,
        &["default/web", "supplementalGroupsPolicy 7"],
    )?;

    let pod = cri.run_pod(&Pod::new("web").strict_field())?;
    let mut unknown = app();
    unknown.security.supplemental_groups_policy = 7;
    refused(cri.create(&pod, &unknown), tonic::Code::InvalidArgument, &["default/web", "7"])?;

    // What the plugin finds: a key that does not exist, and an annotation that a pod had before the proxy came.
    let wrong =
        cri.run_pod(&Pod::new("wrong").strict_field().annotation(&format!("{ANNOTATION}/pods"), "Strict"))?;
    refused(
        cri.create(&wrong, &app().strict_field()),
        tonic::Code::Unknown,
        &["pod default/wrong, container app: ", "/pods", "delete the pod"],
    )?;
    let old = Pod::new("old").strict_field().annotation(ANNOTATION, "Merge");
    let old = node.containerd.cri().run_pod(&old)?;
    refused(
        cri.create(&old, &app().strict_field()),
        tonic::Code::Unknown,
        &["pod default/old, container app: ", "says Merge", "spec says Strict", "delete the pod"],
    )?;

    node.stop_plugin()?;
    let away = cri.create(&pod, &app().strict_field());
    refused(away, tonic::Code::FailedPrecondition, &["default/web", "cannot be enforced", "plugin"])?;
    let merge = cri.run_pod(&Pod::new("merge"))?;
    cri.launch(&merge, &app()).context("Merge pays")?;
    cri.remove_all_pods()?;
    Ok(())
}

/// The plugin is gone or hangs, and what it said last still counts: without a static gate, the runtime makes the
/// container as if there were no policy.
pub(super) fn missed(world: &World) -> Result<()> {
    for signal in [Signal::SIGKILL, Signal::SIGSTOP] {
        let node = Node::start(world, Kind::V1_7)?;
        node.plugin()?;
        let proxy = node.proxy()?;
        let pod = proxy.cri.run_pod(&Pod::new("web").strict_field())?;
        node.lose_plugin(signal)?;
        refused(
            proxy.cri.create(&pod, &app().strict_field()),
            tonic::Code::FailedPrecondition,
            &[
                "pod default/web, container app: ",
                "did not process this container",
                "the kubelet tries again",
            ],
        )
        .with_context(|| signal.to_string())?;
        let left = raw::ids(&node.containerd.socket())?;
        ensure!(left.is_empty(), "{signal}: it stayed: {left:?}");

        node.plugin()?;
        let container = proxy.cri.launch(&pod, &app().strict_field())?;
        ensure!(groups(&proxy.cri, &container)? == set(&[3000, 4000]), "{signal}: not strict afterwards");
        proxy.cri.remove_all_pods()?;
    }
    Ok(())
}

/// A container of which the runtime has no spec any more: it cannot say the verbose part, which only we ask for.
pub(super) fn no_worse(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("web"))?;
    let container = proxy.cri.create(&pod, &app())?;
    let removed = node.containerd.ctr().args(["containers", "rm", &container]).output()?;
    ensure!(removed.status.success(), "{removed:?}");
    let direct = node.containerd.cri();
    ensure!(direct.status(&container).is_err(), "the runtime still tells the verbose part");
    let (without, with) = (direct.plain_status(&container)?, proxy.cri.plain_status(&container)?);
    ensure!(without == with, "without {without:?}, with {with:?}");
    proxy.cri.remove_all_pods()?;
    Ok(())
}

pub(super) fn honest(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    let proxy = node.proxy()?;
    let has = || {
        Ok::<_, anyhow::Error>(
            proxy.cri.features()?.is_some_and(|features| features.supplemental_groups_policy),
        )
    };
    ensure!(!has()?, "without a plugin");
    node.plugin()?;
    ensure!(has()?, "with a plugin");
    node.stop_plugin()?;
    ensure!(!has()?, "after the plugin's end");
    ensure!(proxy.log().contains("does not support supplementalGroupsPolicy"), "{}", proxy.log());
    Ok(())
}

/// `ContainerEventResponse`, as far as it is looked at.
#[derive(Clone, PartialEq, Message)]
struct Event {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(message, repeated, tag = "5")]
    statuses: Vec<v1::ContainerStatus>,
}

pub(super) fn events(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let client = raw::Client::new(&proxy.socket)?;
    let mut container = String::new();
    let mut user = None;
    let pod: RunningPod = proxy.cri.run_pod(&Pod::new("events").strict_field())?;
    let id = proxy.cri.create(&pod, &app().strict_field())?;
    client.stream(
        &format!("{SERVICE}GetContainerEvents"),
        || {
            container.clone_from(&id);
            Ok(proxy.cri.start(&id)?)
        },
        |message| {
            let Ok(event) = Event::decode(message) else { return false };
            let status = event.statuses.into_iter().find(|status| event.container == id && status.id == id);
            user = status.and_then(|status| status.user).and_then(|user| user.linux);
            user.is_some()
        },
    )?;
    let user = user.context("no user")?;
    ensure!(user.supplemental_groups == [3000, 4000], "{user:?}");
    proxy.cri.remove_all_pods()?;
    Ok(())
}

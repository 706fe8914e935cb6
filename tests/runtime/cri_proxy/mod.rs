//! The CRI proxy before real containerds.

mod node;
mod raw;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;
use prost::Message;

use crate::{
    support::{ContainerSpec, Cri, Identity, Kind, Pod, RunningPod, cri::v1, wait_for},
    world::{World, trial},
};
use node::{Node, Proxy};

const SERVICE: &str = "/runtime.v1.RuntimeService/";
const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("cri_proxy::the_field_works_without_an_annotation", field),
        trial("cri_proxy::user_linux_is_as_native", user),
        trial("cri_proxy::refuses_what_it_cannot_keep", refusals),
        trial("cri_proxy::says_that_the_feature_is_there_while_it_is", honest),
        trial("cri_proxy::answers_as_without_it", alike),
        trial("cri_proxy::changes_nothing_on_a_native_runtime", native),
        trial("cri_proxy::events_have_the_user", events),
        trial("cri_proxy::survives_the_runtime_and_may_be_killed", lives),
    ]
}

fn spec() -> ContainerSpec {
    ContainerSpec::new("app", "localhost/strict-groups/announcement:1")
        .user(1000)
        .group(3000)
        .supplemental(&[4000])
}

/// Groups of the first process and of an exec, which must be the same.
fn groups(cri: &Cri, container: &str) -> Result<BTreeSet<u32>> {
    let first = Identity::of_process(cri.status(container)?.pid)?.groups();
    let exec = Identity::from_status(&cri.exec(container, &["cat", "/proc/self/status"])?.stdout)?.groups();
    ensure!(first == exec, "first process {first:?}, exec {exec:?}");
    Ok(first)
}

fn set(groups: &[u32]) -> BTreeSet<u32> {
    groups.iter().copied().collect()
}

fn refused(
    result: Result<impl Sized, crate::support::cri::CriError>,
    code: tonic::Code,
    words: &[&str],
) -> Result<()> {
    let Err(error) = result else { anyhow::bail!("{words:?} was not refused") };
    ensure!(error.code == code && words.iter().all(|word| error.message.contains(word)), "{error}");
    Ok(())
}

fn field(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let cri = &proxy.cri;
    let pod = cri.run_pod(&Pod::new("field").strict_field())?;
    let container = cri.launch(&pod, &spec().strict_field())?;
    ensure!(groups(cri, &container)? == set(&[3000, 4000]), "not strict");
    let user = cri.status(&container)?.user.context("no user")?;
    ensure!((user.uid, user.gid) == (1000, 3000), "{user:?}");
    ensure!(user.supplemental_groups == [3000, 4000], "{user:?}");

    let pod = cri.run_pod(&Pod::new("merge"))?;
    let container = cri.launch(&pod, &spec())?;
    ensure!(groups(cri, &container)? == set(&[3000, 4000, 50000]), "not merged");
    // The annotation goes on working beside the field.
    let pod = cri.run_pod(&Pod::new("annotated").annotation(ANNOTATION, "Strict"))?;
    let container = cri.launch(&pod, &spec())?;
    ensure!(groups(cri, &container)? == set(&[3000, 4000]), "the annotation has no effect");
    cri.remove_all_pods()?;
    Ok(())
}

/// The same requests to a 1.7 behind the proxy and to a 2.x without it.
fn user(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let made =
        |cri: &Cri, pod: &Pod, spec: &ContainerSpec| -> Result<(v1::LinuxContainerUser, BTreeSet<u32>)> {
            let pod = cri.run_pod(pod)?;
            let container = cri.launch(&pod, spec)?;
            let found = (cri.status(&container)?.user.context("no user")?, groups(cri, &container)?);
            cri.remove_pod(&pod.id)?;
            Ok(found)
        };
    let root = ContainerSpec::new("app", "localhost/strict-groups/announcement:1").user(0);
    let specs = [
        ("strict", Pod::new("a").strict_field(), spec().strict_field()),
        ("merge", Pod::new("b"), spec()),
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

fn refusals(world: &World) -> Result<()> {
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
    let mut unknown = spec();
    unknown.security.supplemental_groups_policy = 7;
    refused(cri.create(&pod, &unknown), tonic::Code::InvalidArgument, &["default/web", "7"])?;

    // A pod whose sandbox was made without the proxy.
    let old = node.containerd.cri().run_pod(&Pod::new("old").strict_field())?;
    refused(
        cri.create(&old, &spec().strict_field()),
        tonic::Code::FailedPrecondition,
        &["default/old", "app", "delete the pod"],
    )?;

    node.stop_plugin()?;
    let away = cri.create(&pod, &spec().strict_field());
    refused(away, tonic::Code::FailedPrecondition, &["default/web", "cannot be enforced", "plugin"])?;
    let merge = cri.run_pod(&Pod::new("merge"))?;
    cri.launch(&merge, &spec()).context("Merge pays")?;
    cri.remove_all_pods()?;
    Ok(())
}

fn honest(world: &World) -> Result<()> {
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

/// Every method of both services, with an empty request, with one that names something unknown, and with bytes
/// that are no message.
fn alike(world: &World) -> Result<()> {
    const RUNTIME: &[&str] = &[
        "Version",
        "RunPodSandbox",
        "StopPodSandbox",
        "RemovePodSandbox",
        "PodSandboxStatus",
        "ListPodSandbox",
        "CreateContainer",
        "StartContainer",
        "StopContainer",
        "RemoveContainer",
        "ListContainers",
        "ContainerStatus",
        "UpdateContainerResources",
        "ReopenContainerLog",
        "ExecSync",
        "Exec",
        "Attach",
        "PortForward",
        "ContainerStats",
        "ListContainerStats",
        "PodSandboxStats",
        "ListPodSandboxStats",
        "UpdateRuntimeConfig",
        "Status",
        "CheckpointContainer",
        "ListMetricDescriptors",
        "ListPodSandboxMetrics",
        "RuntimeConfig",
        "NoSuchMethod",
    ];
    const IMAGES: &[&str] = &["ListImages", "ImageStatus", "PullImage", "RemoveImage", "NoSuchMethod"];
    let node = Node::start(world, Kind::V1_7)?;
    let pod = node.containerd.cri().run_pod(&Pod::new("here"))?;
    node.containerd.cri().launch(&pod, &spec())?;
    let proxy = node.proxy()?;
    let (direct, through) = (raw::Client::new(&node.containerd.socket())?, raw::Client::new(&proxy.socket)?);
    // Field 1, "nothing": an id in most requests.
    let requests: [&[u8]; 3] = [b"", b"\x0a\x07nothing", b"\x0a\x07no"];
    let methods = RUNTIME.iter().map(|method| format!("{SERVICE}{method}"));
    let methods = methods.chain(IMAGES.iter().map(|method| format!("/runtime.v1.ImageService/{method}")));
    for method in methods.chain(["/no.such.Service/Method".to_owned()]) {
        for request in requests {
            let (without, with) = (direct.call(&method, request)?, through.call(&method, request)?);
            // Statistics change from call to call, and what we refuse ourselves has words of ours.
            let same = match (&without, &with) {
                (Ok(_), Ok(_)) if method.contains("Stats") || method.contains("Metrics") => true,
                (Err(_), Err((_, ours)))
                    if ours.starts_with("strict-groups: the request is not understood") =>
                {
                    true
                }
                (without, with) => without == with,
            };
            ensure!(same, "{method} {request:?}: without {without:?}, with {with:?}");
        }
    }
    for answer in through.many(&format!("{SERVICE}ListContainers"), b"", 500)? {
        let answer = answer.map_err(|(code, text)| anyhow::anyhow!("{code:?}: {text}"))?;
        ensure!(!answer.is_empty(), "an empty list");
    }
    node.containerd.cri().remove_all_pods()?;
    Ok(())
}

fn native(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V2)?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("strict").strict_field())?;
    let container = proxy.cri.launch(&pod, &spec().strict_field())?;
    ensure!(groups(&proxy.cri, &container)? == set(&[3000, 4000]), "not strict");
    let (direct, through) = (raw::Client::new(&node.containerd.socket())?, raw::Client::new(&proxy.socket)?);
    let by_id = |id: &str| [&[0x0a, u8::try_from(id.len()).unwrap_or_default()], id.as_bytes()].concat();
    let calls = [
        ("Status", Vec::new()),
        ("Version", Vec::new()),
        ("ContainerStatus", by_id(&container)),
        ("ContainerStatus", [by_id(&container), vec![0x10, 1]].concat()),
        ("PodSandboxStatus", by_id(&pod.id)),
        ("ListContainers", Vec::new()),
        ("ListPodSandbox", Vec::new()),
    ];
    for (method, request) in calls {
        let path = format!("{SERVICE}{method}");
        let (without, with) = (direct.call(&path, &request)?, through.call(&path, &request)?);
        // The order of a map is another one each time that Go writes it.
        let ordered = |answer: raw::Answer| {
            answer.map(|mut bytes| {
                bytes.sort_unstable();
                bytes
            })
        };
        ensure!(ordered(without) == ordered(with), "{method} is not the same");
    }
    let status = direct.call(&format!("{SERVICE}PodSandboxStatus"), &by_id(&pod.id))?;
    let status = status.map_err(|(_, text)| anyhow::anyhow!(text))?;
    ensure!(!String::from_utf8_lossy(&status).contains(ANNOTATION), "the sandbox was annotated");
    ensure!(proxy.log().matches("supports supplementalGroupsPolicy itself").count() == 1, "{}", proxy.log());
    proxy.cri.remove_all_pods()?;
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

fn events(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let client = raw::Client::new(&proxy.socket)?;
    let mut container = String::new();
    let mut user = None;
    let pod: RunningPod = proxy.cri.run_pod(&Pod::new("events").strict_field())?;
    let id = proxy.cri.create(&pod, &spec().strict_field())?;
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

fn lives(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("web").strict_field())?;
    let container = proxy.cri.launch(&pod, &spec().strict_field())?;

    node.containerd.halt(Signal::SIGKILL)?;
    refused(proxy.cri.version(), tonic::Code::Unavailable, &["cannot be reached"])?;
    node.containerd.launch()?;
    wait_for(PATIENCE, || proxy.cri.is_ready().then_some(()))
        .context("the runtime is back, and not for the proxy")?;
    ensure!(groups(&proxy.cri, &container)? == set(&[3000, 4000]), "after the runtime's restart");

    // Killed: the next one takes the socket, and all is there.
    proxy.stop(Signal::SIGKILL)?;
    let next = Proxy::start(&node, &proxy.socket)?;
    ensure!(groups(&next.cri, &container)? == set(&[3000, 4000]), "after the proxy's restart");
    next.stop(Signal::SIGTERM)?;
    ensure!(next.log().contains("stopped"), "{}", next.log());
    node.containerd.cri().remove_all_pods()?;
    Ok(())
}

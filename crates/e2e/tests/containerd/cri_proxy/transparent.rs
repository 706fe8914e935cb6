//! What the proxy leaves as it is.

use anyhow::{Result, ensure};
use prost::Message;

use super::{ANNOTATION, SERVICE, app, groups, node::Node, raw, set};
use crate::world::World;
use e2e::{Kind, Pod, cri::v1};

/// Every method of both services, with an empty request, with one that names something unknown, and with bytes
/// that are no message.
pub(super) fn alike(world: &World) -> Result<()> {
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
    node.containerd.cri().launch(&pod, &app())?;
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
                    if ours.starts_with("strict-groups: the request is no protobuf message") =>
                {
                    true
                }
                // The order of lists and maps is another one each time that Go writes them.
                (Ok(without), Ok(with)) => sorted(without) == sorted(with),
                (without, with) => without == with,
            };
            ensure!(same, "{method} {request:?}: without {without:?}, with {with:?}");
        }
    }
    for answer in through.many(&format!("{SERVICE}ListContainers"), b"", 2000)? {
        let answer = answer.map_err(|(code, text)| anyhow::anyhow!("{code:?}: {text}"))?;
        ensure!(!answer.is_empty(), "an empty list");
    }
    node.containerd.cri().remove_all_pods()?;
    Ok(())
}

pub(super) fn native(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V2)?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("strict").strict_field())?;
    let container = proxy.cri.launch(&pod, &app().strict_field())?;
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

/// As much as containerd answers at all: 16 MiB.
pub(super) fn large(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    let cri = node.containerd.cri();
    let pod = cri.run_pod(&Pod::new("large"))?;
    for number in 0..60 {
        let mut spec = app().annotation("large", &"x".repeat(250_000));
        spec.config.metadata = Some(v1::ContainerMetadata { name: format!("c{number}"), attempt: 0 });
        cri.create(&pod, &spec)?;
    }
    let proxy = node.proxy()?;
    let list = |socket: &std::path::Path| -> Result<Vec<u8>> {
        let answer = raw::Client::new(socket)?.call(&format!("{SERVICE}ListContainers"), b"")?;
        answer.map_err(|(code, text)| anyhow::anyhow!("{code:?}: {text}"))
    };
    let (mut direct, mut through) = (list(&node.containerd.socket())?, list(&proxy.socket)?);
    ensure!(direct.len() > 15_000_000, "{} bytes are not large", direct.len());
    // The order of the containers is another one each time.
    direct.sort_unstable();
    through.sort_unstable();
    ensure!(direct == through, "the proxy's list is another one");

    // An error that repeats what it was asked for.
    let request = v1::ContainerStatusRequest { container_id: "c".repeat(40_000), verbose: false };
    let error = |socket: &std::path::Path| {
        raw::Client::new(socket)?.call(&format!("{SERVICE}ContainerStatus"), &request.encode_to_vec())
    };
    let (direct, through) = (error(&node.containerd.socket())?, error(&proxy.socket)?);
    ensure!(direct.as_ref().is_err_and(|(_, text)| text.len() > 40_000), "no long error: {direct:?}");
    ensure!(direct == through, "{:?} instead of a long error", through.map_err(|(code, _)| code));
    cri.remove_all_pods()?;
    Ok(())
}

fn sorted(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.sort_unstable();
    bytes
}

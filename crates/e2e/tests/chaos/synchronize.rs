//! A node with 5000 containers, played by the test, and the real plugin.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nri_plugin::api::{
    ConfigureRequest, ConfigureResponse, Container, ContainerState, CreateContainerRequest,
    CreateContainerResponse, PodSandbox, SynchronizeRequest, SynchronizeResponse,
};

use crate::bench::{Bench, trial};
use crate::steps::Policy;
use e2e::nri_peer::{Runtime, request};
use e2e::usage::Usage;
use e2e::{Run, plugin::binary};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("synchronize::five_thousand_containers_in_one_piece", |bench| registers(bench, 1)),
        trial("synchronize::five_thousand_containers_in_parts", |bench| registers(bench, 5)),
    ]
}

const PODS: usize = 1000;
const CONTAINERS: usize = 5000;

/// The process, ended with the trial.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn registers(bench: &Bench, parts: usize) -> Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let runtime = Runtime::listen();
        let api = runtime.path.with_file_name("containerd.sock");
        // The system takes the connection and nobody answers: the catch-up waits for each container.
        let _silent = UnixListener::bind(&api)?;
        let process = start(&bench.run, &runtime, &api)?;
        let mut peer = runtime.accept().await;
        peer.register().await;
        let configure = ConfigureRequest {
            runtime_name: "containerd".to_owned(),
            runtime_version: "v1.7.24".to_owned(),
            ..ConfigureRequest::default()
        };
        peer.ok::<ConfigureResponse>("Configure", &configure).await;
        let before = Usage::of(process.0.id())?;

        let mut size = 0;
        for part in 0..parts {
            let message = state(part, parts);
            size += prost::Message::encoded_len(&message);
            let more = message.more;
            let answer: SynchronizeResponse = peer.ok("Synchronize", &message).await;
            ensure!(answer.more == more, "part {part} of {parts}: more is {}", answer.more);
        }
        ensure!(size > 4 << 20, "only {size} bytes");

        // It is in service at once, whatever it still has to look at.
        let merge = peer.ok::<CreateContainerResponse>("CreateContainer", &create(Policy::Merge)).await;
        ensure!(merge.adjust.is_none(), "a Merge container is changed");
        let strict = request("CreateContainer", &create(Policy::Strict));
        let (_, text) = peer.fails(&strict).await;
        ensure!(text.contains("Strict cannot be enforced at the moment"), "{text}");

        let after = Usage::of(process.0.id())?;
        println!(
            "synchronize, {CONTAINERS} containers, {size} bytes, messages {parts}: before {before}; after {after}"
        );
        ensure!(after.rss < LARGEST, "too much memory: {after}");
        Ok(())
    })
}

fn start(run: &Run, runtime: &Runtime, api: &std::path::Path) -> Result<Process> {
    let log = File::create(runtime.path.with_file_name("log"))?;
    let mut command = Command::new(binary(run)?);
    command.arg("plugin").arg("--nri-socket").arg(&runtime.path).arg("--containerd-socket").arg(api);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    run.spawn(&mut command).map(Process).context("the plugin")
}

/// One part of the node's state: every other pod asks for Strict, and a few containers wait for their start.
fn state(part: usize, parts: usize) -> SynchronizeRequest {
    let share = |all: usize| part * all / parts..(part + 1) * all / parts;
    let policy = |number: usize| if number.is_multiple_of(2) { Policy::Strict } else { Policy::Merge };
    SynchronizeRequest {
        pods: share(PODS).map(|number| pod(number, policy(number))).collect(),
        containers: share(CONTAINERS).map(container).collect(),
        more: part + 1 < parts,
    }
}

fn pod(number: usize, policy: Policy) -> PodSandbox {
    PodSandbox {
        id: format!("{number:064}"),
        name: format!("pod{number}"),
        namespace: "default".to_owned(),
        annotations: policy.pod("any").annotations().clone(),
        ..PodSandbox::default()
    }
}

fn container(number: usize) -> Container {
    let created = number.is_multiple_of(50);
    let state = if created { ContainerState::ContainerCreated } else { ContainerState::ContainerRunning };
    Container {
        id: format!("{number:064}"),
        pod_sandbox_id: format!("{:064}", number % PODS),
        name: "app".to_owned(),
        state: state.into(),
        labels: HashMap::from([("io.kubernetes.container.name".to_owned(), "app".to_owned())]),
        env: (0..20).map(|n| format!("VARIABLE_{n}={}", "x".repeat(40))).collect(),
        // Where no process is.
        pid: if created { 0 } else { 4_194_305 },
        ..Container::default()
    }
}

fn create(policy: Policy) -> CreateContainerRequest {
    CreateContainerRequest {
        pod: Some(pod(PODS, policy)),
        container: Some(Container { name: "app".to_owned(), ..Container::default() }),
    }
}

/// Resident memory in KiB that the plugin may have with this state; 13 MiB were seen, since the allocator keeps
/// what it once had.
const LARGEST: u64 = 16 * 1024;

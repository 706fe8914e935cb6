//! A CRI-O as far as `list` asks it. There is none on the machine: this server answers as CRI-O's source has it, with
//! a real config.json of CRI-O 1.30, beside real processes.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tonic::codegen::tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use super::{items, list};
use crate::world::{World, trial};
use e2e::cri::v1;
use e2e::{Identity, wait_for};
use v1::runtime_service_server::{RuntimeService, RuntimeServiceServer};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("list::containers_of_cri_o", containers)]
}

const CONFIG: &str = include_str!("../../../../../tests/fixtures/crio-1.30.14/config.container.json");
const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";

/// What the CRI says of one container.
struct Listed {
    name: &'static str,
    strict: bool,
    state: v1::ContainerState,
    pid: u32,
    spec: Value,
}

struct Crio(Vec<Listed>);

/// The real spec, with the gate as the plugin leaves it; the wrapper's work does not show in CRI-O's memory.
fn gated(arguments: &[&str]) -> Result<Value> {
    let mut spec: Value = serde_json::from_str(CONFIG)?;
    let gate: Vec<&str> = ["strict-groups", "hook", "--gate=pending", "--pod=default/p", "--container=c"]
        .into_iter()
        .chain(arguments.iter().copied())
        .collect();
    spec["hooks"]["createRuntime"] = json!([{ "path": "/usr/bin/strict-groups", "args": gate }]);
    Ok(spec)
}

/// A first process with these groups, in a root whose /etc/group is the example pod's.
struct Processes {
    root: PathBuf,
    children: Vec<Child>,
}

impl Processes {
    fn new(world: &World, dir: &Path) -> Result<Self> {
        let root = dir.join("root");
        fs::create_dir_all(root.join("bin"))?;
        fs::create_dir(root.join("etc"))?;
        fs::copy(world.machine.busybox(), root.join("bin/sleep"))?;
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n")?;
        fs::write(root.join("etc/group"), "root:x:0:\nalice:x:1000:\ngroup-in-image:x:50000:alice\n")?;
        Ok(Self { root, children: Vec::new() })
    }

    fn start(&mut self, world: &World, groups: &str) -> Result<u32> {
        let child = world.run.spawn(
            Command::new("chroot")
                .args(["--userspec=1000:3000", &format!("--groups={groups}")])
                .arg(&self.root)
                .args(["/bin/sleep", "2147483647"])
                .stdin(Stdio::null()),
        )?;
        let pid = child.id();
        self.children.push(child);
        // Until it is who it shall be.
        let up = || Identity::of_process(pid).ok().filter(|identity| identity.uid == 1000);
        wait_for(Duration::from_secs(10), up).context("no process")?;
        Ok(pid)
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn containers(world: &World) -> Result<()> {
    let dir = world.run.dir().join("crio-double");
    fs::create_dir(&dir)?;
    let mut processes = Processes::new(world, &dir)?;
    let running = v1::ContainerState::ContainerRunning;
    let (good, bad) = (processes.start(world, "3000,4000")?, processes.start(world, "3000,4000,50000")?);
    let container = |name, strict, state, pid, spec| Listed { name, strict, state, pid, spec };
    let plain = || serde_json::from_str::<Value>(CONFIG);
    let double = Crio(vec![
        container("strict", true, running, good, gated(&["--declared=4000"])?),
        container("declared-unknown", true, running, good, gated(&[])?),
        container("violated", true, running, bad, gated(&[])?),
        // Declared, although the image has it as well.
        container("declared-both", true, running, bad, gated(&["--declared=4000,50000"])?),
        container("merge", false, running, bad, plain()?),
        container("waiting", true, v1::ContainerState::ContainerCreated, good, gated(&[])?),
        container("ended", true, v1::ContainerState::ContainerExited, bad, gated(&[])?),
    ]);
    let socket = dir.join("crio.sock");
    let server = Server::start(&socket, double)?;

    let json = list(&world.run, &socket, &["-o", "json"])?.exits(0)?;
    let report: Value = serde_json::from_str(&json)?;
    ensure!(report["runtime"] == json!({"name": "cri-o", "version": "1.30.14"}), "{json}");
    let found = items(&json)?;
    let verdict =
        |name: &str| found.get(&format!("p-{name}/c")).map_or(Value::Null, |item| item["verdict"].clone());
    for (name, wanted) in [
        ("strict", "Strict"),
        ("declared-unknown", "Strict"),
        ("violated", "Violated"),
        ("declared-both", "Strict"),
        ("merge", "WouldLoseGroups"),
        ("waiting", "NotStarted"),
        ("ended", "Ended"),
    ] {
        ensure!(verdict(name) == wanted, "{name}: {} instead of {wanted}: {json}", verdict(name));
    }
    ensure!(found.len() == 7, "{json}");
    let violated = &found["p-violated/c"];
    ensure!(violated["beyondStrict"] == json!([{ "gid": 50000, "name": "group-in-image" }]), "{violated}");
    ensure!(violated["declaredGroups"].is_null(), "{violated}");
    ensure!(found["p-strict/c"]["declaredGroups"] == json!([4000]), "{json}");
    ensure!(found["p-declared-both/c"]["imageGroups"] == json!([]), "{json}");
    list(&world.run, &socket, &["--violations"])?.exits(1)?;
    drop(server);
    let gone = list(&world.run, &socket, &[])?;
    ensure!(gone.code == Some(1) && gone.stdout.is_empty(), "{:?} {}", gone.code, gone.stdout);
    ensure!(gone.stderr.contains("crio.sock") && gone.stderr.lines().count() == 1, "{}", gone.stderr);
    Ok(())
}

/// The running server; dropping it ends it.
struct Server {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(socket: &Path, double: Crio) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            UnixListener::bind(socket).context("the double's socket")?
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let incoming = UnixListenerStream::new(listener);
            let service = RuntimeServiceServer::new(double);
            runtime.block_on(async {
                tokio::select! {
                    _ = tonic::transport::Server::builder().serve_with_incoming(service, incoming) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Methods that `list` has no need of.
macro_rules! not_asked {
    ($($method:ident($request:ident) -> $response:ident;)*) => {
        // As `async_trait` would write it; it does not look into macros.
        $(fn $method<'a, 'b>(
            &'a self,
            _: Request<v1::$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<v1::$response>, Status>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($method))) })
        })*
    };
}

#[tonic::async_trait]
impl RuntimeService for Crio {
    async fn version(&self, _: Request<v1::VersionRequest>) -> Result<Response<v1::VersionResponse>, Status> {
        Ok(Response::new(v1::VersionResponse {
            version: "0.1.0".to_owned(),
            runtime_name: "cri-o".to_owned(),
            runtime_version: "1.30.14".to_owned(),
            runtime_api_version: "v1".to_owned(),
        }))
    }

    async fn list_pod_sandbox(
        &self,
        _: Request<v1::ListPodSandboxRequest>,
    ) -> Result<Response<v1::ListPodSandboxResponse>, Status> {
        let pod = |listed: &Listed| {
            let policy = listed.strict.then(|| (ANNOTATION.to_owned(), "Strict".to_owned()));
            v1::PodSandbox {
                id: format!("sandbox-{}", listed.name),
                metadata: Some(v1::PodSandboxMetadata {
                    name: format!("p-{}", listed.name),
                    uid: format!("uid-{}", listed.name),
                    namespace: "default".to_owned(),
                    attempt: 0,
                }),
                state: 0,
                labels: HashMap::new(),
                annotations: policy.into_iter().collect(),
            }
        };
        Ok(Response::new(v1::ListPodSandboxResponse { items: self.0.iter().map(pod).collect() }))
    }

    async fn list_containers(
        &self,
        _: Request<v1::ListContainersRequest>,
    ) -> Result<Response<v1::ListContainersResponse>, Status> {
        let container = |listed: &Listed| v1::Container {
            id: format!("container-{}", listed.name),
            pod_sandbox_id: format!("sandbox-{}", listed.name),
            metadata: Some(v1::ContainerMetadata { name: "c".to_owned(), attempt: 0 }),
            state: listed.state.into(),
            created_at: 0,
            labels: HashMap::new(),
            annotations: HashMap::new(),
        };
        Ok(Response::new(v1::ListContainersResponse { containers: self.0.iter().map(container).collect() }))
    }

    async fn container_status(
        &self,
        request: Request<v1::ContainerStatusRequest>,
    ) -> Result<Response<v1::ContainerStatusResponse>, Status> {
        let v1::ContainerStatusRequest { container_id, verbose } = request.into_inner();
        let found = self.0.iter().find(|listed| container_id == format!("container-{}", listed.name));
        let listed = found.ok_or_else(|| Status::not_found(container_id))?;
        let info = json!({
            "sandboxID": format!("sandbox-{}", listed.name),
            "pid": listed.pid,
            "runtimeSpec": listed.spec,
            "privileged": false,
        });
        let info = verbose.then(|| ("info".to_owned(), info.to_string()));
        Ok(Response::new(v1::ContainerStatusResponse { status: None, info: info.into_iter().collect() }))
    }

    not_asked! {
        status(StatusRequest) -> StatusResponse;
        run_pod_sandbox(RunPodSandboxRequest) -> RunPodSandboxResponse;
        pod_sandbox_status(PodSandboxStatusRequest) -> PodSandboxStatusResponse;
        stop_pod_sandbox(StopPodSandboxRequest) -> StopPodSandboxResponse;
        remove_pod_sandbox(RemovePodSandboxRequest) -> RemovePodSandboxResponse;
        create_container(CreateContainerRequest) -> CreateContainerResponse;
        start_container(StartContainerRequest) -> StartContainerResponse;
        stop_container(StopContainerRequest) -> StopContainerResponse;
        remove_container(RemoveContainerRequest) -> RemoveContainerResponse;
        exec_sync(ExecSyncRequest) -> ExecSyncResponse;
    }
}

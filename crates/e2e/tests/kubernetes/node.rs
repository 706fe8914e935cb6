//! A node: the plugin's process and the runtime's end of its connection.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use nri_plugin::api::{
    ConfigureRequest, ConfigureResponse, Container, CreateContainerRequest, CreateContainerResponse, Event,
    PodSandbox, StateChangeEvent,
};
use tokio::net::UnixListener;

use e2e::{
    kube_api::KubeApi,
    nri_peer::{Peer, request},
    process::{Process, binary, plugin},
};

pub const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";

pub struct Node {
    pub process: Process,
    peer: Peer,
    /// Its answer to Configure.
    pub configured: ConfigureResponse,
}

impl Node {
    /// The plugin on a node with CRI-O, which asks `api` by a kubeconfig with a token.
    pub async fn asking(api: &KubeApi) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = api.kubeconfig(dir.path(), "{token: secret}");
        Self::with(dir, &enabled(&kubeconfig)).await
    }

    /// The plugin with this configuration file; `dir` becomes its folder.
    pub async fn with(dir: tempfile::TempDir, config: &str) -> Self {
        let mut command = Command::new(binary(dir.path()));
        command.args(arguments(dir.path(), config));
        Self::by(dir, &mut command).await
    }

    /// The plugin, started by this command.
    pub async fn by(dir: tempfile::TempDir, command: &mut Command) -> Self {
        let listener = UnixListener::bind(dir.path().join("nri.sock")).unwrap();
        let process = Process::spawn(dir, command);
        let accepted = tokio::time::timeout(Duration::from_secs(20), listener.accept()).await;
        let Ok(accepted) = accepted else { panic!("no plugin came: {}", process.log()) };
        let mut peer = Peer::new(accepted.unwrap().0);
        let configure = ConfigureRequest {
            runtime_name: "cri-o".into(),
            runtime_version: "1.30.14".into(),
            ..ConfigureRequest::default()
        };
        let configured = peer.introduce(configure).await;
        Self { process, peer, configured }
    }

    /// Tells of a pod's sandbox.
    pub async fn told(&mut self, event: Event, pod: &PodSandbox) {
        let event =
            StateChangeEvent { event: event.into(), pod: Some(pod.clone()), ..StateChangeEvent::default() };
        self.peer.ok::<()>("StateChange", &event).await;
    }

    /// Tells of a pod's sandbox, and waits until the API server has told of the pod: on a busy machine that may
    /// take longer than a container waits.
    pub async fn known(&mut self, pod: &PodSandbox) {
        const ANSWER: &str = "the Kubernetes API pod=\"web\"";
        let before = self.process.log().matches(ANSWER).count();
        self.told(Event::RunPodSandbox, pod).await;
        self.process.until(ANSWER, before + 1);
    }

    /// The gate's arguments of a container, None without one; and how long it took.
    pub async fn created(&mut self, pod: &PodSandbox) -> (Option<Vec<String>>, Duration) {
        let begin = Instant::now();
        let answer: CreateContainerResponse = self.peer.ok("CreateContainer", &create(pod)).await;
        let hooks = answer.adjust.and_then(|adjust| adjust.hooks);
        (hooks.map(|hooks| hooks.create_runtime[0].args.clone()), begin.elapsed())
    }

    /// Why a container is refused.
    pub async fn refused(&mut self, pod: &PodSandbox) -> String {
        self.peer.fails(&request("CreateContainer", &create(pod))).await.1
    }

    /// The groups in the gate of a container that has to be Strict.
    pub async fn declared(&mut self, pod: &PodSandbox) -> Option<String> {
        let gate = self.created(pod).await.0.expect("not Strict");
        assert_eq!(gate[2..5], ["--gate=pending", "--pod=default/web", "--container=app"]);
        gate.get(5).map(|arg| arg.strip_prefix("--declared=").unwrap().to_owned())
    }
}

/// The configuration that has this kubeconfig used.
pub fn enabled(kubeconfig: &Path) -> String {
    format!("[kubernetes]\nenabled = true\nkubeconfig = \"{}\"\n", kubeconfig.display())
}

/// The plugin's command line with this configuration.
pub fn arguments(dir: &Path, config: &str) -> Vec<std::ffi::OsString> {
    let file = dir.join("config.toml");
    fs::write(&file, config).unwrap();
    let first = ["--log-level".into(), "debug".into()].into_iter();
    first.chain(plugin(dir)).chain(["--config".into(), file.into()]).collect()
}

/// The pod `default/web` with the uid `u-1`, as the kubelet has it from the API server.
pub fn web() -> PodSandbox {
    PodSandbox {
        id: "sandbox-1".into(),
        name: "web".into(),
        uid: "u-1".into(),
        namespace: "default".into(),
        annotations: [("kubernetes.io/config.source".into(), "api".into())].into(),
        ..PodSandbox::default()
    }
}

/// The same, with this annotation for the whole pod.
pub fn annotated(policy: &str) -> PodSandbox {
    let mut pod = web();
    pod.annotations.insert(ANNOTATION.into(), policy.into());
    pod
}

fn create(pod: &PodSandbox) -> CreateContainerRequest {
    let container = Container { id: "c".into(), name: "app".into(), ..Container::default() };
    CreateContainerRequest { pod: Some(pod.clone()), container: Some(container) }
}

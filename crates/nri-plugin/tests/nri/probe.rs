//! A plugin that notes what it is called for and does as it is told, and a run of it.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use nri_plugin::{
    self, BoxError, Error, Events, Identity, Options, Plugin, RuntimeInfo, RuntimeService,
    api::{
        Container, ContainerAdjustment, ContainerUpdate, CreateContainerResponse, Hook, Hooks,
        LinuxResources, PodSandbox, StopContainerResponse, UpdateContainerResponse, UpdatePodSandboxRequest,
        ValidateContainerAdjustmentRequest, ValidateContainerAdjustmentResponse,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use crate::peer::TIMEOUT;

/// What a handler was called with: its name, the pod's id and the container's.
pub type Note = (&'static str, String, String);

pub struct Probe {
    pub events: Events,
    pub notes: mpsc::UnboundedSender<Note>,
    pub handle: Mutex<Option<RuntimeService>>,
    pub info: Mutex<RuntimeInfo>,
}

#[derive(Debug, thiserror::Error)]
#[error("no luck")]
struct Failed(#[from] std::io::Error);

/// Dropped together with the handler that holds it.
struct Dropped(mpsc::UnboundedSender<Note>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(("dropped", String::new(), String::new()));
    }
}

impl Probe {
    fn note(&self, what: &'static str, pod: &str, container: &str) {
        let _ = self.notes.send((what, pod.into(), container.into()));
    }

    /// What a pod's name tells the handler to do.
    async fn obey(&self, pod: &PodSandbox) -> Result<(), BoxError> {
        match pod.name.as_str() {
            "error" => Err(Failed(std::io::Error::other("cause\nin two lines")).into()),
            "panic" => panic!("as told"),
            "panic-later" => {
                tokio::task::yield_now().await;
                panic!("as told, later")
            }
            "hang" => {
                let _dropped = Dropped(self.notes.clone());
                self.note("hanging", &pod.id, "");
                std::future::pending().await
            }
            "slow" => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

pub fn strict_response(pod: &PodSandbox) -> CreateContainerResponse {
    let hook = Hook { path: "/bin/true".into(), args: vec!["hook".into()], ..Hook::default() };
    let big = if pod.name == "big" { 100_000 } else { 0 };
    let huge = if pod.name == "huge" { 2_000_000 } else { 0 };
    let adjust = ContainerAdjustment {
        annotations: HashMap::from([("strict.test/decision".into(), "strict".into())]),
        hooks: Some(Hooks { create_runtime: vec![hook], ..Hooks::default() }),
        args: vec!["x".repeat(big + huge)].into_iter().filter(|a| !a.is_empty()).collect(),
        ..ContainerAdjustment::default()
    };
    CreateContainerResponse { adjust: Some(adjust), ..CreateContainerResponse::default() }
}

macro_rules! noted {
    ($($method:ident($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(async fn $method(&self, pod: PodSandbox $(, $arg: $type)*) -> Result<$answer, BoxError> {
            #[allow(unused_mut, unused_assignments)]
            let mut container_id = String::new();
            $(container_id = $arg.id.clone();)*
            self.note(stringify!($method), &pod.id, &container_id);
            self.obey(&pod).await?;
            Ok(Default::default())
        })*
    };
}

impl Plugin for Probe {
    type Pod = PodSandbox;
    type Container = Container;

    fn events(&self) -> Events {
        self.events
    }

    async fn configure(&self, runtime: &RuntimeInfo) -> Result<(), BoxError> {
        *self.info.lock().unwrap() = runtime.clone();
        self.note("configure", "", "");
        if runtime.config == "bad" { Err("bad configuration".into()) } else { Ok(()) }
    }

    async fn synchronize(
        &self,
        pods: Vec<PodSandbox>,
        containers: Vec<Container>,
    ) -> Result<Vec<ContainerUpdate>, BoxError> {
        self.note("synchronize", &pods.len().to_string(), &containers.len().to_string());
        for pod in &pods {
            self.obey(pod).await?;
        }
        let container_id = containers.last().map(|c| c.id.clone());
        Ok(container_id
            .map(|container_id| ContainerUpdate { container_id, ..Default::default() })
            .into_iter()
            .collect())
    }

    fn connected(&self, runtime: &RuntimeInfo, handle: &RuntimeService) {
        *self.handle.lock().unwrap() = Some(handle.clone());
        self.note("connected", &runtime.name, "");
    }

    fn disconnected(&self, reason: &Error) {
        let source = std::error::Error::source(reason).map(|source| format!(": {source}"));
        self.note("disconnected", &format!("{reason}{}", source.unwrap_or_default()), "");
    }

    fn not_synchronized(&self, reason: &Error) {
        let source = std::error::Error::source(reason).map(|source| format!(": {source}"));
        self.note("not_synchronized", &format!("{reason}{}", source.unwrap_or_default()), "");
    }

    async fn shutdown(&self) -> Result<(), BoxError> {
        self.note("shutdown", "", "");
        Ok(())
    }

    async fn create_container(
        &self,
        pod: PodSandbox,
        container: Container,
    ) -> Result<CreateContainerResponse, BoxError> {
        self.note("create_container", &pod.id, &container.id);
        self.obey(&pod).await?;
        Ok(strict_response(&pod))
    }

    async fn update_container(
        &self,
        pod: PodSandbox,
        container: Container,
        resources: LinuxResources,
    ) -> Result<UpdateContainerResponse, BoxError> {
        assert!(resources.unified.contains_key("k"));
        self.note("update_container", &pod.id, &container.id);
        Ok(UpdateContainerResponse::default())
    }

    async fn update_pod_sandbox(&self, request: UpdatePodSandboxRequest) -> Result<(), BoxError> {
        self.note("update_pod_sandbox", &request.pod.unwrap().id, "");
        Ok(())
    }

    async fn validate_container_adjustment(
        &self,
        request: ValidateContainerAdjustmentRequest,
    ) -> Result<ValidateContainerAdjustmentResponse, BoxError> {
        self.note("validate", &request.pod.unwrap().id, &request.container.unwrap().id);
        Ok(ValidateContainerAdjustmentResponse { reject: true, reason: "no".into() })
    }

    noted! {
        post_create_container(container: Container) -> ();
        start_container(container: Container) -> ();
        post_start_container(container: Container) -> ();
        post_update_container(container: Container) -> ();
        stop_container(container: Container) -> StopContainerResponse;
        remove_container(container: Container) -> ();
        run_pod_sandbox() -> ();
        post_update_pod_sandbox() -> ();
        stop_pod_sandbox() -> ();
        remove_pod_sandbox() -> ();
    }
}

/// A plugin that runs; it ends with the value.
pub struct Running {
    pub plugin: Arc<Probe>,
    notes: mpsc::UnboundedReceiver<Note>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), Error>>,
}

impl Running {
    pub fn at(path: &Path) -> Self {
        Self::with(Events::ALL, options().socket(path))
    }

    pub fn with(events: Events, options: Options) -> Self {
        let (sender, notes) = mpsc::unbounded_channel();
        let plugin =
            Arc::new(Probe { events, notes: sender, handle: Mutex::default(), info: Mutex::default() });
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(nri_plugin::run(Arc::clone(&plugin), options, stopped));
        Self { plugin, notes, stop: Some(stop), task }
    }

    pub async fn note(&mut self) -> Note {
        timeout(TIMEOUT, self.notes.recv()).await.expect("no call came").unwrap()
    }

    /// Waits for a call of this name.
    pub async fn until(&mut self, name: &str) -> Note {
        loop {
            let note = self.note().await;
            if note.0 == name {
                return note;
            }
        }
    }

    /// Every call so far.
    pub fn drain(&mut self) -> Vec<Note> {
        std::iter::from_fn(|| self.notes.try_recv().ok()).collect()
    }

    pub fn ask_to_stop(&mut self) {
        drop(self.stop.take());
    }

    pub async fn end(&mut self) -> Result<(), Error> {
        timeout(TIMEOUT, &mut self.task).await.expect("the plugin does not end").unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn options() -> Options {
    Options::new(Identity::new("probe", "07").unwrap())
}

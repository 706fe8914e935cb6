//! Somebody else's NRI plugin on the same containerd.

use std::{path::PathBuf, sync::Arc, sync::mpsc, thread::JoinHandle, time::Duration};

use anyhow::{Context, Result, anyhow};
use nri_plugin::{
    self, BoxError, Events, Identity, Options, Plugin, RuntimeInfo,
    api::{Container, ContainerAdjustment, CreateContainerResponse, Hook, Hooks, KeyValue, PodSandbox},
};
use tokio::sync::oneshot;

use e2e::Containerd;

/// Adds an annotation, an environment variable and a hook to every container;
/// dropping it ends it.
pub(crate) struct Foreign {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Additions {
    name: String,
    delay: Duration,
    registered: mpsc::Sender<()>,
}

impl Foreign {
    /// Registers as `name`, with two digits as `index`.
    pub(crate) fn start(daemon: &Containerd, name: &str, index: &str) -> Result<Self> {
        Self::slow(daemon, name, index, Duration::ZERO)
    }

    /// The same; it takes its time to answer CreateContainer.
    pub(crate) fn slow(daemon: &Containerd, name: &str, index: &str, delay: Duration) -> Result<Self> {
        let (registered, wait) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let identity = Identity::new(name, index)?;
        let plugin = Arc::new(Additions { name: name.to_owned(), delay, registered });
        let socket: PathBuf = daemon.nri_socket();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || {
            // How it ends is of no interest: the trial looks at what it did.
            let _ = runtime.block_on(nri_plugin::run(plugin, Options::new(identity).socket(socket), stopped));
        });
        let foreign = Self { stop: Some(stop), thread: Some(thread) };
        wait.recv_timeout(Duration::from_secs(20))
            .map_err(|_| anyhow!("the plugin {name} was not registered"))
            .context("a foreign plugin")?;
        Ok(foreign)
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Plugin for Additions {
    type Pod = PodSandbox;
    type Container = Container;

    fn events(&self) -> Events {
        Events::CREATE_CONTAINER
    }

    fn connected(&self, _: &RuntimeInfo, _: &nri_plugin::RuntimeService) {
        let _ = self.registered.send(());
    }

    async fn create_container(
        &self,
        _: PodSandbox,
        _: Container,
    ) -> Result<CreateContainerResponse, BoxError> {
        tokio::time::sleep(self.delay).await;
        let hook = Hook { path: "/bin/true".into(), args: vec![self.name.clone()], ..Default::default() };
        let variable = KeyValue { key: self.name.to_uppercase(), value: "added".into() };
        let adjust = ContainerAdjustment {
            annotations: [(format!("{}.example.com", self.name), "added".to_owned())].into(),
            env: vec![variable],
            hooks: Some(Hooks { create_runtime: vec![hook], ..Default::default() }),
            ..Default::default()
        };
        Ok(CreateContainerResponse { adjust: Some(adjust), ..Default::default() })
    }
}

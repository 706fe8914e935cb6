//! The trait that a plugin implements.

use std::{future::Future, time::Duration};

use super::{
    BoxError, Error, Events, RuntimeService, View,
    api::{
        ContainerUpdate, CreateContainerResponse, LinuxResources, StopContainerResponse,
        UpdateContainerResponse, UpdatePodSandboxRequest, ValidateContainerAdjustmentRequest,
        ValidateContainerAdjustmentResponse,
    },
};

/// What the runtime says of itself in Configure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// `containerd`, `cri-o`, ...
    pub name: String,
    /// The runtime's version, as it writes it.
    pub version: String,
    /// The plugin's configuration out of the runtime's drop-in directory; empty without one.
    pub config: String,
    /// How long the runtime waits for a registration. Told since NRI 0.8.
    pub registration_timeout: Option<Duration>,
    /// How long the runtime waits for the answer to one event. Told since NRI 0.8; before, it is what it waits for the
    /// answer to Configure.
    pub request_timeout: Option<Duration>,
    /// The version of NRI. Told by the newest runtimes only.
    pub nri_version: Option<String>,
}

/// An NRI plugin: override the events that you want and name them in [`events`](Self::events).
///
/// A runtime makes its calls one at a time and holds up every container of the node meanwhile: be quick. A handler
/// that does not finish in time is dropped at its next `.await`, and an error is answered for it; code that blocks
/// the thread cannot be stopped that way. A panic is answered as an error too. In both cases the plugin goes on.
///
/// An error from [`create_container`](Self::create_container), [`update_container`](Self::update_container) or
/// [`update_pod_sandbox`](Self::update_pod_sandbox) fails the operation and its text is shown to the user. So does one
/// from [`start_container`](Self::start_container) on containerd, not on CRI-O. A runtime only logs the errors of the
/// other events.
pub trait Plugin: Send + Sync + 'static {
    /// What a pod is decoded into: [`PodSandbox`](super::api::PodSandbox), or a message with the fields you read.
    type Pod: View;
    /// What a container is decoded into: [`Container`](super::api::Container), or a message with the fields you
    /// read.
    type Container: View;

    /// The events to be called for. Those that are not in it are answered without a call.
    fn events(&self) -> Events;

    /// The runtime introduces itself, right after the registration. An error ends the connection.
    fn configure(&self, runtime: &RuntimeInfo) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = runtime;
        async { Ok(()) }
    }

    /// Everything that exists when the plugin connects, in one call however many messages it took. The answer
    /// changes resources of containers.
    fn synchronize(
        &self,
        pods: Vec<Self::Pod>,
        containers: Vec<Self::Container>,
    ) -> impl Future<Output = Result<Vec<ContainerUpdate>, BoxError>> + Send {
        let _ = (pods, containers);
        async { Ok(Vec::new()) }
    }

    /// The plugin is in service: registered, configured and synchronized (or, launched by a runtime that does not
    /// synchronize such plugins, called for its first event). `handle` makes calls to this runtime for
    /// as long as this connection lives.
    fn connected(&self, runtime: &RuntimeInfo, handle: &RuntimeService) {
        let _ = (runtime, handle);
    }

    /// The plugin is out of service, after it was in ([`connected`](Self::connected)). Handlers that were running
    /// have been dropped. Not called when the plugin itself asks to stop.
    fn disconnected(&self, reason: &Error) {
        let _ = reason;
    }

    /// The runtime accepted the plugin, and Synchronize came to nothing more than once: the plugin is not in service,
    /// and tries again, less and less often. Called once until it is in service.
    fn not_synchronized(&self, reason: &Error) {
        let _ = reason;
    }

    /// The runtime says that it is about to close the connection.
    fn shutdown(&self) -> impl Future<Output = Result<(), BoxError>> + Send {
        async { Ok(()) }
    }

    /// [`Events::CREATE_CONTAINER`]: the answer adjusts the container.
    fn create_container(
        &self,
        pod: Self::Pod,
        container: Self::Container,
    ) -> impl Future<Output = Result<CreateContainerResponse, BoxError>> + Send {
        let _ = (pod, container);
        async { Ok(CreateContainerResponse::default()) }
    }

    /// [`Events::POST_CREATE_CONTAINER`]. The runtime waits for the answer before the container can be started.
    fn post_create_container(
        &self,
        pod: Self::Pod,
        container: Self::Container,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (pod, container);
        async { Ok(()) }
    }

    /// [`Events::START_CONTAINER`]: the process was created and waits; it has its final user and groups, and none of the
    /// image's program was run.
    fn start_container(
        &self,
        pod: Self::Pod,
        container: Self::Container,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (pod, container);
        async { Ok(()) }
    }

    /// [`Events::POST_START_CONTAINER`].
    fn post_start_container(
        &self,
        pod: Self::Pod,
        container: Self::Container,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (pod, container);
        async { Ok(()) }
    }

    /// [`Events::UPDATE_CONTAINER`]: `resources` are those that were asked for, the answer may change them.
    fn update_container(
        &self,
        pod: Self::Pod,
        container: Self::Container,
        resources: LinuxResources,
    ) -> impl Future<Output = Result<UpdateContainerResponse, BoxError>> + Send {
        let _ = (pod, container, resources);
        async { Ok(UpdateContainerResponse::default()) }
    }

    /// [`Events::POST_UPDATE_CONTAINER`].
    fn post_update_container(
        &self,
        pod: Self::Pod,
        container: Self::Container,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (pod, container);
        async { Ok(()) }
    }

    /// [`Events::STOP_CONTAINER`]: the answer may change other containers.
    fn stop_container(
        &self,
        pod: Self::Pod,
        container: Self::Container,
    ) -> impl Future<Output = Result<StopContainerResponse, BoxError>> + Send {
        let _ = (pod, container);
        async { Ok(StopContainerResponse::default()) }
    }

    /// [`Events::REMOVE_CONTAINER`].
    fn remove_container(
        &self,
        pod: Self::Pod,
        container: Self::Container,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = (pod, container);
        async { Ok(()) }
    }

    /// [`Events::RUN_POD_SANDBOX`].
    fn run_pod_sandbox(&self, pod: Self::Pod) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = pod;
        async { Ok(()) }
    }

    /// [`Events::UPDATE_POD_SANDBOX`].
    fn update_pod_sandbox(
        &self,
        request: UpdatePodSandboxRequest,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = request;
        async { Ok(()) }
    }

    /// [`Events::POST_UPDATE_POD_SANDBOX`].
    fn post_update_pod_sandbox(&self, pod: Self::Pod) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = pod;
        async { Ok(()) }
    }

    /// [`Events::STOP_POD_SANDBOX`].
    fn stop_pod_sandbox(&self, pod: Self::Pod) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = pod;
        async { Ok(()) }
    }

    /// [`Events::REMOVE_POD_SANDBOX`].
    fn remove_pod_sandbox(&self, pod: Self::Pod) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = pod;
        async { Ok(()) }
    }

    /// [`Events::VALIDATE_CONTAINER_ADJUSTMENT`]: what all plugins together asked for.
    fn validate_container_adjustment(
        &self,
        request: ValidateContainerAdjustmentRequest,
    ) -> impl Future<Output = Result<ValidateContainerAdjustmentResponse, BoxError>> + Send {
        let _ = request;
        async { Ok(ValidateContainerAdjustmentResponse::default()) }
    }
}

//! From the name of a method to the plugin's handler.

use std::{future::Future, pin::Pin, sync::Arc};

use prost::Message;

use super::{
    BoxError, Code, Events, Plugin, Status,
    answer::Answer,
    api::{
        ConfigureRequest, Container, CreateContainerRequest, Event, PodSandbox, PostCreateContainerRequest,
        StateChangeEvent, StopContainerRequest, SynchronizeRequest, UpdateContainerRequest,
        UpdatePodSandboxRequest, ValidateContainerAdjustmentRequest,
    },
    request::Request,
};

const SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";

/// A handler at work.
pub(super) type Handler = Pin<Box<dyn Future<Output = Result<Answer, Status>> + Send>>;

/// What a call asks for.
pub(super) enum Call {
    /// The plugin's word.
    Handler(Handler),
    /// Nothing that the plugin wants to know of: the answer is empty.
    Unwanted,
    /// The connection's own business, before it is the plugin's.
    Configure(Box<ConfigureRequest>),
    /// Likewise.
    Synchronize(SynchronizeRequest),
}

/// Finds what to do for `request`.
///
/// # Errors
/// The status to answer: no such service or method, or a payload that cannot be understood.
pub(super) fn dispatch<P: Plugin>(
    plugin: &Arc<P>,
    wanted: Events,
    request: &Request,
) -> Result<Call, Status> {
    if request.service != SERVICE {
        return Err(Status::new(Code::Unimplemented, &format!("unknown service {}", request.service)));
    }
    let method = match request.method {
        "Configure" => return Ok(Call::Configure(Box::new(decode(request)?))),
        "Synchronize" => return Ok(Call::Synchronize(decode(request)?)),
        "Shutdown" => {
            let plugin = Arc::clone(plugin);
            return Ok(handler(async move { plugin.shutdown().await.map(empty) }));
        }
        "StateChange" => {
            let StateChangeEvent { event, pod, container } = decode(request)?;
            return match Event::try_from(event) {
                Ok(event) if wanted.has(event) => notify(plugin, event, pod, container),
                _ => Ok(Call::Unwanted),
            };
        }
        method => method,
    };
    let Some(event) = event_of(method) else {
        return Err(Status::new(Code::Unimplemented, &format!("unknown method {method}")));
    };
    if !wanted.has(event) {
        return Ok(Call::Unwanted);
    }
    match event {
        Event::CreateContainer | Event::UpdateContainer | Event::StopContainer => {
            change(plugin, event, request)
        }
        Event::UpdatePodSandbox => {
            let message: UpdatePodSandboxRequest = decode(request)?;
            named(message.pod.as_ref(), "pod")?;
            let plugin = Arc::clone(plugin);
            Ok(handler(async move { plugin.update_pod_sandbox(message).await.map(empty) }))
        }
        Event::ValidateContainerAdjustment => {
            let message: ValidateContainerAdjustmentRequest = decode(request)?;
            named(message.pod.as_ref(), "pod")?;
            named(message.container.as_ref(), "container")?;
            let plugin = Arc::clone(plugin);
            Ok(handler(
                async move { plugin.validate_container_adjustment(message).await.map(Answer::Validate) },
            ))
        }
        event => {
            // The requests of all the other events have the pod in field 1 and the container, if any, in field 2.
            let PostCreateContainerRequest { pod, container } = decode(request)?;
            notify(plugin, event, pod, container)
        }
    }
}

/// The event that a method of its own stands for.
fn event_of(method: &str) -> Option<Event> {
    Some(match method {
        "RunPodSandbox" => Event::RunPodSandbox,
        "StopPodSandbox" => Event::StopPodSandbox,
        "RemovePodSandbox" => Event::RemovePodSandbox,
        "CreateContainer" => Event::CreateContainer,
        "PostCreateContainer" => Event::PostCreateContainer,
        "StartContainer" => Event::StartContainer,
        "PostStartContainer" => Event::PostStartContainer,
        "UpdateContainer" => Event::UpdateContainer,
        "PostUpdateContainer" => Event::PostUpdateContainer,
        "StopContainer" => Event::StopContainer,
        "RemoveContainer" => Event::RemoveContainer,
        "UpdatePodSandbox" => Event::UpdatePodSandbox,
        "PostUpdatePodSandbox" => Event::PostUpdatePodSandbox,
        "ValidateContainerAdjustment" => Event::ValidateContainerAdjustment,
        _ => return None,
    })
}

/// The events whose answer changes containers.
fn change<P: Plugin>(plugin: &Arc<P>, event: Event, request: &Request) -> Result<Call, Status> {
    let plugin = Arc::clone(plugin);
    if event == Event::CreateContainer {
        let CreateContainerRequest { pod, container } = decode(request)?;
        let (pod, container) = (named(pod, "pod")?, named(container, "container")?);
        return Ok(handler(async move {
            plugin.create_container(pod, container).await.map(Answer::CreateContainer)
        }));
    }
    if event == Event::StopContainer {
        let StopContainerRequest { pod, container } = decode(request)?;
        let (pod, container) = (named(pod, "pod")?, named(container, "container")?);
        return Ok(handler(
            async move { plugin.stop_container(pod, container).await.map(Answer::StopContainer) },
        ));
    }
    let UpdateContainerRequest { pod, container, linux_resources } = decode(request)?;
    let (pod, container) = (named(pod, "pod")?, named(container, "container")?);
    let resources = linux_resources.unwrap_or_default();
    Ok(handler(async move {
        plugin.update_container(pod, container, resources).await.map(Answer::UpdateContainer)
    }))
}

/// The events that are only told, by `StateChange` or by a method of their own.
fn notify<P: Plugin>(
    plugin: &Arc<P>,
    event: Event,
    pod: Option<PodSandbox>,
    container: Option<Container>,
) -> Result<Call, Status> {
    let plugin = Arc::clone(plugin);
    let pod = named(pod, "pod")?;
    match event {
        Event::RunPodSandbox => {
            return Ok(handler(async move { plugin.run_pod_sandbox(pod).await.map(empty) }));
        }
        Event::StopPodSandbox => {
            return Ok(handler(async move { plugin.stop_pod_sandbox(pod).await.map(empty) }));
        }
        Event::RemovePodSandbox => {
            return Ok(handler(async move { plugin.remove_pod_sandbox(pod).await.map(empty) }));
        }
        Event::PostUpdatePodSandbox => {
            return Ok(handler(async move { plugin.post_update_pod_sandbox(pod).await.map(empty) }));
        }
        _ => {}
    }
    let container = named(container, "container")?;
    Ok(handler(async move {
        match event {
            Event::PostCreateContainer => plugin.post_create_container(pod, container).await,
            Event::StartContainer => plugin.start_container(pod, container).await,
            Event::PostStartContainer => plugin.post_start_container(pod, container).await,
            Event::PostUpdateContainer => plugin.post_update_container(pod, container).await,
            Event::RemoveContainer => plugin.remove_container(pod, container).await,
            // The others have requests of their own and never come as a StateChange.
            _ => Ok(()),
        }
        .map(empty)
    }))
}

fn handler(future: impl Future<Output = Result<Answer, BoxError>> + Send + 'static) -> Call {
    Call::Handler(handling(future))
}

/// A handler whose error becomes the status to answer.
pub(super) fn handling(future: impl Future<Output = Result<Answer, BoxError>> + Send + 'static) -> Handler {
    Box::pin(async move { future.await.map_err(|error| Status::from_error(&*error)) })
}

fn empty((): ()) -> Answer {
    Answer::Empty
}

fn decode<M: Message + Default>(request: &Request) -> Result<M, Status> {
    M::decode(request.payload).map_err(|error| {
        Status::new(
            Code::InvalidArgument,
            &format!("cannot decode the request of {}: {error}", request.method),
        )
    })
}

/// A plugin must not take an event without a pod for one of a pod without annotations.
fn named<T>(value: Option<T>, what: &str) -> Result<T, Status> {
    value.ok_or_else(|| Status::new(Code::InvalidArgument, &format!("the request names no {what}")))
}

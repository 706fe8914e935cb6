//! From the name of a method to what the plugin is asked.

use prost::Message;

use super::{
    Code, Events, Status,
    api::{
        ConfigureRequest, Event, LinuxResources, UpdatePodSandboxRequest, ValidateContainerAdjustmentRequest,
    },
    request::Request,
    view::{self, StateChange, View},
};

const SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";

/// What a call asks for. Pods and containers are moved rather than boxed: they take 1.5 KB each, and blocks of that
/// size are what an allocator is slow at.
#[allow(clippy::large_enum_variant)]
pub(super) enum Call<Pod: View, Container: View> {
    /// Nothing that the plugin wants to know of: the answer is empty.
    Unwanted,
    Configure(Box<ConfigureRequest>),
    /// A part, or all.
    Synchronize(view::State<Pod, Container>),
    Shutdown,
    CreateContainer(Pod, Container),
    UpdateContainer(Pod, Container, Box<LinuxResources>),
    StopContainer(Pod, Container),
    UpdatePodSandbox(Box<UpdatePodSandboxRequest>),
    Validate(Box<ValidateContainerAdjustmentRequest>),
    /// An event of a pod that is only told, by `StateChange` or by a method of its own.
    Pod(Event, Pod),
    /// Likewise, of a container.
    Container(Event, Pod, Container),
}

/// Finds what to do for `request`.
///
/// # Errors
/// The status to answer: no such service or method, or a payload that cannot be understood.
pub(super) fn dispatch<Pod: View, Container: View>(
    wanted: Events,
    request: &Request,
) -> Result<Call<Pod, Container>, Status> {
    if request.service != SERVICE {
        return Err(Status::new(Code::Unimplemented, &format!("unknown service {}", request.service)));
    }
    let event = match request.method {
        "Configure" => return Ok(Call::Configure(Box::new(decode(request)?))),
        "Synchronize" => return Ok(Call::Synchronize(decode(request)?)),
        "Shutdown" => return Ok(Call::Shutdown),
        "StateChange" => {
            let StateChange { event, pod, container } = decode(request)?;
            return match Event::try_from(event) {
                Ok(event) if wanted.has(event) => told(event, pod, container),
                _ => Ok(Call::Unwanted),
            };
        }
        method => event_of(method),
    };
    let Some(event) = event else {
        return Err(Status::new(Code::Unimplemented, &format!("unknown method {}", request.method)));
    };
    if !wanted.has(event) {
        return Ok(Call::Unwanted);
    }
    Ok(match event {
        Event::CreateContainer => {
            let view::Event { pod, container, .. } = decode(request)?;
            Call::CreateContainer(named(pod, "pod")?, named(container, "container")?)
        }
        Event::UpdateContainer => {
            let view::Event { pod, container, linux_resources } = decode(request)?;
            let resources = Box::new(linux_resources.unwrap_or_default());
            Call::UpdateContainer(named(pod, "pod")?, named(container, "container")?, resources)
        }
        Event::StopContainer => {
            let view::Event { pod, container, .. } = decode(request)?;
            Call::StopContainer(named(pod, "pod")?, named(container, "container")?)
        }
        Event::UpdatePodSandbox => {
            let message: UpdatePodSandboxRequest = decode(request)?;
            named(message.pod.as_ref(), "pod")?;
            Call::UpdatePodSandbox(Box::new(message))
        }
        Event::ValidateContainerAdjustment => {
            let message: ValidateContainerAdjustmentRequest = decode(request)?;
            named(message.pod.as_ref(), "pod")?;
            named(message.container.as_ref(), "container")?;
            Call::Validate(Box::new(message))
        }
        event => {
            // The requests of all the other events have the pod in field 1 and the container, if any, in field 2.
            let view::Event { pod, container, .. } = decode(request)?;
            told(event, pod, container)?
        }
    })
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

fn told<Pod: View, Container: View>(
    event: Event,
    pod: Option<Pod>,
    container: Option<Container>,
) -> Result<Call<Pod, Container>, Status> {
    let pod = named(pod, "pod")?;
    Ok(match event {
        Event::RunPodSandbox
        | Event::StopPodSandbox
        | Event::RemovePodSandbox
        | Event::PostUpdatePodSandbox => Call::Pod(event, pod),
        event => Call::Container(event, pod, named(container, "container")?),
    })
}

fn decode<M: Message + Default>(request: &Request) -> Result<M, Status> {
    M::decode(request.payload).map_err(|error| {
        let text = format!("cannot decode the request of {}: {error}", request.method);
        Status::new(Code::InvalidArgument, &text)
    })
}

/// A plugin must not take an event without a pod for one of a pod without annotations.
fn named<T>(value: Option<T>, what: &str) -> Result<T, Status> {
    value.ok_or_else(|| Status::new(Code::InvalidArgument, &format!("the request names no {what}")))
}

//! One call: passed on as it is, unless it is one of the few that make the feature.

use std::{convert::Infallible, path::PathBuf, sync::Arc, time::SystemTime};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;
use tracing::warn;

use super::{
    LARGEST, LARGEST_BODY,
    answer::{self, Answer, NoMessage},
    body::{self, Body},
    edit::{Refused, container, sandbox, status, user},
    reply::{self, Failed},
    runtime::ContainerRuntime,
    trailers,
    upstream::Upstream,
    wire::NotAMessage,
};
use crate::{
    handover::{Kept, Requests},
    ops::service::Health,
};
use uds_grpc::frame::{self, FrameError, Frames};

/// The service whose calls are looked at.
const SERVICE: &str = "/runtime.v1.RuntimeService/";

/// `ContainerEventResponse.containers_statuses`
const EVENT_STATUSES: u32 = 5;
/// `PodSandboxStatusResponse.containers_statuses`
const SANDBOX_STATUSES: u32 = 3;

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) runtime: Arc<ContainerRuntime>,
    /// Where the plugin says that it is registered.
    pub(super) health_file: PathBuf,
    pub(super) requests: Requests,
}

impl Shared {
    /// Why Strict is not enforced at the moment.
    fn enforced(&self) -> Result<(), String> {
        Health::read(&self.health_file)
            .and_then(|health| health.ready(SystemTime::now()))
            .map_err(|error| error.to_string())
    }
}

/// One connection of the kubelet.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) upstream: Upstream,
}

impl Connection {
    /// Answers a call.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let answer = match request.uri().path().strip_prefix(SERVICE) {
            Some("RunPodSandbox") => self.run_pod_sandbox(request).await,
            Some("CreateContainer") => self.create_container(request).await,
            Some("Status") => self.status(request).await,
            Some("ContainerStatus") => self.container_status(request).await,
            Some("PodSandboxStatus") => self.pod_sandbox_status(request).await,
            Some("GetContainerEvents") => self.events(request).await,
            _ => self.pass(request).await,
        };
        Ok(answer.unwrap_or_else(|failed| failed.response()))
    }

    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
        Ok(self.upstream.send(request.map(body::request)).await?.map(body::answer))
    }

    async fn run_pod_sandbox(&self, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
        let (head, message) = take(request).await?;
        let new = match sandbox::annotate(&message)? {
            Some(new) if !self.is_native().await? => new,
            _ => message.into(),
        };
        Ok(self.upstream.send(with_message(head, &new)).await?.map(body::answer))
    }

    async fn create_container(&self, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
        let (mut head, message) = take(request).await?;
        let strict = container::read(&message)?;
        let handed_on = match &strict {
            Some(strict) if !self.is_native().await? => Some(self.hand_on_strict(&message, strict)?),
            Some(_) => None,
            None => self.hand_on_merge(&message).await,
        };
        if strict.is_none() && handed_on.is_none() {
            return Ok(self.upstream.send(with_message(head, &message)).await?.map(body::answer));
        }
        // The answer has to be read.
        head.headers.remove("grpc-accept-encoding");
        let response = self.upstream.send(with_message(head, &message)).await?;
        let answer = Answer::take(response).await.map_err(|no_message| *no_message);
        // The plugin was asked, or will not be.
        drop(handed_on);
        let Some(strict) = strict else {
            return Ok(answer.map_or_else(NoMessage::passed_on, Answer::response));
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(NoMessage::Failed(response)) => return Ok(response),
            Err(NoMessage::NotUnderstood(_)) => {
                let reason = "the runtime's answer is not understood".to_owned();
                return Err(Refused::NotEnforced { pod: strict.pod, reason }.into());
            }
        };
        // It may be another runtime by now than the one that was asked before.
        if !self.is_native().await? {
            self.must_be_gated(container::created(&answer.message).unwrap_or_default(), strict).await?;
        }
        Ok(answer.response())
    }

    /// Tells the plugin of a container whose pod's spec says Strict, and lets it through only if it is going to be.
    fn hand_on_strict(&self, message: &[u8], strict: &container::Strict) -> Result<Kept<'_>, Refused> {
        let not_enforced = |reason| Refused::NotEnforced { pod: strict.pod.clone(), reason };
        self.shared.enforced().map_err(not_enforced)?;
        let request = container::to_hand_on(message, true)?;
        self.shared.requests.write(&request).map_err(|error| not_enforced(error.to_string()))
    }

    /// Tells the plugin what any other container declares, where the runtime keeps no record of it: an annotation may
    /// say Strict. What is not known is done without.
    async fn hand_on_merge(&self, message: &[u8]) -> Option<Kept<'_>> {
        let runtime = &self.shared.runtime;
        if runtime.has_records().await.unwrap_or(true) || runtime.is_native().await.unwrap_or(true) {
            return None;
        }
        let request = container::to_hand_on(message, false).ok()?;
        match self.shared.requests.write(&request) {
            Ok(kept) => Some(kept),
            Err(error) => {
                warn!("the plugin is not told what a container declares: {error}");
                None
            }
        }
    }

    /// Gives container `id`, which was just created, away only with a gate of the plugin's. That the plugin lived just
    /// before says little: the runtime goes on without one that ends or is late, and there may be no static gate.
    async fn must_be_gated(&self, id: &str, strict: container::Strict) -> Result<(), Refused> {
        let container::Strict { pod, container, .. } = strict;
        let refused = match self.shared.runtime.is_gated(id).await {
            Ok(true) => return Ok(()),
            Ok(false) => Refused::NotSeen { pod, container },
            Err(reason) => Refused::NotEnforced { pod, reason },
        };
        self.shared.runtime.remove(id).await;
        Err(refused)
    }

    async fn status(&self, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
        let response = self.upstream.send(request.map(body::request)).await?;
        if self.shared.runtime.is_native().await.unwrap_or(true) {
            return Ok(response.map(body::answer));
        }
        let enforced = self.shared.enforced().is_ok();
        Ok(edited(response, |message| status::through_proxy(message, enforced)).await)
    }

    async fn container_status(&self, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
        // What is not known now is not added; the call itself fails where the runtime is away.
        if self.shared.runtime.is_native().await.unwrap_or(true) {
            return self.pass(request).await;
        }
        let (head, message) = take(request).await?;
        let runtime = &self.shared.runtime;
        if let Some(user) = user::id_of_request(&message).ok().and_then(|id| runtime.known_user(id)) {
            let response = self.upstream.send(with_message(head, &message)).await?;
            return Ok(edited(response, |message| user::put(message, &user)).await);
        }
        let (Ok(verbose), Ok(new)) = (user::is_verbose(&message), user::verbose(&message)) else {
            return Ok(self.upstream.send(with_message(head, &message)).await?.map(body::answer));
        };
        let response = self.upstream.send(with_message(head.clone(), &new)).await?;
        if !verbose && answer::failed_at_once(&response) {
            // It may be only what nobody but us asked for.
            return Ok(self.upstream.send(with_message(head, &message)).await?.map(body::answer));
        }
        let edit = |message: &[u8]| {
            let user = user::of_response(message)?;
            let new = user::answer(message, user.as_ref(), verbose)?;
            if let (Some(id), Some(user)) = (user::id_of_started(message)?, user) {
                runtime.remember(id.to_owned(), user);
            }
            Ok(new)
        };
        Ok(edited(response, edit).await)
    }

    async fn pod_sandbox_status(&self, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
        let response = self.upstream.send(request.map(body::request)).await?;
        if self.shared.runtime.is_native().await.unwrap_or(true) {
            return Ok(response.map(body::answer));
        }
        Ok(match Answer::take(response).await {
            Ok(mut answer) => {
                answer.message = with_users(&self.shared.runtime, answer.message, SANDBOX_STATUSES).await;
                answer.response()
            }
            Err(no_message) => no_message.passed_on(),
        })
    }

    async fn events(&self, request: Request<Incoming>) -> Result<Response<Body>, Failed> {
        let response = self.upstream.send(request.map(body::request)).await?;
        if self.shared.runtime.is_native().await.unwrap_or(true) {
            return Ok(response.map(body::answer));
        }
        let runtime = Arc::clone(&self.shared.runtime);
        Ok(response.map(|events| {
            // One at a time: who does not read does not make us keep what comes.
            let (sender, frames) = mpsc::channel(1);
            tokio::spawn(edit_events(runtime, events, sender));
            body::channel(frames)
        }))
    }

    /// Whether the runtime has the feature itself; a Strict pod must not go on without an answer.
    async fn is_native(&self) -> Result<bool, Failed> {
        let runtime = &self.shared.runtime;
        runtime.is_native().await.map_err(|error| {
            let reason = format!("the runtime does not tell whether it is Strict itself: {error}");
            Failed::from(reply::Unavailable::broken(&reason))
        })
    }
}

/// Moves events from the runtime to the kubelet until either of them ends it.
async fn edit_events(
    runtime: Arc<ContainerRuntime>,
    mut events: Incoming,
    sender: mpsc::Sender<Frame<Bytes>>,
) {
    let mut frames = Frames::new(LARGEST);
    loop {
        let frame = tokio::select! {
            frame = events.frame() => frame,
            () = sender.closed() => return,
        };
        let end = match frame.map(|frame| frame.map(Frame::into_data)) {
            None => return,
            Some(Ok(Ok(data))) => {
                frames.push(data);
                match pass_events(&runtime, &mut frames, &sender).await {
                    Ok(()) => continue,
                    Err(error) => trailers::not_understood(error),
                }
            }
            Some(Ok(Err(frame))) => frame.into_trailers().unwrap_or_default(),
            Some(Err(error)) => trailers::broken_off(&error),
        };
        // The other side may be gone, which ends it just as well.
        let _ = sender.send(Frame::trailers(end)).await;
        return;
    }
}

async fn pass_events(
    runtime: &ContainerRuntime,
    frames: &mut Frames,
    sender: &mpsc::Sender<Frame<Bytes>>,
) -> Result<(), FrameError> {
    while let Some(event) = frames.next()? {
        let event = with_users(runtime, event, EVENT_STATUSES).await;
        // Whether the other side is gone is seen at the next turn.
        let _ = sender.send(Frame::data(frame::frame(&event))).await;
    }
    Ok(())
}

/// The message with users in the statuses that stand in it as fields `number`; as it is where that is
/// not possible.
async fn with_users(runtime: &ContainerRuntime, message: Bytes, number: u32) -> Bytes {
    let Ok(ids) = user::without_user(&message, number) else { return message };
    let mut users = Vec::with_capacity(ids.len());
    for id in ids {
        users.push(match id {
            Some(id) => runtime.user_of(&id).await,
            None => None,
        });
    }
    user::with_users(&message, number, &users).map_or(message, Bytes::from)
}

/// Takes the one message of a unary call.
async fn take(request: Request<Incoming>) -> Result<(http::request::Parts, Bytes), Failed> {
    let (mut head, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|_| Failed::Cut)?.to_bytes();
    // It may be another one.
    head.headers.remove(header::CONTENT_LENGTH);
    Ok((head, frame::only(body, LARGEST)?))
}

fn with_message(head: http::request::Parts, message: &[u8]) -> Request<Body> {
    Request::from_parts(head, body::whole(frame::frame(message), None))
}

/// The answer with its message changed; as it is where there is none, or `edit` does not understand it.
async fn edited(
    response: Response<Incoming>,
    edit: impl FnOnce(&[u8]) -> Result<Vec<u8>, NotAMessage>,
) -> Response<Body> {
    match Answer::take(response).await {
        Ok(answer) => answer.edited(edit),
        Err(no_message) => no_message.passed_on(),
    }
}

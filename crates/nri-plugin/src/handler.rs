//! Asking the plugin, in a place that is used again and again.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    BoxError, Plugin, RuntimeInfo, Status,
    answer::Answer,
    api::{ConfigureResponse, Event, SynchronizeResponse},
    dispatch::Call,
    view::View,
};

/// What the plugin is asked.
#[allow(clippy::large_enum_variant)]
pub(super) enum Question<Pod: View, Container: View> {
    /// The runtime introduced itself; the plugin's consent is answered with these events.
    Configure(Arc<RuntimeInfo>, ConfigureResponse),
    /// The whole state.
    Synchronize(Vec<Pod>, Vec<Container>),
    /// All the others.
    Call(Call<Pod, Container>),
}

/// Calls the handler that `question` is for.
async fn ask<P: Plugin>(
    plugin: Arc<P>,
    question: Question<P::Pod, P::Container>,
) -> Result<Answer, BoxError> {
    let call = match question {
        Question::Configure(runtime, answer) => {
            return plugin.configure(&runtime).await.map(|()| Answer::Configure(answer));
        }
        Question::Synchronize(pods, containers) => {
            let update = plugin.synchronize(pods, containers).await?;
            return Ok(Answer::Synchronize(SynchronizeResponse { update, more: false }));
        }
        Question::Call(call) => call,
    };
    match call {
        Call::CreateContainer(pod, container) => {
            return plugin.create_container(pod, container).await.map(Answer::CreateContainer);
        }
        Call::UpdateContainer(pod, container, resources) => {
            let answer = plugin.update_container(pod, container, *resources).await;
            return answer.map(Answer::UpdateContainer);
        }
        Call::StopContainer(pod, container) => {
            return plugin.stop_container(pod, container).await.map(Answer::StopContainer);
        }
        Call::Validate(request) => {
            return plugin.validate_container_adjustment(*request).await.map(Answer::Validate);
        }
        Call::UpdatePodSandbox(request) => plugin.update_pod_sandbox(*request).await,
        Call::Shutdown => plugin.shutdown().await,
        Call::Pod(Event::RunPodSandbox, pod) => plugin.run_pod_sandbox(pod).await,
        Call::Pod(Event::StopPodSandbox, pod) => plugin.stop_pod_sandbox(pod).await,
        Call::Pod(Event::RemovePodSandbox, pod) => plugin.remove_pod_sandbox(pod).await,
        Call::Pod(Event::PostUpdatePodSandbox, pod) => plugin.post_update_pod_sandbox(pod).await,
        Call::Container(Event::PostCreateContainer, pod, c) => plugin.post_create_container(pod, c).await,
        Call::Container(Event::StartContainer, pod, c) => plugin.start_container(pod, c).await,
        Call::Container(Event::PostStartContainer, pod, c) => plugin.post_start_container(pod, c).await,
        Call::Container(Event::PostUpdateContainer, pod, c) => plugin.post_update_container(pod, c).await,
        Call::Container(Event::RemoveContainer, pod, c) => plugin.remove_container(pod, c).await,
        // The other events have requests of their own and are never only told.
        Call::Pod(..) | Call::Container(..) | Call::Unwanted | Call::Configure(_) | Call::Synchronize(_) => {
            Ok(())
        }
    }
    .map(|()| Answer::Empty)
}

/// A place for one question at a time, until it is answered.
pub(super) trait Handler<Q>: Send {
    /// Puts a question. One that was not answered yet is dropped.
    fn put(&mut self, question: Q);

    /// Works on the question.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer, Status>>;

    /// Drops the question, answered or not.
    fn clear(&mut self);
}

/// The question that a plugin of this type is put.
pub(super) type QuestionFor<P> = Question<<P as Plugin>::Pod, <P as Plugin>::Container>;

/// The place for it.
pub(super) type PlaceFor<P> = Box<dyn Handler<QuestionFor<P>>>;

/// A new place. The future of a question takes several KB; most are ready at once, so the place is free again for
/// the next, and that memory is allocated once for a connection.
pub(super) fn handler<P: Plugin>(plugin: Arc<P>) -> PlaceFor<P> {
    Box::new(Place {
        make: move |question: QuestionFor<P>| ask(Arc::clone(&plugin), question),
        future: Box::pin(None),
    })
}

struct Place<M, F> {
    make: M,
    future: Pin<Box<Option<F>>>,
}

impl<Q, M, F> Handler<Q> for Place<M, F>
where
    M: Fn(Q) -> F + Send,
    F: Future<Output = Result<Answer, BoxError>> + Send,
{
    fn put(&mut self, question: Q) {
        self.future.as_mut().set(Some((self.make)(question)));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer, Status>> {
        match self.future.as_mut().as_pin_mut() {
            Some(future) => {
                future.poll(context).map(|result| result.map_err(|error| Status::from_error(&*error)))
            }
            None => Poll::Pending,
        }
    }

    fn clear(&mut self) {
        self.future.as_mut().set(None);
    }
}

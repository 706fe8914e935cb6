//! Handlers in their bounds: a panic becomes an answer, and so does a handler that takes too long.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, timeout_at};

use super::{Code, Status, answer::Answer, handler::Handler};

/// How long a runtime waits when it does not say: its default `plugin_request_timeout`.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
/// The least time that an answer gets for its way back.
const MARGIN: Duration = Duration::from_millis(50);

/// The most that a handler gets, whatever the runtime says.
const LONGEST: Duration = Duration::from_secs(3600);

/// How long a handler may take, so that an error can be answered before the runtime gives up: a runtime that gives
/// up closes the connection and goes on **without** the plugin. `call` is what the request says, `runtime` what
/// Configure said; the smaller counts.
pub(super) fn time_to_answer(call: Option<Duration>, runtime: Option<Duration>) -> Duration {
    let timeout = match (call, runtime) {
        (Some(call), Some(runtime)) => call.min(runtime),
        (told, None) | (None, told) => told.unwrap_or(DEFAULT_TIMEOUT),
    }
    .min(LONGEST);
    let margin = (timeout / 4).max(MARGIN).min(timeout / 2);
    timeout.saturating_sub(margin)
}

/// Polls a handler and turns a panic into a status.
pub(super) fn poll<Q>(
    handler: &mut dyn Handler<Q>,
    context: &mut Context<'_>,
) -> Poll<Result<Answer, Status>> {
    catch_unwind(AssertUnwindSafe(|| handler.poll(context)))
        .unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic))))
}

/// Frees a handler for the next question. What the last one left behind may panic in its turn; its answer is due
/// all the same.
pub(super) fn clear<Q>(handler: &mut dyn Handler<Q>) {
    if catch_unwind(AssertUnwindSafe(|| handler.clear())).is_err() {
        tracing::error!("a handler panicked while it was dropped");
    }
}

/// Finishes what `handler` was asked by `deadline`, which is `allowed` after its start.
pub(super) async fn finish<Q>(
    mut handler: Box<dyn Handler<Q>>,
    deadline: Instant,
    allowed: Duration,
) -> Result<Answer, Status> {
    let work = poll_fn(|context| poll(&mut *handler, context));
    let result = timeout_at(deadline, work).await.unwrap_or_else(|_| {
        let text = format!("the plugin did not answer within {allowed:?}");
        Err(Status::new(Code::DeadlineExceeded, &text))
    });
    clear(&mut *handler);
    result
}

/// Calls a notification of the plugin; its panic is no reason to lose the connection.
pub(super) fn notify(what: &'static str, call: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(call)) {
        tracing::error!(notification = what, error = panicked(&*panic).message, "a notification panicked");
    }
}

fn panicked(panic: &(dyn Any + Send)) -> Status {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    Status::new(Code::Internal, &format!("the plugin panicked: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_leaves_in_time() {
        let ms = Duration::from_millis;
        assert_eq!(time_to_answer(None, None), ms(1500));
        assert_eq!(time_to_answer(Some(ms(1000)), Some(ms(2000))), ms(750));
        assert_eq!(time_to_answer(Some(ms(2000)), Some(ms(400))), ms(300));
        // A margin of 50 ms at least, but half of the time at most.
        assert_eq!(time_to_answer(Some(ms(160)), None), ms(110));
        assert_eq!(time_to_answer(None, Some(ms(40))), ms(20));
        assert_eq!(time_to_answer(Some(Duration::ZERO), None), Duration::ZERO);
        assert!(time_to_answer(Some(Duration::MAX), None) < LONGEST);
    }

    #[test]
    fn panics_become_statuses() {
        for (panic, text) in [
            (Box::new("a") as Box<dyn Any + Send>, "the plugin panicked: a"),
            (Box::new(String::from("b")), "the plugin panicked: b"),
            (Box::new(1), "the plugin panicked: no text"),
        ] {
            let status = panicked(&*panic);
            assert_eq!((status.code, status.message.as_str()), (13, text));
        }
    }
}

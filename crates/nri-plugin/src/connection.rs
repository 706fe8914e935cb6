//! One conversation with the runtime, from the registration to its end.

use std::{
    future::{Future, pending},
    io,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    Error, Events, Identity, Plugin, ProtocolError, RuntimeService, awake, client,
    connect::Stream,
    guard,
    mux::{self, Connection},
    session::Session,
    ttrpc::Deframer,
};

/// Bytes that are read at once.
const READ: usize = 32 * 1024;
/// No more is read while so much waits to be written: the runtime does not read its answers.
const MAX_UNWRITTEN: usize = 4 * 1024 * 1024;
/// An output buffer that grew beyond this is given back.
const KEEP: usize = 64 * 1024;
/// How long handlers may go on once the plugin was asked to stop.
const DRAIN: Duration = Duration::from_secs(2);

/// How a conversation went.
pub(super) struct Outcome {
    /// Ok: this side was asked to stop.
    pub(super) end: Result<(), Error>,
    /// Whether the plugin was in service.
    pub(super) in_service: bool,
    /// Whether the runtime had accepted and configured the plugin.
    pub(super) registered: bool,
    /// What the runtime said of its own time limit.
    pub(super) registration_timeout: Option<Duration>,
}

/// Who speaks, and for how long the runtime may leave the registration open.
pub(super) struct Speaker<'a, P> {
    pub(super) plugin: &'a Arc<P>,
    pub(super) wanted: Events,
    pub(super) identity: &'a Identity,
    pub(super) registration_timeout: Duration,
}

/// Registers over `stream` and serves the plugin until the connection ends, or `stop` does.
pub(super) async fn converse<P: Plugin, F: Future>(
    speaker: &Speaker<'_, P>,
    stream: Box<dyn Stream>,
    stop: Pin<&mut F>,
) -> Outcome {
    let (handle, calls) = RuntimeService::new();
    let mut session = Session::new(Arc::clone(speaker.plugin), speaker.wanted, handle);
    client::put_registration(&mut session.out, speaker.identity, speaker.registration_timeout);

    let mut stopping = false;
    let mut end = serve(&mut session, stream, calls, speaker.registration_timeout, stop, &mut stopping).await;
    if stopping {
        // However it went: this is the end that was asked for.
        end = Ok(());
    }

    let registration_timeout = session.registration_timeout();
    let (in_service, registered) = (session.in_service, session.is_registered());
    // Handlers that still run are dropped before the plugin hears of the end.
    session.running.shutdown().await;
    drop(session);
    if let Err(reason) = &end
        && in_service
    {
        guard::notify("disconnected", || speaker.plugin.disconnected(reason));
    }
    Outcome { end, in_service, registered, registration_timeout }
}

/// Moves bytes and answers until the end.
async fn serve<P: Plugin, F: Future>(
    session: &mut Session<P>,
    stream: Box<dyn Stream>,
    mut calls: tokio::sync::mpsc::Receiver<client::Call>,
    registration_timeout: Duration,
    mut stop: Pin<&mut F>,
    stopping: &mut bool,
) -> Result<(), Error> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut input = Input::default();
    let mut buffer = vec![0; READ];
    let mut written = 0;
    // Only the registration is bound in time. The Synchronize after it waits until the runtime's other plugins are
    // done, for as long as they take: giving up would only mean to wait again, from the back of the queue.
    let mut limit = Box::pin(sleep_until(Instant::now() + registration_timeout));

    let mut ticks = interval(awake::EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);

    while !(*stopping && session.running.is_empty() && session.out.is_empty()) {
        if session.out.is_empty()
            && let Some(end) = session.end.take()
        {
            return Err(end);
        }
        let registered = session.is_registered();
        tokio::select! {
            biased;
            result = writer.write(unwritten(&session.out, written)), if !session.out.is_empty() => {
                match result.map_err(broken)? {
                    0 => return Err(Error::Closed),
                    n => written += n,
                }
                if written >= session.out.len() {
                    session.out.clear();
                    session.out.shrink_to(KEEP);
                    written = 0;
                }
            }
            result = reader.read(&mut buffer), if !*stopping && session.out.len() < MAX_UNWRITTEN => {
                match result.map_err(broken)? {
                    0 => return Err(input.end()),
                    n => input.take(buffer.get(..n).unwrap_or_default(), session)?,
                }
            }
            Some(done) = session.running.join_next() => match done {
                Ok((stream, result)) => session.answer(stream, &result),
                // Panics are caught within the task.
                Err(error) => tracing::error!(%error, "a handler's task failed"),
            },
            Some(call) = calls.recv() => session.calls.send(call, &mut session.out),
            _ = ticks.tick(), if !session.in_service => session.runs(),
            () = &mut limit, if *stopping || !registered => {
                if *stopping {
                    return Ok(());
                }
                return Err(Error::RegistrationTimeout(registration_timeout));
            }
            _ = &mut stop, if !*stopping => {
                *stopping = true;
                limit.as_mut().reset(Instant::now() + DRAIN);
            }
            else => pending::<()>().await,
        }
    }
    Ok(())
}

fn unwritten(out: &[u8], written: usize) -> &[u8] {
    out.get(written..).unwrap_or_default()
}

/// A connection that was reset is as closed as one that was closed.
fn broken(error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Closed,
        _ => Error::Io(error),
    }
}

/// The way from bytes to messages.
#[derive(Default)]
pub(super) struct Input {
    frames: mux::Decoder,
    plugin: Deframer,
    runtime: Deframer,
}

impl Input {
    pub(super) fn take<P: Plugin>(
        &mut self,
        mut bytes: &[u8],
        session: &mut Session<P>,
    ) -> Result<(), Error> {
        while let Some((connection, piece)) = self.frames.next(&mut bytes)? {
            let deframer = match connection {
                Connection::Plugin => &mut self.plugin,
                Connection::Runtime => &mut self.runtime,
            };
            deframer.push(piece, |header, payload| session.receive(connection, header, payload))?;
        }
        Ok(())
    }

    /// The other side ended: after a message, or within one.
    pub(super) fn end(&self) -> Error {
        let complete = self.frames.is_between_frames()
            && self.plugin.is_between_messages()
            && self.runtime.is_between_messages();
        if complete { Error::Closed } else { ProtocolError::Cut.into() }
    }
}

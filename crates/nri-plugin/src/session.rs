//! What a connection has come to know, and what it does with each message.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};

use super::{
    Code, Error, Events, Plugin, ProtocolError, RuntimeInfo, RuntimeService, Status,
    answer::Answer,
    api::{ConfigureRequest, ConfigureResponse, SynchronizeResponse},
    awake::Awake,
    client::Pending,
    dispatch::{Call, dispatch},
    guard,
    handler::{PlaceFor, Question, QuestionFor, handler},
    mux::Connection,
    request::Request,
    sync::Parts,
    ttrpc::{self, Header},
    view::State,
};

/// Handlers at work at once. Runtimes make one call at a time, so more is a runtime gone wild.
const MAX_RUNNING: usize = 1024;

/// The state of one connection; it neither reads nor writes.
pub(super) struct Session<P: Plugin> {
    plugin: Arc<P>,
    wanted: Events,
    handle: RuntimeService,
    pub(super) calls: Pending,
    /// Where the next question is put to the plugin; None while the last one is still worked on elsewhere.
    idle: Option<PlaceFor<P>>,
    /// Handlers that did not finish at once, and the streams they answer. Dropping it drops them.
    pub(super) running: JoinSet<(u32, Result<Answer, Status>)>,
    /// What waits to be written.
    pub(super) out: Vec<u8>,
    runtime: Arc<RuntimeInfo>,
    parts: Parts<P::Pod, P::Container>,
    accepted: bool,
    configured: bool,
    pub(super) in_service: bool,
    /// The last part of a Synchronize that is not answered yet.
    synchronizing: Option<Synchronizing>,
    awake: Awake,
    /// Why the conversation has to end once all is written.
    pub(super) end: Option<Error>,
}

/// A Synchronize, whose answer decides whether the runtime takes the plugin.
struct Synchronizing {
    stream: u32,
    /// The runtime waits since then, or a little longer.
    since: Instant,
    timeout: Duration,
}

impl<P: Plugin> Session<P> {
    pub(super) fn new(plugin: Arc<P>, wanted: Events, handle: RuntimeService) -> Self {
        Self {
            plugin,
            wanted,
            handle,
            calls: Pending::new(),
            idle: None,
            running: JoinSet::new(),
            out: Vec::new(),
            runtime: Arc::default(),
            parts: Parts::default(),
            accepted: false,
            configured: false,
            in_service: false,
            synchronizing: None,
            awake: Awake::new(),
            end: None,
        }
    }

    /// Whether the runtime accepted the registration and began to configure the plugin.
    pub(super) fn is_registered(&self) -> bool {
        self.accepted && self.configured
    }

    /// This process runs. To be told every [`awake::EVERY`](super::awake::EVERY) until the plugin is in service.
    pub(super) fn runs(&mut self) {
        self.awake.runs(Instant::now());
    }

    /// How long the runtime said that it waits for a registration.
    pub(super) fn registration_timeout(&self) -> Option<Duration> {
        self.runtime.registration_timeout
    }

    /// One message from the runtime.
    pub(super) fn receive(
        &mut self,
        connection: Connection,
        header: Header,
        payload: &[u8],
    ) -> Result<(), Error> {
        let Header { stream, kind, .. } = header;
        match (connection, kind) {
            (Connection::Plugin, ttrpc::REQUEST) if stream % 2 == 0 => {
                Err(ProtocolError::EvenStream(stream).into())
            }
            (Connection::Plugin, ttrpc::REQUEST) => self.serve(stream, payload),
            (Connection::Runtime, ttrpc::RESPONSE) => {
                self.accepted |= self.calls.answered(stream, payload)?;
                Ok(())
            }
            (connection, kind) => {
                Err(ProtocolError::MessageType { kind, connection: connection.id() }.into())
            }
        }
    }

    fn serve(&mut self, stream: u32, payload: &[u8]) -> Result<(), Error> {
        let arrived = Instant::now();
        let Some(request) = Request::parse(payload) else {
            let status = Status::new(Code::InvalidArgument, "cannot decode the ttrpc request");
            self.answer(stream, &Err(status));
            return Ok(());
        };
        let question = match dispatch(self.wanted, &request) {
            Ok(Call::Configure(configure)) => self.configure(*configure, request.timeout()),
            Ok(Call::Synchronize(part)) => {
                let Some(State { pods, containers, .. }) = self.parts.add(part, request.payload.len())?
                else {
                    let more = SynchronizeResponse { more: true, ..SynchronizeResponse::default() };
                    self.answer(stream, &Ok(Answer::Synchronize(more)));
                    return Ok(());
                };
                self.synchronizing = Some(Synchronizing {
                    stream,
                    since: self.awake.came(arrived),
                    timeout: request.timeout().unwrap_or(guard::DEFAULT_TIMEOUT),
                });
                Question::Synchronize(pods, containers)
            }
            Ok(Call::Unwanted) => {
                self.answer(stream, &Ok(Answer::Empty));
                return Ok(());
            }
            Ok(call) => {
                // Up to NRI 0.6 a runtime does not synchronize the plugins that it launched itself: the first
                // event tells that this one is in service.
                if self.is_registered() && request.method != "Shutdown" {
                    self.enter_service();
                }
                Question::Call(call)
            }
            Err(status) => {
                tracing::warn!(method = request.method, error = status.message, "cannot serve a call");
                self.answer(stream, &Err(status));
                return Ok(());
            }
        };
        self.start(stream, question, arrived, request.timeout());
        Ok(())
    }

    /// Asks the plugin. Most handlers finish at once: those cost neither a task nor a timer.
    fn start(&mut self, stream: u32, question: QuestionFor<P>, arrived: Instant, timeout: Option<Duration>) {
        let mut place = self.idle.take().unwrap_or_else(|| handler(Arc::clone(&self.plugin)));
        place.put(question);
        // Whoever is not ready is polled again as a task, which leaves the waker that counts.
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(result) = guard::poll(&mut *place, &mut context) {
            guard::clear(&mut *place);
            self.idle = Some(place);
            self.answer(stream, &result);
        } else if self.running.len() >= MAX_RUNNING {
            self.answer(stream, &Err(Status::new(Code::ResourceExhausted, "too many calls at once")));
        } else {
            let allowed = guard::time_to_answer(timeout, self.runtime.request_timeout);
            let work = guard::finish(place, arrived + allowed, allowed);
            self.running.spawn(async move { (stream, work.await) });
        }
    }

    /// The end of a handler.
    pub(super) fn answer(&mut self, stream: u32, result: &Result<Answer, Status>) {
        if let Err(status) = result {
            // The plugin knows its own errors; these it may not see otherwise.
            if status.code == Code::Internal as i32 || status.code == Code::DeadlineExceeded as i32 {
                tracing::error!(error = status.message, "answered an error for the plugin");
            }
        }
        Answer::put(result, stream, &mut self.out);
        if let Some(asked) = self.synchronizing.take_if(|asked| asked.stream == stream) {
            if result.is_ok() && asked.since.elapsed() < asked.timeout {
                self.enter_service();
            } else {
                // Up to NRI 0.6 it stays connected, and never calls.
                self.end = Some(Error::NotTaken);
            }
        }
    }

    /// Tells the plugin, once, that it is in service.
    fn enter_service(&mut self) {
        if self.in_service {
            return;
        }
        self.in_service = true;
        tracing::info!(
            runtime = self.runtime.name,
            version = self.runtime.version,
            "connected to the runtime"
        );
        guard::notify("connected", || self.plugin.connected(&self.runtime, &self.handle));
    }

    fn configure(&mut self, request: ConfigureRequest, timeout: Option<Duration>) -> QuestionFor<P> {
        let runtime = Arc::new(runtime_info(request, timeout));
        let events = self.wanted.known_to(&runtime);
        if events != self.wanted {
            tracing::warn!(
                version = runtime.version,
                asked = self.wanted.to_wire(),
                events = events.to_wire(),
                "the runtime is too old for some events"
            );
        }
        self.runtime = Arc::clone(&runtime);
        self.configured = true;
        Question::Configure(runtime, ConfigureResponse { events: events.to_wire() })
    }
}

/// `timeout` is how long the runtime waits for the answer to Configure, as for any other call's.
fn runtime_info(request: ConfigureRequest, timeout: Option<Duration>) -> RuntimeInfo {
    let millis = |ms| u64::try_from(ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
    RuntimeInfo {
        name: request.runtime_name,
        version: request.runtime_version,
        config: request.config,
        registration_timeout: millis(request.registration_timeout),
        request_timeout: millis(request.request_timeout).or(timeout),
        nri_version: Some(request.nri_version).filter(|version| !version.is_empty()),
    }
}

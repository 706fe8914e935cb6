//! Runs a plugin for as long as its process lives.

use std::{
    future::Future,
    path::Path,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::{net::UnixStream, time::Instant};

use super::{
    Error, Options, Plugin,
    connect::{Connector, connect},
    connection::{Outcome, Speaker, converse},
    guard,
    options::Endpoint,
    status::with_sources,
};

const FIRST_WAIT: Duration = Duration::from_millis(5);
/// A try costs one `connect(2)`; while nobody is registered, containers are made without the plugin.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// After a Synchronize that came to nothing a try costs more: the runtime puts all of its state together once more, with
/// its events at rest, and containerd 2.1 can panic at it (NRI's plugin.go, slice bounds).
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// A pause is so many times the one before.
const GROWTH: u32 = 4;

/// Connects, registers and serves `plugin`, and does so again whenever the runtime goes away; waits for a runtime
/// that is not there. Between tries it waits 5 ms, then twice as long each time, up to 1 s. After a Synchronize that came
/// to nothing it waits 0.1 s, then four times as long each time, up to 5 minutes, until a registration has lasted.
///
/// Ends when `shutdown` does: calls that came before are answered first, for up to 2 s.
///
/// # Errors
/// Those for which [`Error::retry_helps`] is false.
pub async fn run<P: Plugin>(plugin: Arc<P>, options: Options, shutdown: impl Future) -> Result<(), Error> {
    let Options { identity, endpoint, registration_timeout, connector } = options;
    let wanted = plugin.events();
    let mut speaker = Speaker { plugin: &plugin, wanted, identity: &identity, registration_timeout };
    let stop = pin!(shutdown);
    match endpoint {
        Endpoint::Socket(path) => keep_connected(&mut speaker, &path, connector.as_ref(), stop).await,
        Endpoint::Connected(stream) => {
            let lost = |error| Error::InheritedLost(Box::new(error));
            stream.set_nonblocking(true).map_err(|error| lost(error.into()))?;
            let stream = UnixStream::from_std(stream).map_err(|error| lost(error.into()))?;
            converse(&speaker, Box::new(stream), stop).await.end.map_err(lost)
        }
    }
}

async fn keep_connected<P: Plugin, F: Future>(
    speaker: &mut Speaker<'_, P>,
    path: &Path,
    connector: Option<&Connector>,
    mut stop: Pin<&mut F>,
) -> Result<(), Error> {
    let given_timeout = speaker.registration_timeout;
    let mut wait = FIRST_WAIT;
    let mut pauses = Pauses::default();
    let mut report = Report::default();
    loop {
        let mut pause = Duration::ZERO;
        let error = match connect(path, connector).await {
            Err(error) => error,
            Ok(stream) => {
                let begin = Instant::now();
                let Outcome { end, in_service, registered, registration_timeout } =
                    converse(speaker, stream, stop.as_mut()).await;
                let Err(error) = end else { return Ok(()) };
                speaker.registration_timeout = registration_timeout.unwrap_or_default().max(given_timeout);
                if in_service {
                    report.forget();
                    pauses.lasted(begin.elapsed());
                    // A runtime that takes the plugin and drops it at once is no runtime that works.
                    if begin.elapsed() >= wait {
                        wait = FIRST_WAIT;
                    }
                    error
                } else if registered {
                    pause = pauses.next();
                    let error = Error::NotSynchronized(Box::new(error));
                    if pauses.count == TOLD {
                        guard::notify("not_synchronized", || speaker.plugin.not_synchronized(&error));
                    }
                    error
                } else {
                    error
                }
            }
        };
        if !error.retry_helps() {
            return Err(error);
        }
        report.tell(&error);
        tokio::select! {
            biased;
            _ = &mut stop => return Ok(()),
            () = tokio::time::sleep(wait.max(pause)) => {}
        }
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// So many Synchronize in a row that came to nothing are no accident, such as a restart of the runtime.
const TOLD: u32 = 2;

/// How long to leave the runtime alone after each Synchronize that came to nothing. That it is not there in between, as
/// after a panic, changes nothing.
#[derive(Debug, Default)]
struct Pauses {
    last: Duration,
    /// In a row.
    count: u32,
}

impl Pauses {
    fn next(&mut self) -> Duration {
        self.count = self.count.saturating_add(1);
        self.last = (self.last * GROWTH).clamp(FIRST_PAUSE, LONGEST_PAUSE);
        self.last
    }

    /// The plugin was in service for this long.
    fn lasted(&mut self, time: Duration) {
        if time >= self.last {
            *self = Self::default();
        }
    }
}

/// Says what is wrong once, not at every try.
#[derive(Default)]
struct Report {
    last: Option<String>,
}

impl Report {
    fn tell(&mut self, error: &Error) {
        let text = with_sources(error);
        if self.last.as_ref() == Some(&text) {
            tracing::debug!(error = text, "still not connected to the runtime");
        } else {
            tracing::warn!(error = text, "not connected to the runtime, waiting for it");
            self.last = Some(text);
        }
    }

    fn forget(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Write},
        sync::Mutex,
    };

    use super::*;
    use crate::{Events, Identity};

    struct Idle;

    impl Plugin for Idle {
        type Pod = crate::api::PodSandbox;
        type Container = crate::api::Container;

        fn events(&self) -> Events {
            Events::NONE
        }
    }

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn pauses_grow_until_a_registration_lasts() {
        let mut pauses = Pauses::default();
        let seen: Vec<u128> = (0..7).map(|_| pauses.next().as_millis()).collect();
        assert_eq!(seen, [100, 400, 1600, 6400, 25_600, 102_400, 300_000]);
        pauses.lasted(Duration::from_secs(299));
        assert_eq!(pauses.next(), LONGEST_PAUSE);
        pauses.lasted(Duration::from_secs(300));
        assert_eq!((pauses.count, pauses.next()), (0, FIRST_PAUSE));
    }

    #[tokio::test]
    async fn each_obstacle_is_told_once() {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        let guard = tracing::subscriber::set_default(subscriber);

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nri.sock");
        let options = Options::new(Identity::new("idle", "10").unwrap()).socket(&path);
        let stop = async {
            // Some six tries each: without a socket, with a stale one, without again.
            for stale in [false, true, false] {
                if stale {
                    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
                } else {
                    let _ = std::fs::remove_file(&path);
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        };
        run(Arc::new(Idle), options, stop).await.unwrap();
        drop(guard);

        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<_> = log.lines().collect();
        let words = ["there is no NRI socket", "nobody listens", "there is no NRI socket"];
        assert!(lines.len() >= 2 && lines.len() <= words.len(), "{log}");
        for (line, word) in lines.iter().zip(words) {
            assert!(line.contains("WARN") && line.contains(word), "{log}");
            assert!(line.contains(path.to_str().unwrap()), "{log}");
        }
    }
}

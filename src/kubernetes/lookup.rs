//! Asks for each pod once, and keeps what came until the pod's sandbox goes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep, timeout, timeout_at},
};
use tracing::{debug, warn};

use super::{AskError, Client, Declared, answer};

/// The most pods that are kept; the one that was asked for first goes. It is asked for again when it is needed.
const MOST: usize = 1024;
/// How many questions are under way at once. A node that starts has all of its pods at once.
const AT_ONCE: usize = 8;
/// One try, from the name's resolution to the last byte.
const ONE_TRY: Duration = Duration::from_secs(3);
/// All tries for a pod.
const ALL_TRIES: Duration = Duration::from_secs(20);
/// Before the second try; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// After a failure the pod's next container asks again, but not before.
const AGAIN: Duration = Duration::from_secs(10);

/// Which pod, and of which sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodId {
    /// The sandbox's id in the runtime.
    pub sandbox: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod's uid, as the kubelet told the runtime.
    pub uid: String,
}

/// How far a question got.
#[derive(Debug, Clone)]
enum Progress {
    Asking,
    Known(Declared),
    Failed(Instant),
}

#[derive(Debug)]
struct Entry {
    asked: Instant,
    progress: watch::Receiver<Progress>,
    /// Whether somebody has waited for it in vain: a pod pays for a slow API server once.
    waited: bool,
    /// Whether it was logged that the answer is missing: one line for a pod.
    told: Arc<AtomicBool>,
}

/// What pods declare. Has to be used within a tokio runtime.
#[derive(Debug)]
pub struct Lookup {
    client: Arc<Client>,
    slots: Arc<Semaphore>,
    pods: Mutex<HashMap<String, Entry>>,
}

impl Lookup {
    /// Asks by way of `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self {
            client: Arc::new(client),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            pods: Mutex::new(HashMap::new()),
        }
    }

    /// Starts to ask for a pod and does not wait. One that is known, or asked for already, is left.
    pub fn begin(&self, pod: &PodId) {
        let mut pods = self.pods();
        let (told, waited) = match pods.get(&pod.sandbox) {
            Some(entry) => match &*entry.progress.borrow() {
                Progress::Failed(at) if at.elapsed() >= AGAIN => (Arc::clone(&entry.told), entry.waited),
                Progress::Asking | Progress::Known(_) | Progress::Failed(_) => return,
            },
            None => Default::default(),
        };
        if pods.len() >= MOST {
            let first = pods.iter().min_by_key(|(_, entry)| entry.asked).map(|(id, _)| id.clone());
            first.and_then(|id| pods.remove(&id));
        }
        let (sender, progress) = watch::channel(Progress::Asking);
        let question = Question {
            client: Arc::clone(&self.client),
            slots: Arc::clone(&self.slots),
            pod: pod.clone(),
            told: Arc::clone(&told),
        };
        tokio::spawn(async move {
            // Nobody to tell any more: the sandbox is gone.
            tokio::select! {
                outcome = question.ask() => { sender.send_replace(outcome); }
                () = sender.closed() => {}
            }
        });
        pods.insert(pod.sandbox.clone(), Entry { asked: Instant::now(), progress, waited, told });
    }

    /// What a pod declares; asks if that did not happen yet. None: not known after `wait`, or at
    /// once where somebody has waited already. That is logged, once for a pod.
    pub async fn declared(&self, pod: &PodId, wait: Duration) -> Option<Declared> {
        let end = Instant::now() + wait;
        self.begin(pod);
        let (mut progress, told, waited) = {
            let pods = self.pods();
            let entry = pods.get(&pod.sandbox)?;
            (entry.progress.clone(), Arc::clone(&entry.told), entry.waited)
        };
        if !waited {
            let done = progress.wait_for(|progress| !matches!(progress, Progress::Asking));
            if timeout_at(end, done).await.is_err() {
                if let Some(entry) = self.pods().get_mut(&pod.sandbox) {
                    entry.waited = true;
                }
                pod.tell(&told, &AskError::Slow);
            }
        }
        match &*progress.borrow() {
            Progress::Known(declared) => Some(declared.clone()),
            Progress::Asking | Progress::Failed(_) => None,
        }
    }

    /// The sandbox is gone.
    pub fn forget(&self, sandbox: &str) {
        self.pods().remove(sandbox);
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PodId {
    fn tell(&self, told: &AtomicBool, error: &AskError) {
        if told.swap(true, Ordering::Relaxed) {
            debug!(pod = self.name, namespace = self.namespace, "the Kubernetes API: {error}");
        } else {
            warn!(
                pod = self.name,
                namespace = self.namespace,
                "what the pod's spec declares is not known, so only its annotations and the node's configuration \
                 decide: {error}"
            );
        }
    }
}

struct Question {
    client: Arc<Client>,
    slots: Arc<Semaphore>,
    pod: PodId,
    told: Arc<AtomicBool>,
}

impl Question {
    async fn ask(self) -> Progress {
        let end = Instant::now() + ALL_TRIES;
        let mut pause = FIRST_PAUSE;
        let error = loop {
            match self.try_once().await {
                Ok(declared) => {
                    debug!(
                        pod = self.pod.name,
                        namespace = self.pod.namespace,
                        ?declared,
                        "the Kubernetes API"
                    );
                    return Progress::Known(declared);
                }
                Err(error) if error.may_pass() && Instant::now() + pause < end => {
                    debug!(pod = self.pod.name, namespace = self.pod.namespace, "asking again: {error}");
                }
                Err(error) => break error,
            }
            sleep(pause).await;
            pause *= 2;
        };
        self.pod.tell(&self.told, &error);
        Progress::Failed(Instant::now())
    }

    async fn try_once(&self) -> Result<Declared, AskError> {
        // Never closed; without a slot it would only be one more at once.
        let _slot = self.slots.acquire().await.ok();
        let answer = self.client.pod(&self.pod.namespace, &self.pod.name);
        let json = timeout(ONE_TRY, answer).await.unwrap_or(Err(AskError::Slow))?;
        Ok(answer::read(&json, &self.pod.uid)?)
    }
}

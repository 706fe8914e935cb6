//! Many containers at once, each of which is looked at twice: by the first
//! process itself, and in /proc.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::steps::{Policy, app};
use crate::tally::Tally;
use e2e::{Containerd, Identity, RunningPod, wait_for};

/// How long a process may take to say who it is, and containerd to come back.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The first process writes down who it is. Renamed, so that no half of it is read.
const SAY: &str = "cat /proc/$$/status > /out/$NAME.new && mv /out/$NAME.new /out/$NAME";

/// A number of containers on one containerd: two Strict ones, then a Merge one, and so on. From every second Strict one
/// nothing has to be removed: its user is in no group of the image.
pub(crate) struct Crowd<'a> {
    daemon: &'a Containerd,
    containers: usize,
    workers: usize,
    out: PathBuf,
    next: AtomicUsize,
    /// Containers for which containerd was away, so that others have to take their place.
    lost: AtomicUsize,
}

impl<'a> Crowd<'a> {
    /// `workers`: how many containers are started at a time.
    pub(crate) fn new(daemon: &'a Containerd, containers: usize, workers: usize) -> Result<Self> {
        let out = daemon.dir().join("out");
        fs::create_dir(&out)?;
        // Containers of all users write here.
        fs::set_permissions(&out, fs::Permissions::from_mode(0o1777))?;
        Ok(Self { daemon, containers, workers, out, next: AtomicUsize::new(0), lost: AtomicUsize::new(0) })
    }

    fn policy(number: usize) -> Policy {
        if number % 3 == 2 { Policy::Merge } else { Policy::Strict }
    }

    /// Starts all containers and, meanwhile, runs `harm` in this thread until what it is given says true.
    pub(crate) fn run<T>(&self, tally: &Tally, harm: impl FnOnce(&AtomicBool) -> Result<T>) -> Result<T> {
        let done = AtomicBool::new(false);
        let harmed = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..self.workers).map(|worker| scope.spawn(move || self.work(worker, tally))).collect();
            let done = &done;
            scope.spawn(move || {
                for worker in workers {
                    if worker.join().is_err() {
                        tally.broken("a worker panicked".to_owned());
                    }
                }
                done.store(true, Ordering::Relaxed);
            });
            harm(done)
        })?;
        self.look_back(tally)?;
        Ok(harmed)
    }

    fn work(&self, worker: usize, tally: &Tally) {
        let (mut strict, mut merge) = (None, None);
        let mut left = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.containers + self.lost.load(Ordering::Relaxed) {
                break;
            }
            let policy = Self::policy(number);
            let pod = if policy == Policy::Strict { &mut strict } else { &mut merge };
            let fine = match self.pod(policy, worker, pod) {
                Ok(pod) => self.container(&pod, policy, number, tally).map(|id| left.extend(id)),
                Err(error) => Err(error),
            };
            if let Err(error) = fine {
                tally.broken(format!("container c{number}: {error:#}"));
            }
        }
        // A pod is removed after its containers, as a kubelet does it: containerd 1.7.16 to 2.4 at least hang for good
        // when one is removed that still has containers, while a plugin registers. RemovePodSandbox and RemoveContainer
        // within it both hold the lock that a registration waits for.
        if left.iter().all(|id| self.daemon.cri().remove(id).is_ok()) {
            for pod in [strict, merge].into_iter().flatten() {
                let _ = self.daemon.cri().remove_pod(&pod.id);
            }
        }
    }

    /// The worker's pod of this policy; a new one where there is none.
    fn pod(&self, policy: Policy, worker: usize, kept: &mut Option<RunningPod>) -> Result<RunningPod> {
        if let Some(pod) = kept {
            return Ok(pod.clone());
        }
        let mut last = None;
        let made = wait_for(TIMEOUT, || {
            let pod = policy.pod(&format!("w{worker}-{policy:?}").to_lowercase());
            self.daemon.cri().run_pod(&pod).map_err(|error| last = Some(error)).ok()
        });
        let pod = made.with_context(|| format!("no pod can be started: {last:?}"))?;
        *kept = Some(pod.clone());
        Ok(pod)
    }

    /// Gives the container's id where it cannot be removed.
    fn container(
        &self,
        pod: &RunningPod,
        policy: Policy,
        number: usize,
        tally: &Tally,
    ) -> Result<Option<String>> {
        let cri = self.daemon.cri();
        let name = format!("c{number}");
        // Half of them end at once.
        let lasting = number.is_multiple_of(2);
        let script = if lasting { format!("{SAY} && exec sleep 1000") } else { SAY.to_owned() };
        let spec = app(&name)
            .command(&["/bin/sh", "-c", &script])
            .env("NAME", &name)
            .mount(&self.out.display().to_string(), "/out");
        let spec = if number % 3 == 1 { spec.user(4242) } else { spec };
        let id = match cri.create(pod, &spec) {
            Ok(id) => id,
            Err(error) => {
                if tally.refused(policy, &name, &error.message) {
                    self.wait_for_runtime()?;
                }
                return Ok(None);
            }
        };
        match cri.start(&id) {
            Ok(()) => {
                let said = wait_for(TIMEOUT, || self.said(number)).context("it started and said nothing")?;
                compare(tally, policy, &name, "its own words", &said?);
                tally.started(policy);
                if lasting {
                    // containerd may be away, and a process that was killed has no groups.
                    let seen = cri.status(&id).and_then(|status| Identity::of_process(status.pid));
                    if let Ok(seen) = seen {
                        compare(tally, policy, &name, "/proc", &seen);
                    }
                }
            }
            Err(error) => {
                if tally.refused(policy, &name, &error.message) {
                    self.wait_for_runtime()?;
                }
            }
        }
        let _ = cri.stop(&id);
        Ok(cri.remove(&id).is_err().then_some(id))
    }

    fn wait_for_runtime(&self) -> Result<()> {
        self.lost.fetch_add(1, Ordering::Relaxed);
        wait_for(TIMEOUT, || self.daemon.cri().is_ready().then_some(()))
            .context("containerd does not come back")
    }

    /// Who the first process of a container said that it is, if it came so far.
    fn said(&self, number: usize) -> Option<Result<Identity>> {
        let text = fs::read_to_string(self.out.join(format!("c{number}"))).ok()?;
        Some(Identity::from_status(&text))
    }

    /// Containers that reached their first process although the CRI said no: killed in between, or worse.
    fn look_back(&self, tally: &Tally) -> Result<()> {
        for number in 0..self.next.load(Ordering::Relaxed) {
            if let Some(said) = self.said(number) {
                compare(tally, Self::policy(number), &format!("c{number}"), "found at the end", &said?);
            }
        }
        Ok(())
    }
}

fn compare(tally: &Tally, policy: Policy, name: &str, where_seen: &str, seen: &Identity) {
    if seen.groups() != policy.groups() {
        tally.wrong(name, format!("{policy:?} container {name} ({where_seen}): {seen}"));
    }
}

//! Containers, one after the other and at the same time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Result, bail};

use e2e::cri::RunningPod;
use e2e::random::Random;
use e2e::{ContainerSpec, Cri};

/// As many containers at a time as the machine that the figures are from has cores.
const WORKERS: usize = 2;

/// Whose container it is.
#[derive(Clone, Copy)]
pub(crate) enum User {
    /// The image puts this one into a group of its own.
    InGroupOfImage = 1000,
    /// The image knows nothing of this one.
    Unknown = 7,
}

/// The example pod's container.
pub(crate) fn spec(name: &str, user: User) -> ContainerSpec {
    ContainerSpec::new(name, "localhost/strict-groups/example:1")
        .user(user as i64)
        .group(3000)
        .supplemental(&[4000])
}

/// One kind of container to compare.
pub(crate) struct Arm<'a> {
    pub(crate) cri: &'a Cri,
    pub(crate) pod: &'a RunningPod,
    pub(crate) user: User,
}

/// Creates and starts one container of each arm, in another order each round;
/// gives the milliseconds of each arm, round by round.
pub(crate) fn rounds<const N: usize>(arms: &[Arm<'_>; N], rounds: usize) -> Result<[Vec<f64>; N]> {
    let mut random = Random::new(1, 1);
    let mut times = [const { Vec::new() }; N];
    // The first round warms up and does not count.
    for round in 0..=rounds {
        let mut order: Vec<usize> = (0..N).collect();
        for place in (1..N).rev() {
            order.swap(place, random.below(place + 1));
        }
        for arm in order {
            let Arm { cri, pod, user } = arms[arm];
            let spec = spec(&format!("round-{round}-{arm}"), user);
            let start = Instant::now();
            let container = cri.launch(pod, &spec)?;
            let took = start.elapsed().as_secs_f64() * 1e3;
            remove(cri, &container)?;
            if round > 0 {
                times[arm].push(took);
            }
        }
    }
    Ok(times)
}

/// Creates, starts and removes so many containers in the pod.
pub(crate) fn many(Arm { cri, pod, user }: &Arm<'_>, count: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            let container = cri.launch(pod, &spec(&format!("load-{number}"), *user))?;
            remove(cri, &container)?;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a thread panicked")))
    })
}

fn remove(cri: &Cri, container: &str) -> Result<()> {
    cri.stop(container)?;
    Ok(cri.remove(container)?)
}

//! The proxy killed again and again while pods' containers are made through it.

use std::{
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tonic::Code;

use super::{app, groups, node::Node, raw, set};
use crate::world::World;
use e2e::{Cri, Identity, Kind, Pod, cri::CriError, random::Random};

const WORKERS: usize = 3;
const CONTAINERS_OF_A_WORKER: usize = 20;
/// More tries than there are kills.
const MOST_TRIES: usize = 400;

/// What became of the calls of all workers.
#[derive(Default)]
struct Made {
    /// The runtime accepted them, and the worker heard of it.
    created: Mutex<Vec<String>>,
    started: Mutex<Vec<String>>,
    /// Calls that the proxy's end cut.
    cut: AtomicUsize,
}

fn add(list: &Mutex<Vec<String>>, id: &str) {
    list.lock().unwrap_or_else(PoisonError::into_inner).push(id.to_owned());
}

/// Whether the proxy was killed under the call; any other error is one.
fn was_cut(error: &CriError, made: &Made) -> Result<()> {
    ensure!(matches!(error.code, Code::Unavailable | Code::Unknown | Code::Cancelled), "{error}");
    made.cut.fetch_add(1, Ordering::Relaxed);
    std::thread::sleep(Duration::from_millis(50));
    Ok(())
}

/// Starts containers in a pod of its own as a kubelet does: what was cut is tried again, under another name.
fn work(node: &Node, socket: &Path, worker: usize, made: &Made) -> Result<()> {
    let cri = Cri::new(socket, node.containerd.run().name())?;
    let mut tries = 0..MOST_TRIES;
    let pod = loop {
        let number = tries.next().context("no pod can be made")?;
        match cri.run_pod(&Pod::new(&format!("worker-{worker}-{number}")).strict_field()) {
            Ok(pod) => break pod,
            Err(error) => was_cut(&error, made)?,
        }
    };
    let mut left = CONTAINERS_OF_A_WORKER;
    for number in tries {
        if left == 0 {
            return Ok(());
        }
        let mut spec = app().strict_field();
        if let Some(metadata) = spec.config.metadata.as_mut() {
            metadata.name = format!("c{number}");
        }
        let id = match cri.create(&pod, &spec) {
            Ok(id) => id,
            Err(error) => {
                was_cut(&error, made)?;
                continue;
            }
        };
        add(&made.created, &id);
        match cri.start(&id) {
            Ok(()) => add(&made.started, &id),
            Err(error) => was_cut(&error, made)?,
        }
        left -= 1;
    }
    bail!("worker {worker} did not get on")
}

pub(super) fn under_load(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let mut proxy = node.proxy()?;
    let socket = proxy.socket.clone();
    let made = Made::default();
    let kills = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                scope.spawn({
                    let (node, socket, made) = (&node, &socket, &made);
                    move || work(node, socket, worker, made)
                })
            })
            .collect();
        let (mut random, mut kills) = (Random::new(7, 7), 0);
        while !workers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(u64::try_from(100 + random.below(500))?));
            proxy.stop(Signal::SIGKILL)?;
            kills += 1;
            proxy = node.proxy_on(&socket)?;
        }
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker panicked")))?;
        anyhow::Ok(kills)
    })?;

    // From now on without the proxy: what the runtime has is what counts.
    let direct = node.containerd.cri();
    let (created, started) = (made.created.into_inner(), made.started.into_inner());
    let (created, started) =
        (created.unwrap_or_else(PoisonError::into_inner), started.unwrap_or_else(PoisonError::into_inner));
    for id in &created {
        direct.status(id).with_context(|| format!("container {id} was accepted, and is lost"))?;
    }
    for id in &started {
        ensure!(groups(direct, id)? == set(&[3000, 4000]), "container {id}");
    }
    let all = raw::ids(&node.containerd.socket())?;
    let mut running = 0;
    for id in &all {
        let status = direct.status(id)?;
        if status.pid != 0 {
            running += 1;
            let first = Identity::of_process(status.pid)?;
            ensure!(first.groups() == set(&[3000, 4000]), "container {id}, whose answer was lost: {first}");
        }
    }
    let cut = made.cut.into_inner();
    println!(
        "cri-proxy killed {kills} times: {} containers accepted, {} started, {cut} calls cut; the runtime has {}, \
         {running} run, wrong groups 0",
        created.len(),
        started.len(),
        all.len()
    );
    ensure!(kills > 3 && cut > 0, "the kills hit nothing");
    ensure!(created.len() >= WORKERS * CONTAINERS_OF_A_WORKER, "too few");
    // containerd 1.7 cannot remove some containers whose start was cut, with or without a proxy (`cannot delete
    // running task`): the end of the run takes them.
    let _ = direct.remove_all_pods();
    Ok(())
}

//! Ends and restarts, of the proxy and of the runtime.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use super::{
    SERVICE, TIMEOUT, app, groups,
    node::{Held, Node},
    raw, refused, set,
};
use crate::world::World;
use e2e::{Kind, Pod, wait_for};

pub(super) fn lives(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("web").strict_field())?;
    let container = proxy.cri.launch(&pod, &app().strict_field())?;

    node.containerd.halt(Signal::SIGKILL)?;
    refused(proxy.cri.version(), tonic::Code::Unavailable, &["cannot be reached"])?;
    node.containerd.launch()?;
    wait_for(TIMEOUT, || proxy.cri.is_ready().then_some(()))
        .context("the runtime is back, and not for the proxy")?;
    ensure!(groups(&proxy.cri, &container)? == set(&[3000, 4000]), "after the runtime's restart");

    // Killed: the next one takes the socket, and all is there.
    proxy.stop(Signal::SIGKILL)?;
    let next = node.proxy_on(&proxy.socket)?;
    ensure!(groups(&next.cri, &container)? == set(&[3000, 4000]), "after the proxy's restart");
    next.stop(Signal::SIGTERM)?;
    ensure!(next.log().contains("stopped"), "{}", next.log());
    node.containerd.cri().remove_all_pods()?;
    Ok(())
}

pub(super) fn activated(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    let held = Held::start(&node)?;
    let mut stopped = BTreeSet::new();
    for number in 0..60 {
        if number % 20 == 10 {
            stopped.insert(held.stop_proxy()?);
        }
        // A connection of its own, which waits in the socket while there is no proxy.
        let answer = raw::Client::new(&held.socket)?.call(&format!("{SERVICE}Version"), b"")?;
        ensure!(answer.is_ok(), "call {number}: {answer:?}; {}", held.log());
    }
    ensure!(stopped.len() == 3, "proxies that were stopped: {stopped:?}");
    Ok(())
}

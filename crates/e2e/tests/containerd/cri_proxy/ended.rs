//! Calls that end before their answer: cancelled by the kubelet, or past their deadline. Each does to the runtime what
//! it does without the proxy. And one that does not, although the proxy gets SIGTERM.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tokio::time::timeout;
use uds_grpc::{Client, Code, Error};

use super::{SERVICE, app, node::Node};
use crate::world::World;
use e2e::{Kind, Pod, cri::v1, wait_for};

const TIMEOUT: Duration = Duration::from_secs(20);

/// Whether a process `sleep SECONDS` is there.
fn sleeps(seconds: u32) -> bool {
    let wanted = format!("sleep\0{seconds}\0");
    fs::read_dir("/proc").into_iter().flatten().flatten().any(|entry| {
        fs::read(entry.path().join("cmdline")).is_ok_and(|line| line.ends_with(wanted.as_bytes()))
    })
}

fn wait_until(sleeping: bool, seconds: u32) -> Result<()> {
    wait_for(TIMEOUT, || (sleeps(seconds) == sleeping).then_some(()))
        .with_context(|| format!("sleep {seconds}: sleeping is not {sleeping} in time"))
}

fn exec(container: &str, seconds: u32) -> v1::ExecSyncRequest {
    v1::ExecSyncRequest {
        container_id: container.to_owned(),
        cmd: vec!["sleep".to_owned(), seconds.to_string()],
        timeout: 0,
    }
}

/// A call that is dropped while its process runs.
async fn cancelled(socket: &Path, container: &str, seconds: u32) -> Result<()> {
    let client = Client::new(socket, 1 << 20);
    let request = exec(container, seconds);
    let method = format!("{SERVICE}ExecSync");
    let call = client.unary::<_, v1::ExecSyncResponse>(&method, &request, &[]);
    let started = tokio::task::spawn_blocking(move || {
        wait_until(true, seconds)?;
        // containerd forgets a process when the call is cancelled before its start is over.
        std::thread::sleep(Duration::from_secs(1));
        anyhow::Ok(())
    });
    tokio::select! {
        answer = call => bail!("an answer: {answer:?}"),
        started = started => started??,
    }
    // The connection stays: it is the one call that ends.
    tokio::task::spawn_blocking(move || wait_until(false, seconds))
        .await?
        .context("after it was cancelled")?;
    let version = v1::VersionRequest { version: "v1".to_owned() };
    client.unary::<_, v1::VersionResponse>(&format!("{SERVICE}Version"), &version, &[]).await?;
    Ok(())
}

/// A call that tells its deadline, and is left to the runtime.
async fn late(socket: &Path, container: &str, seconds: u32) -> Result<Code> {
    let client = Client::new(socket, 1 << 20);
    let request = exec(container, seconds);
    let method = format!("{SERVICE}ExecSync");
    let call = client.unary::<_, v1::ExecSyncResponse>(&method, &request, &[("grpc-timeout", "1500m")]);
    let answer = timeout(TIMEOUT, call).await.context("the deadline did not count")?;
    match answer {
        Err(Error::Status(status)) => {
            // The code is the runtime's affair; containerd 1.7 says Unknown.
            ensure!(status.message.contains("deadline exceeded"), "{status:?}");
            Ok(status.code)
        }
        other => bail!("{other:?}"),
    }
}

pub(super) fn calls(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("web").strict_field())?;
    let container = proxy.cri.launch(&pod, &app().strict_field())?;
    let direct = node.containerd.socket();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        cancelled(&direct, &container, 2_147_480_001).await.context("direct")?;
        cancelled(&proxy.socket, &container, 2_147_480_002).await.context("through the proxy")?;
        let (without, with) = (
            late(&direct, &container, 2_147_480_003).await.context("direct")?,
            late(&proxy.socket, &container, 2_147_480_004).await.context("through the proxy")?,
        );
        ensure!(without == with, "without {without:?}, with {with:?}");
        anyhow::Ok(())
    })?;
    for seconds in [2_147_480_003, 2_147_480_004] {
        wait_until(false, seconds).context("after its deadline")?;
    }
    proxy.cri.remove_all_pods()?;
    Ok(())
}

/// SIGTERM while a call is on its way: it is answered first.
pub(super) fn drained(world: &World) -> Result<()> {
    const SECONDS: u32 = 3;
    let node = Node::start(world, Kind::V1_7)?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("web"))?;
    let container = proxy.cri.launch(&pod, &app())?;
    std::thread::scope(|scope| {
        let call = scope.spawn(|| proxy.cri.exec(&container, &["sleep", &SECONDS.to_string()]));
        wait_until(true, SECONDS)?;
        proxy.stop(Signal::SIGTERM)?;
        ensure!(call.is_finished() || !sleeps(SECONDS), "the proxy ended before the call");
        let output = call.join().map_err(|_| anyhow::anyhow!("the call panicked"))??;
        ensure!(output.code == 0, "{output:?}");
        anyhow::Ok(())
    })?;
    ensure!(proxy.cri.version().is_err(), "who answers?");
    node.containerd.cri().remove_all_pods()?;
    Ok(())
}

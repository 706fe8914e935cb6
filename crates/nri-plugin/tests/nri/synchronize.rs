//! The state of the node, in one piece and in parts.

use std::time::Duration;

use nri_plugin::api::{
    ConfigureRequest, ConfigureResponse, Container, PodSandbox, SynchronizeRequest, SynchronizeResponse,
};

use crate::{
    peer::{Peer, Runtime, request},
    probe::Running,
};

/// `count` containers of about `size` bytes each.
fn state(count: usize, size: usize, more: bool) -> SynchronizeRequest {
    let container =
        |i| Container { id: format!("c{i}"), env: vec!["x".repeat(size)], ..Container::default() };
    SynchronizeRequest {
        pods: vec![PodSandbox::default()],
        containers: (0..count).map(container).collect(),
        more,
    }
}

async fn configured(runtime: &Runtime) -> Peer {
    let mut peer = runtime.accept().await;
    peer.register().await;
    peer.ok::<ConfigureResponse>("Configure", &ConfigureRequest::default()).await;
    peer
}

#[tokio::test]
async fn synchronize_in_parts_calls_the_handler_once() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = configured(&runtime).await;
    running.until("configure").await;

    for _ in 0..3 {
        let answer: SynchronizeResponse = peer.ok("Synchronize", &state(10, 100, true)).await;
        assert!(answer.more && answer.update.is_empty());
        assert!(running.drain().is_empty());
    }
    let answer: SynchronizeResponse = peer.ok("Synchronize", &state(5, 100, false)).await;
    assert!(!answer.more);
    assert_eq!(answer.update[0].container_id, "c4");
    assert_eq!(running.note().await, ("synchronize", "4".into(), "35".into()));
    assert_eq!(running.note().await.0, "connected");
}

#[tokio::test]
async fn one_piece_may_be_nearly_16_mebibytes() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = configured(&runtime).await;
    // 16,000 containers of 1 KiB: what ttrpc's own limit of 4 MiB would refuse.
    let answer: SynchronizeResponse = peer.ok("Synchronize", &state(16_000, 1000, false)).await;
    assert_eq!(answer.update.len(), 1);
    assert_eq!(running.until("synchronize").await.2, "16000");
}

#[tokio::test]
async fn whole_of_all_parts_is_bounded() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = configured(&runtime).await;
    let part = request("Synchronize", &state(15, 1_000_000, true));
    for _ in 0..4 {
        assert_eq!(peer.call(&part).await.status, None);
    }
    peer.ask(&part).await;
    assert_eq!(peer.receive().await, None);
    // And the connection is made again.
    runtime.accept_in_service().await;
    running.until("connected").await;
}

/// Up to NRI 0.6 a runtime whose Synchronize failed keeps the connection and never calls.
#[tokio::test]
async fn error_or_late_answer_leads_to_a_new_registration() {
    for (name, timeout) in [("error", Duration::from_secs(2)), ("hang", Duration::from_millis(100))] {
        let runtime = Runtime::listen();
        let mut running = Running::at(&runtime.path);
        let mut peer = configured(&runtime).await;
        let pods = vec![PodSandbox { name: name.into(), ..PodSandbox::default() }];
        let mut asked = request("Synchronize", &SynchronizeRequest { pods, ..SynchronizeRequest::default() });
        asked.timeout_nano = i64::try_from(timeout.as_nanos()).unwrap();
        assert!(peer.call(&asked).await.status.is_some(), "{name}: no error");
        assert_eq!(peer.receive().await, None, "{name}: it stays connected");
        runtime.accept_in_service().await;
        assert_eq!(running.until("connected").await.0, "connected");
    }
}

/// As containerd does that cannot send its state: it accepts the plugin, and gives up.
#[tokio::test]
async fn broken_off_synchronize_is_told_once_and_tried_less_often() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut gaps = Vec::new();
    let mut peer = configured(&runtime).await;
    for _ in 0..3 {
        drop(peer);
        let begin = std::time::Instant::now();
        peer = configured(&runtime).await;
        gaps.push(begin.elapsed());
    }
    let least = [100, 400, 1600].map(Duration::from_millis);
    assert!(gaps.iter().zip(least).all(|(gap, least)| *gap >= least), "{gaps:?}");
    peer.ok::<SynchronizeResponse>("Synchronize", &SynchronizeRequest::default()).await;
    running.until("not_synchronized").await;
    loop {
        match running.note().await.0 {
            "connected" => break,
            note => assert_ne!(note, "not_synchronized"),
        }
    }
}

//! Registration, the end of a connection, and the next one.

use std::{
    os::unix::net::UnixStream as StdUnixStream,
    time::{Duration, Instant},
};

use nri_plugin::{
    CallError, Error,
    api::{
        ConfigureRequest, ConfigureResponse, ContainerUpdate, UpdateContainersRequest,
        UpdateContainersResponse,
    },
};
use prost::Message;
use tokio::net::{UnixListener, UnixStream};

use crate::{
    calls::create,
    peer::{Peer, RUNTIME, Runtime, frame, message, request, wire},
    probe::{Running, options},
};

#[tokio::test]
async fn plugin_introduces_itself() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let registration = runtime.accept().await.register().await;
    assert_eq!((registration.plugin_name.as_str(), registration.plugin_idx.as_str()), ("probe", "07"));
}

#[tokio::test]
async fn runtime_that_goes_away_is_connected_to_again() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    for _ in 0..3 {
        let mut peer = runtime.accept_in_service().await;
        running.until("connected").await;
        peer.ask(&create("hang")).await;
        running.until("hanging").await;
        drop(peer);
        // The handler first, so that it cannot act for a runtime that the plugin holds for gone.
        assert_eq!(running.note().await.0, "dropped");
        let (what, reason, _) = running.note().await;
        assert_eq!((what, reason.as_str()), ("disconnected", "the runtime closed the connection"));
    }
}

#[tokio::test]
async fn socket_that_is_not_there_yet_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later/nri.sock");
    let mut running = Running::at(&path);
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::fs::create_dir(dir.path().join("later")).unwrap();
    // A stale one first, then one with a listener.
    drop(UnixListener::bind(&path).unwrap());
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::fs::remove_file(&path).unwrap();
    let listener = UnixListener::bind(&path).unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    Peer::new(stream).introduce(ConfigureRequest::default()).await;
    assert_eq!(running.until("connected").await.0, "connected");
}

#[tokio::test]
async fn registration_that_is_refused_is_tried_again() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = runtime.accept().await;
    peer.receive().await.unwrap();
    let status = wire::Status { code: 2, message: "index in use".into() };
    let refusal = wire::Response { status: Some(status), ..wire::Response::default() };
    peer.send(&frame(RUNTIME, &message(1, 2, &refusal.encode_to_vec()))).await;
    assert_eq!(peer.receive().await, None);
    runtime.accept_in_service().await;
    // Nothing was in service before.
    assert_eq!(running.until("connected").await.0, "connected");
}

#[tokio::test]
async fn runtimes_reason_is_kept() {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    let mut running = Running::with(nri_plugin::Events::ALL, options().connection(ours));
    let mut peer = peer(theirs);
    peer.receive().await.unwrap();
    let status = wire::Status { code: 2, message: "index in use".into() };
    let refusal = wire::Response { status: Some(status), ..wire::Response::default() };
    peer.send(&frame(RUNTIME, &message(1, 2, &refusal.encode_to_vec()))).await;
    let Err(Error::InheritedLost(reason)) = running.end().await else { panic!("goes on") };
    let Error::RegistrationRefused(status) = *reason else { panic!("{reason}") };
    assert_eq!(status.message, "index in use");
}

#[tokio::test]
async fn registration_is_not_waited_for_for_ever() {
    let runtime = Runtime::listen();
    let limit = Duration::from_millis(150);
    let _running =
        Running::with(nri_plugin::Events::ALL, options().socket(&runtime.path).registration_timeout(limit));
    let mut silent = runtime.accept().await;
    let begin = Instant::now();
    assert!(silent.receive().await.is_some());
    assert_eq!(silent.receive().await, None);
    assert!(begin.elapsed() + Duration::from_millis(20) >= limit);
    // Accepted, but never configured.
    let mut half = runtime.accept().await;
    half.register().await;
    assert_eq!(half.receive().await, None);
    // In service: no limit any more.
    let mut peer = runtime.accept_in_service().await;
    tokio::time::sleep(limit * 2).await;
    assert_eq!(peer.call(&create("plain")).await.status, None);
}

fn peer(stream: StdUnixStream) -> Peer {
    stream.set_nonblocking(true).unwrap();
    Peer::new(UnixStream::from_std(stream).unwrap())
}

#[tokio::test]
async fn connection_that_was_handed_over_is_used_once() {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    let mut running = Running::with(nri_plugin::Events::ALL, options().connection(ours));
    let mut peer = peer(theirs);
    peer.introduce(ConfigureRequest::default()).await;
    assert_eq!(peer.call(&create("plain")).await.status, None);
    drop(peer);
    let error = running.end().await.unwrap_err();
    assert!(!error.retry_helps());
    assert!(matches!(error, Error::InheritedLost(reason) if matches!(*reason, Error::Closed)));
    running.until("disconnected").await;
}

#[tokio::test]
async fn asked_to_stop_it_finishes_what_it_began() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    let stream = peer.ask(&create("slow")).await;
    running.until("create_container").await;
    running.ask_to_stop();
    let (answered, response) = peer.answer().await;
    assert_eq!((answered, response.status), (stream, None));
    assert_eq!(peer.receive().await, None);
    running.end().await.unwrap();
    assert!(running.drain().iter().all(|note| note.0 != "disconnected"));
}

#[tokio::test]
async fn asked_to_stop_it_stops_while_it_waits_for_a_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::at(&dir.path().join("nri.sock"));
    tokio::time::sleep(Duration::from_millis(30)).await;
    running.ask_to_stop();
    running.end().await.unwrap();
}

#[tokio::test]
async fn plugin_calls_the_runtime() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    running.until("connected").await;
    let handle = running.plugin.handle.lock().unwrap().clone().unwrap();

    let update = ContainerUpdate { container_id: "c".into(), ..ContainerUpdate::default() };
    let call = {
        let (handle, update) = (handle.clone(), vec![update.clone()]);
        tokio::spawn(async move { handle.update_containers(update, Vec::new()).await })
    };
    let received = peer.receive().await.unwrap();
    assert_eq!((received.connection, received.stream, received.kind), (RUNTIME, 3, 1));
    let asked = wire::Request::decode(&*received.payload).unwrap();
    assert_eq!(asked.method, "UpdateContainers");
    assert_eq!(
        UpdateContainersRequest::decode(&*asked.payload).unwrap().update,
        std::slice::from_ref(&update)
    );
    let payload = UpdateContainersResponse { failed: vec![update.clone()] }.encode_to_vec();
    let answer = wire::Response { payload, ..wire::Response::default() };
    peer.send(&frame(RUNTIME, &message(3, 2, &answer.encode_to_vec()))).await;
    assert_eq!(call.await.unwrap(), Ok(vec![update]));

    let big = ContainerUpdate { container_id: "x".repeat(2 << 20), ..ContainerUpdate::default() };
    assert!(matches!(handle.update_containers(vec![big], Vec::new()).await, Err(CallError::TooLarge(_))));

    drop(peer);
    running.until("disconnected").await;
    assert_eq!(handle.update_containers(Vec::new(), Vec::new()).await, Err(CallError::Disconnected));
}

#[tokio::test]
async fn thousands_of_calls_on_one_connection() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    for _ in 0..2000 {
        assert_eq!(peer.call(&create("plain")).await.status, None);
    }
    // And many at once, which come back in whatever order.
    let mut asked: Vec<u32> = Vec::new();
    for name in ["plain", "slow", "error"].iter().cycle().take(300) {
        asked.push(peer.ask(&create(name)).await);
    }
    for _ in 0..300 {
        let (stream, _) = peer.answer().await;
        asked.retain(|s| *s != stream);
    }
    assert!(asked.is_empty());
    assert_eq!(peer.call(&request("Shutdown", &())).await.status, None);
}

/// As NRI does up to 0.6 with a plugin from its plugin directory.
#[tokio::test]
async fn without_synchronize_first_event_puts_plugin_in_service() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = runtime.accept().await;
    peer.register().await;
    peer.ok::<ConfigureResponse>("Configure", &ConfigureRequest::default()).await;
    assert_eq!(running.note().await.0, "configure");
    peer.call(&create("plain")).await;
    assert_eq!(running.note().await.0, "connected");
    assert_eq!(running.note().await.0, "create_container");
    peer.call(&create("plain")).await;
    assert_eq!(running.note().await.0, "create_container");
    drop(peer);
    assert_eq!(running.note().await.0, "disconnected");
}

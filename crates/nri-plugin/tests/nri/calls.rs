//! Every call is answered, whatever the handler does.

use std::time::{Duration, Instant};

use nri_plugin::{
    Events,
    api::{
        ConfigureRequest, Container, CreateContainerRequest, CreateContainerResponse, PodSandbox,
        RunPodSandboxRequest, StateChangeEvent,
    },
};
use prost::Message;

use crate::{
    peer::{Runtime, request, wire},
    probe::{Running, options, strict_response},
};

pub fn pod(name: &str) -> PodSandbox {
    PodSandbox { id: format!("{name}-id"), name: name.into(), ..PodSandbox::default() }
}

pub fn create(pod_name: &str) -> wire::Request {
    let container = Container { id: "c".into(), ..Container::default() };
    request(
        "CreateContainer",
        &CreateContainerRequest { pod: Some(pod(pod_name)), container: Some(container) },
    )
}

async fn create_works(peer: &mut crate::peer::Peer) {
    let response = peer.call(&create("plain")).await;
    assert_eq!(response.status, None);
    let response = CreateContainerResponse::decode(&*response.payload).unwrap();
    assert_eq!(response, strict_response(&pod("plain")));
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;

    let (code, text) = peer.fails(&wire::Request { method: "Fly".into(), ..create("plain") }).await;
    assert_eq!(code, 12);
    assert!(text.contains("Fly"), "{text}");
    let (code, text) = peer.fails(&wire::Request { service: "grpc.health".into(), ..create("plain") }).await;
    assert_eq!(code, 12);
    assert!(text.contains("grpc.health"), "{text}");
    create_works(&mut peer).await;
}

#[tokio::test]
async fn what_cannot_be_understood_is_an_invalid_argument() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;

    for method in ["CreateContainer", "StateChange", "RunPodSandbox", "Configure", "Synchronize"] {
        let garbage = wire::Request { method: method.into(), payload: vec![0xff; 9], ..create("plain") };
        let (code, text) = peer.fails(&garbage).await;
        assert_eq!(code, 3, "{method}");
        assert!(text.contains(method), "{text}");
    }
    peer.send(&crate::peer::frame(1, &crate::peer::message(99, 1, &[0xff; 9]))).await;
    let (stream, response) = peer.answer().await;
    assert_eq!((stream, response.status.unwrap().code), (99, 3));
    create_works(&mut peer).await;
}

#[tokio::test]
async fn event_without_its_pod_or_container_is_refused() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    running.until("connected").await;

    let nothing = CreateContainerRequest::default();
    let no_container = CreateContainerRequest { pod: Some(pod("plain")), container: None };
    for method in [
        "CreateContainer",
        "StopContainer",
        "UpdateContainer",
        "PostStartContainer",
        "ValidateContainerAdjustment",
    ] {
        assert_eq!(peer.fails(&request(method, &nothing)).await, (3, "the request names no pod".into()));
        assert_eq!(
            peer.fails(&request(method, &no_container)).await,
            (3, "the request names no container".into())
        );
    }
    let event = StateChangeEvent { event: 5, ..StateChangeEvent::default() };
    assert_eq!(peer.fails(&request("StateChange", &event)).await.0, 3);
    assert_eq!(peer.fails(&request("RunPodSandbox", &RunPodSandboxRequest::default())).await.0, 3);
    assert!(running.drain().is_empty());
}

#[tokio::test]
async fn error_is_answered_with_its_text() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    assert_eq!(peer.fails(&create("error")).await, (2, "no luck: cause in two lines".into()));
    create_works(&mut peer).await;
}

#[tokio::test]
async fn panic_is_answered_and_the_plugin_goes_on() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    for (name, text) in [("panic", "as told"), ("panic-later", "as told, later")] {
        assert_eq!(peer.fails(&create(name)).await, (13, format!("the plugin panicked: {text}")));
        create_works(&mut peer).await;
    }
}

#[tokio::test]
async fn handler_that_hangs_is_answered_before_the_runtime_gives_up() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;

    let asked = Instant::now();
    let timeout_nano = 400_000_000;
    let (code, text) = peer.fails(&wire::Request { timeout_nano, ..create("hang") }).await;
    let took = asked.elapsed();
    assert_eq!((code, text.as_str()), (4, "the plugin did not answer within 300ms"));
    assert!(took >= Duration::from_millis(300) && took < Duration::from_millis(390), "{took:?}");
    running.until("dropped").await;
    create_works(&mut peer).await;
}

#[tokio::test]
async fn runtimes_own_limit_counts_when_it_is_smaller() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let mut peer = runtime.accept().await;
    peer.introduce(ConfigureRequest { request_timeout: 200, ..ConfigureRequest::default() }).await;

    let timeout_nano = 10_000_000_000;
    let (code, text) = peer.fails(&wire::Request { timeout_nano, ..create("hang") }).await;
    assert_eq!((code, text.as_str()), (4, "the plugin did not answer within 150ms"));
}

#[tokio::test]
async fn without_any_limit_told_the_default_of_two_seconds_counts() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    assert_eq!(peer.fails(&create("hang")).await, (4, "the plugin did not answer within 1.5s".into()));
}

#[tokio::test]
async fn slow_handler_does_not_hold_up_others() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    let slow = peer.ask(&create("slow")).await;
    let quick = peer.ask(&create("plain")).await;
    assert_eq!(peer.answer().await.0, quick);
    assert_eq!(peer.answer().await.0, slow);
}

#[tokio::test]
async fn events_that_are_not_wanted_get_an_empty_answer_and_no_call() {
    let runtime = Runtime::listen();
    let mut running = Running::with(Events::START_CONTAINER, options().socket(&runtime.path));
    let mut peer = runtime.accept_in_service().await;
    running.until("connected").await;
    for request in [
        create("panic"),
        request("StateChange", &StateChangeEvent { event: 5, pod: Some(pod("panic")), container: None }),
        request("StateChange", &StateChangeEvent { event: 99, ..StateChangeEvent::default() }),
        request("RemovePodSandbox", &RunPodSandboxRequest { pod: Some(pod("panic")) }),
    ] {
        assert_eq!(peer.call(&request).await, wire::Response::default());
    }
    assert!(running.drain().is_empty());
}

#[tokio::test]
async fn long_answer_is_cut_into_frames_too_long_one_is_not_sent() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    let response = peer.call(&create("big")).await;
    assert_eq!(CreateContainerResponse::decode(&*response.payload).unwrap(), strict_response(&pod("big")));
    assert_eq!(peer.largest_frame, 4096);

    let (code, text) = peer.fails(&create("huge")).await;
    assert_eq!(code, 8);
    assert!(text.contains("more than a runtime accepts"), "{text}");
    create_works(&mut peer).await;
}

//! Both styles of event reach the same handlers, and Configure's answer names the events wanted.

use std::{collections::HashMap, time::Duration};

use nri_plugin::{
    Events,
    api::{
        ConfigureRequest, Container, LinuxResources, StateChangeEvent, UpdateContainerRequest,
        UpdatePodSandboxRequest, ValidateContainerAdjustmentRequest, ValidateContainerAdjustmentResponse,
    },
};

use crate::{
    calls::pod,
    peer::{Runtime, request, wire},
    probe::{Running, options},
};

fn container() -> Container {
    Container { id: "c".into(), ..Container::default() }
}

/// Event number, method, handler, and whether it is about a container.
const TOLD: [(i32, &str, &str, bool); 9] = [
    (1, "RunPodSandbox", "run_pod_sandbox", false),
    (2, "StopPodSandbox", "stop_pod_sandbox", false),
    (3, "RemovePodSandbox", "remove_pod_sandbox", false),
    (5, "PostCreateContainer", "post_create_container", true),
    (6, "StartContainer", "start_container", true),
    (7, "PostStartContainer", "post_start_container", true),
    (9, "PostUpdateContainer", "post_update_container", true),
    (11, "RemoveContainer", "remove_container", true),
    (13, "PostUpdatePodSandbox", "post_update_pod_sandbox", false),
];

#[tokio::test]
async fn state_change_and_own_method_reach_the_same_handler() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    running.until("connected").await;

    for (event, method, handler, has_container) in TOLD {
        let container = has_container.then(container);
        let message = StateChangeEvent { event, pod: Some(pod("plain")), container: container.clone() };
        let expected = (handler, "plain-id".to_string(), if has_container { "c" } else { "" }.to_string());

        assert_eq!(peer.call(&request("StateChange", &message)).await, wire::Response::default());
        assert_eq!(running.note().await, expected);

        // The same message without the event's number has the same fields, one number higher.
        let own = nri_plugin::api::PostCreateContainerRequest { pod: message.pod, container };
        assert_eq!(peer.call(&request(method, &own)).await, wire::Response::default());
        assert_eq!(running.note().await, expected);
    }
}

#[tokio::test]
async fn events_that_may_change_something_reach_their_handlers() {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    running.until("connected").await;
    let (pod, container) = (Some(pod("plain")), Some(container()));

    let resources =
        LinuxResources { unified: HashMap::from([("k".into(), "v".into())]), ..LinuxResources::default() };
    let update = UpdateContainerRequest {
        pod: pod.clone(),
        container: container.clone(),
        linux_resources: Some(resources),
    };
    assert_eq!(peer.call(&request("UpdateContainer", &update)).await, wire::Response::default());
    assert_eq!(running.note().await.0, "update_container");

    let update = UpdatePodSandboxRequest { pod: pod.clone(), ..UpdatePodSandboxRequest::default() };
    assert_eq!(peer.call(&request("UpdatePodSandbox", &update)).await, wire::Response::default());
    assert_eq!(running.note().await.0, "update_pod_sandbox");

    assert_eq!(peer.call(&crate::calls::create("plain")).await.status, None);
    assert_eq!(running.note().await.0, "create_container");

    let stop = nri_plugin::api::StopContainerRequest { pod: pod.clone(), container: container.clone() };
    assert_eq!(peer.call(&request("StopContainer", &stop)).await, wire::Response::default());
    assert_eq!(running.note().await.0, "stop_container");

    let validate = ValidateContainerAdjustmentRequest { pod, container, ..Default::default() };
    let verdict: ValidateContainerAdjustmentResponse =
        peer.ok("ValidateContainerAdjustment", &validate).await;
    assert!(verdict.reject && verdict.reason == "no");
    assert_eq!(running.note().await.0, "validate");

    assert_eq!(peer.call(&request("Shutdown", &())).await, wire::Response::default());
    assert_eq!(running.note().await.0, "shutdown");
}

#[tokio::test]
async fn configure_reaches_the_plugin_and_asks_for_its_events() {
    let wanted =
        Events::CREATE_CONTAINER | Events::POST_CREATE_CONTAINER | Events::VALIDATE_CONTAINER_ADJUSTMENT;
    let old = ConfigureRequest {
        config: "level: 1".into(),
        runtime_name: "containerd".into(),
        runtime_version: "1.7.24".into(),
        ..ConfigureRequest::default()
    };
    let new = ConfigureRequest {
        runtime_version: "2.3.0".into(),
        registration_timeout: 7000,
        request_timeout: 3000,
        nri_version: "0.12.0".into(),
        ..old.clone()
    };
    for (configure, events) in [(old, 0b1_1000), (new, 0b10_0000_0001_1000)] {
        let runtime = Runtime::listen();
        let mut running = Running::with(wanted, options().socket(&runtime.path));
        let mut peer = runtime.accept().await;
        assert_eq!(peer.introduce(configure.clone()).await.events, events);
        running.until("connected").await;

        let info = running.plugin.info.lock().unwrap().clone();
        assert_eq!((info.config.as_str(), info.name.as_str()), ("level: 1", "containerd"));
        assert_eq!(info.version, configure.runtime_version);
        let millis = |ms: i64| (ms > 0).then(|| Duration::from_millis(ms.unsigned_abs()));
        assert_eq!(info.registration_timeout, millis(configure.registration_timeout));
        assert_eq!(info.request_timeout, millis(configure.request_timeout));
        assert_eq!(info.nri_version.unwrap_or_default(), configure.nri_version);
    }
}

#[tokio::test]
async fn configuration_that_the_plugin_refuses_is_an_error() {
    let runtime = Runtime::listen();
    let _running = Running::at(&runtime.path);
    let mut peer = runtime.accept().await;
    peer.register().await;
    let bad = ConfigureRequest { config: "bad".into(), ..ConfigureRequest::default() };
    assert_eq!(peer.fails(&request("Configure", &bad)).await, (2, "bad configuration".into()));
}

//! An API server that does not do its work: the container gets what is known without it, and one line is logged.

use std::time::Duration;

use nri_plugin::api::Event;

use crate::node::{Node, annotated, enabled, web};
use e2e::kube_api::{KubeApi, Reply, pod};

const UNKNOWN: &str = "what the pod's spec declares is not known";
/// More than the plugin waits for the API server, and much less than the runtime waits for the plugin.
const SOON: Duration = Duration::from_secs(3);

fn right() -> Reply {
    Reply::Now(200, pod("u-1", r#"{"fsGroup":5000}"#))
}

/// What is not asked for again is logged before the first container comes.
async fn refused(node: &mut Node, words: &[&str]) {
    node.told(Event::RunPodSandbox, &web()).await;
    node.process.until(UNKNOWN, 1);
    unknown(node, words).await;
}

/// Two containers of a Strict pod start without what is not known, and one line says why.
async fn unknown(node: &mut Node, words: &[&str]) {
    node.told(Event::RunPodSandbox, &web()).await;
    for _ in 0..2 {
        let (gate, time) = node.created(&annotated("Strict")).await;
        assert_eq!(gate.expect("not Strict").len(), 5);
        assert!(time < SOON, "{time:?}");
    }
    node.process.until(UNKNOWN, 1);
    let log = node.process.log();
    let line = log.lines().find(|line| line.contains(UNKNOWN)).unwrap();
    for word in ["WARN", "pod=\"web\"", "namespace=\"default\""].iter().chain(words) {
        assert!(line.contains(word), "no {word:?} in {line}");
    }
    assert_eq!(log.matches(UNKNOWN).count(), 1, "{log}");
}

#[tokio::test]
async fn refusal_is_logged_with_what_to_do() {
    for (status, words) in [
        (403, "(403); give it a ClusterRole with the verb get for pods"),
        (404, "no such pod (404)"),
        (418, "status 418"),
    ] {
        let api = KubeApi::start(move |_, _| Reply::Now(status, "{}".into()));
        let mut node = Node::asking(&api).await;
        refused(&mut node, &[words]).await;
        assert_eq!(api.asked().len(), 1, "{status} is final");
    }
}

#[tokio::test]
async fn another_pod_of_the_same_name_says_nothing_about_this_one() {
    let api = KubeApi::start(|_, _| Reply::Now(200, pod("u-2", r#"{"supplementalGroupsPolicy":"Strict"}"#)));
    let mut node = Node::asking(&api).await;
    refused(&mut node, &["has the uid \"u-2\" there, this one has \"u-1\""]).await;
    assert_eq!(node.created(&web()).await.0, None);
}

#[tokio::test]
async fn answer_that_is_no_pod_or_too_long_says_nothing() {
    for (body, words) in [
        ("{".to_owned(), "the answer is not a pod that is understood"),
        (pod("u-1", r#"{"fsGroup":-5}"#), "the answer is not a pod that is understood"),
        (" ".repeat(9 << 20), "too long"),
    ] {
        let api = KubeApi::start(move |_, _| Reply::Now(200, body.clone()));
        refused(&mut Node::asking(&api).await, &[words]).await;
    }
}

#[tokio::test]
async fn what_may_pass_is_asked_again() {
    for first in [|| Reply::Now(500, String::new()), || Reply::Now(429, String::new()), || Reply::CutOff] {
        let api = KubeApi::start(move |number, _| if number == 0 { first() } else { right() });
        let mut node = Node::asking(&api).await;
        node.known(&web()).await;
        assert_eq!(node.declared(&annotated("Strict")).await.as_deref(), Some("5000"));
        assert_eq!(api.asked().len(), 2);
        assert!(!node.process.log().contains(UNKNOWN));
    }
}

#[tokio::test]
async fn server_that_always_cuts_off_is_not_waited_for() {
    let api = KubeApi::start(|_, _| Reply::CutOff);
    unknown(&mut Node::asking(&api).await, &["did not answer in time"]).await;
}

#[tokio::test]
async fn slow_answer_is_waited_for_once_and_used_when_it_comes() {
    let slow = Duration::from_secs(2);
    let api = KubeApi::start(move |_, _| match right() {
        Reply::Now(status, body) => Reply::After(slow, status, body),
        other => other,
    });
    let mut node = Node::asking(&api).await;
    let pod = annotated("Strict");
    node.told(Event::RunPodSandbox, &pod).await;
    let (first, waited) = node.created(&pod).await;
    assert!(waited > Duration::from_millis(500) && waited < SOON, "{waited:?}");
    let (second, at_once) = node.created(&pod).await;
    assert!(at_once < Duration::from_millis(500), "{at_once:?}");
    assert_eq!((first.unwrap().len(), second.unwrap().len()), (5, 5));
    node.process.until("the Kubernetes API pod=\"web\"", 1);
    assert_eq!(node.declared(&pod).await.as_deref(), Some("5000"));
    assert_eq!(node.process.log().matches(UNKNOWN).count(), 1);
}

#[tokio::test]
async fn server_with_another_authoritys_certificate_is_not_trusted() {
    let (api, other) = (KubeApi::start(|_, _| right()), KubeApi::start(|_, _| right()));
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = api.kubeconfig(dir.path(), "{token: secret}");
    std::fs::write(dir.path().join("ca.crt"), other.authority()).unwrap();
    let mut node = Node::with(dir, &enabled(&kubeconfig)).await;
    refused(&mut node, &["is not trusted", "certificate-authority"]).await;
    assert!(api.asked().is_empty(), "the token was sent to it");
}

#[tokio::test]
async fn without_a_server_everything_else_works() {
    let api = KubeApi::start(|_, _| right());
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = api.kubeconfig(dir.path(), "{token: secret}");
    drop(api);
    let mut node = Node::with(dir, &enabled(&kubeconfig)).await;
    unknown(&mut node, &["did not answer in time"]).await;
    node.process.until("asking again: cannot connect to the API server 127.0.0.1:", 1);
    assert_eq!(node.created(&web()).await.0, None);
}

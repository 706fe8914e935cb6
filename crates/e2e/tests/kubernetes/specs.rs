//! What the pod's spec says, and what comes of it.

use nri_plugin::api::Event;

use crate::node::{Node, annotated, web};
use e2e::kube_api::{KubeApi, Reply, pod};

const BOTH: &str = r#"{"fsGroup":5000,"supplementalGroups":[4000],"supplementalGroupsPolicy":"Strict"}"#;
/// `RunPodSandbox` and `RemovePodSandbox` (bits 1 and 3 of Configure's answer).
const SANDBOXES: i32 = 0b101;

/// An API server whose pod has this `securityContext`.
fn api(context: &'static str) -> KubeApi {
    KubeApi::start(move |_, _| Reply::Now(200, pod("u-1", context)))
}

#[tokio::test]
async fn pod_spec_alone_makes_strict_and_fills_the_gate() {
    let api = api(BOTH);
    let mut node = Node::asking(&api).await;
    assert_eq!(node.configured.events & SANDBOXES, SANDBOXES);
    node.known(&web()).await;
    for _ in 0..3 {
        assert_eq!(node.declared(&web()).await.as_deref(), Some("5000,4000"));
    }
    let asked = api.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].line, "GET /api/v1/namespaces/default/pods/web HTTP/1.1");
    assert_eq!(asked[0].authorization.as_deref(), Some("Bearer secret"));
    let log = node.process.log();
    assert!(!log.contains("WARN") && !log.contains("secret"), "{log}");
}

#[tokio::test]
async fn sandbox_that_was_not_seen_is_asked_for_when_it_is_needed() {
    let api = api(BOTH);
    let mut node = Node::asking(&api).await;
    // Strict by its annotation too: on a busy machine the answer may come too late for the first one.
    node.declared(&annotated("Strict")).await;
    node.process.until("the Kubernetes API pod=\"web\"", 1);
    assert_eq!(node.declared(&web()).await.as_deref(), Some("5000,4000"));
    assert_eq!(api.asked().len(), 1);
}

#[tokio::test]
async fn answer_lasts_as_long_as_its_sandbox() {
    let api = api(BOTH);
    let mut node = Node::asking(&api).await;
    for times in 1..=2 {
        node.known(&web()).await;
        node.declared(&web()).await;
        assert_eq!(api.asked().len(), times);
        node.told(Event::RemovePodSandbox, &web()).await;
    }
}

#[tokio::test]
async fn pod_that_declares_no_groups_is_not_one_that_is_unknown() {
    let api = api(r#"{"supplementalGroupsPolicy":"Strict"}"#);
    let mut node = Node::asking(&api).await;
    node.known(&web()).await;
    assert_eq!(node.declared(&web()).await.as_deref(), Some(""));
}

#[tokio::test]
async fn spec_that_says_merge_or_nothing_changes_nothing() {
    for context in ["{}", "null", r#"{"supplementalGroupsPolicy":"Merge","fsGroup":1}"#] {
        let api = api(context);
        let mut node = Node::asking(&api).await;
        node.known(&web()).await;
        assert_eq!(node.created(&web()).await.0, None, "{context}");
    }
    let api = api(r#"{"fsGroup":1}"#);
    let mut node = Node::asking(&api).await;
    node.known(&web()).await;
    assert_eq!(node.declared(&annotated("Strict")).await.as_deref(), Some("1"));
}

#[tokio::test]
async fn what_contradicts_itself_or_is_not_known_is_refused() {
    for (context, pod, words) in [
        (BOTH, annotated("Merge"), "says Merge, but supplementalGroupsPolicy in the pod's spec says Strict"),
        (
            r#"{"supplementalGroupsPolicy":"Merge"}"#,
            annotated("Strict"),
            "says Strict, but supplementalGroupsPolicy in the pod's spec says Merge",
        ),
        (
            r#"{"supplementalGroupsPolicy":"Strictest"}"#,
            web(),
            "has the value \"Strictest\", which this node",
        ),
    ] {
        let api = api(context);
        let mut node = Node::asking(&api).await;
        node.known(&pod).await;
        let text = node.refused(&pod).await;
        assert!(text.contains(words) && text.contains("pod default/web, container app"), "{text}");
    }
}

#[tokio::test]
async fn static_pod_is_not_asked_for() {
    let api = api(BOTH);
    let mut node = Node::asking(&api).await;
    let mut pod = annotated("Strict");
    pod.annotations.insert("kubernetes.io/config.source".into(), "file".into());
    node.told(Event::RunPodSandbox, &pod).await;
    assert_eq!(node.declared(&pod).await, None);
    assert!(api.asked().is_empty());
}

#[tokio::test]
async fn nobody_is_asked_unless_it_is_turned_on() {
    let api = api(BOTH);
    let dir = tempfile::tempdir().unwrap();
    let kubeconfig = api.kubeconfig(dir.path(), "{token: t}");
    let config = format!("[kubernetes]\nkubeconfig = \"{}\"\n", kubeconfig.display());
    let mut node = Node::with(dir, &config).await;
    assert_eq!(node.configured.events & SANDBOXES, 0);
    node.told(Event::RunPodSandbox, &web()).await;
    assert_eq!(node.created(&web()).await.0, None);
    assert!(api.asked().is_empty());
}

//! As whom the API server is asked. The plugin has given up its privileges by then: root's own files are all that
//! it can read.

use std::{
    fs,
    os::unix::fs::chown,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use crate::node::{Node, arguments, enabled, web};
use e2e::{
    kube_api::{Asked, KubeApi, Reply, pod},
    process::{NOBODY, Process, binary, mode},
};

const STRICT: &str = r#"{"fsGroup":5000,"supplementalGroupsPolicy":"Strict"}"#;

fn right() -> Reply {
    Reply::Now(200, pod("u-1", STRICT))
}

/// Lets only this token in.
fn only(token: &str) -> impl Fn(usize, &Asked) -> Reply + use<> {
    let wanted = format!("Bearer {token}");
    move |_, asked| {
        if asked.authorization.as_ref() == Some(&wanted) { right() } else { Reply::Now(401, String::new()) }
    }
}

/// A file that only root can read.
fn secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    mode(path, 0o600);
}

#[tokio::test]
async fn expired_token_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let token = Arc::new(Mutex::new(dir.path().join("token")));
    let rotated = Arc::clone(&token);
    let accept = only("new");
    let api = KubeApi::start(move |number, asked| {
        let reply = accept(number, asked);
        // Replaced between the first and the second try.
        secret(&rotated.lock().unwrap(), "new\n");
        reply
    });
    secret(&token.lock().unwrap(), "old\n");
    let kubeconfig = api.kubeconfig(dir.path(), "{tokenFile: token}");
    mode(&kubeconfig, 0o600);
    let mut node = Node::with(dir, &enabled(&kubeconfig)).await;
    node.known(&web()).await;
    assert_eq!(node.declared(&web()).await.as_deref(), Some("5000"));
    let tokens: Vec<_> = api.asked().into_iter().filter_map(|asked| asked.authorization).collect();
    assert_eq!(tokens, ["Bearer old", "Bearer new"]);
}

#[tokio::test]
async fn client_certificate_is_used_as_the_kubelets() {
    let api = KubeApi::for_certificates(|_, _| right());
    let dir = tempfile::tempdir().unwrap();
    secret(&dir.path().join("client.pem"), &api.client());
    let kubeconfig = api.kubeconfig(dir.path(), "{client-certificate: client.pem, client-key: client.pem}");
    let mut node = Node::with(dir, &enabled(&kubeconfig)).await;
    node.known(&web()).await;
    assert_eq!(node.declared(&web()).await.as_deref(), Some("5000"));
    assert_eq!(api.asked()[0].authorization, None);
}

/// In a mount namespace where the files are at the place that Kubernetes has for them.
#[tokio::test]
async fn in_a_pod_its_service_account_is_used() {
    let api = KubeApi::start(only("of-the-pod"));
    let dir = tempfile::tempdir().unwrap();
    secret(&dir.path().join("token"), "of-the-pod");
    secret(&dir.path().join("ca.crt"), &api.authority());
    let script = "mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount && \
                  cp -p \"$0/token\" \"$0/ca.crt\" /run/secrets/kubernetes.io/serviceaccount && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(dir.path()).arg(binary(dir.path()));
    command.args(arguments(dir.path(), "[kubernetes]\nenabled = true\n"));
    command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1");
    command.env("KUBERNETES_SERVICE_PORT", api.address.port().to_string());
    let mut node = Node::by(dir, &mut command).await;
    node.known(&web()).await;
    assert_eq!(node.declared(&web()).await.as_deref(), Some("5000"));
}

/// The plugin with this configuration does not start; its one line has these words.
fn refused(dir: tempfile::TempDir, config: &str, words: &[&str]) {
    let mut command = Command::new(binary(dir.path()));
    command.args(arguments(dir.path(), config));
    command.env_remove("KUBERNETES_SERVICE_HOST");
    let (code, log) = Process::spawn(dir, &mut command).ended();
    let log: Vec<&str> = log.lines().filter(|line| !line.contains("DEBUG")).collect();
    assert_eq!((code, log.len()), (Some(1), 1), "{log:?}");
    for word in words {
        assert!(log[0].contains(word), "no {word:?} in {log:?}");
    }
}

#[test]
fn credential_that_cannot_be_used_is_an_error_at_the_start() {
    let api = KubeApi::start(|_, _| right());
    let with = |user: &str, spoil: fn(&Path), words: &[&str]| {
        let dir = tempfile::tempdir().unwrap();
        let kubeconfig = api.kubeconfig(dir.path(), user);
        spoil(dir.path());
        refused(dir, &enabled(&kubeconfig), words);
    };
    with("{tokenFile: none}", |_| {}, &["cannot read ", "/none: No such file"]);
    with("{exec: {command: x}}", |_| {}, &["exec in the kubeconfig is not supported"]);
    with(
        "{token: t}",
        |dir| mode(&dir.join("kubeconfig"), 0o666),
        &["the kubeconfig ", "not trusted", "chmod go-w"],
    );
    with(
        "{token: t}",
        |dir| chown(dir.join("kubeconfig"), Some(NOBODY), None).unwrap(),
        &["not belong to root"],
    );
    with(
        "{token: t}",
        |dir| fs::remove_file(dir.join("kubeconfig")).unwrap(),
        &["the kubeconfig ", "there is no"],
    );
    with(
        "{token: t}",
        |dir| fs::write(dir.join("ca.crt"), "x").unwrap(),
        &["certificate-authority is not usable"],
    );
    // Without CAP_DAC_OVERRIDE root is a user like any other.
    let anothers = |dir: &Path| {
        secret(&dir.join("token"), "t");
        chown(dir.join("token"), Some(NOBODY), Some(NOBODY)).unwrap();
    };
    with("{tokenFile: token}", anothers, &["/token: Permission denied", "CAP_DAC_OVERRIDE"]);

    let none = || tempfile::tempdir().unwrap();
    refused(none(), "[kubernetes]\nenabled = true\n", &["KUBERNETES_SERVICE_HOST", "name a kubeconfig file"]);
    refused(
        none(),
        "[kubernetes]\nenabled = true\nkubeconfig = \"k\"\n",
        &["\"k\" must be an absolute path"],
    );
}

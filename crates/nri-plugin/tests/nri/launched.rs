//! A plugin that the runtime launches: the connection and the identity come from the environment.

use std::{
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use nri_plugin::{Error, Events, Identity, Options, Plugin, api::ConfigureRequest};
use tokio::net::UnixStream;

use crate::{calls::create, peer::Peer};

struct Idle;

impl Plugin for Idle {
    type Pod = nri_plugin::api::PodSandbox;
    type Container = nri_plugin::api::Container;

    fn events(&self) -> Events {
        Events::NONE
    }
}

/// The plugin's process, if the test below started it.
#[tokio::test]
async fn plugin() {
    if !nri_plugin::is_launched() {
        return;
    }
    let options = Options::from_env(Identity::new("fallback", "99").unwrap()).unwrap();
    assert!(options.is_connected());
    let end = nri_plugin::run(Arc::new(Idle), options, std::future::pending::<()>()).await;
    assert!(matches!(end, Err(Error::InheritedLost(_))));
}

/// Ends with the test, whatever happens.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn launched_plugin_finds_its_connection_and_its_name() {
    let (ours, theirs) = StdUnixStream::pair().unwrap();
    // The shell moves its standard input to descriptor 3, as a runtime would leave it.
    let child = Command::new("/bin/sh")
        .args(["-c", "exec \"$0\" --exact launched::plugin 3<&0 </dev/null"])
        .arg(std::env::current_exe().unwrap())
        .env("NRI_PLUGIN_SOCKET", "3")
        .env("NRI_PLUGIN_NAME", "launched")
        .env("NRI_PLUGIN_IDX", "42")
        .stdin(OwnedFd::from(ours))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut process = Process(child);

    theirs.set_nonblocking(true).unwrap();
    let mut peer = Peer::new(UnixStream::from_std(theirs).unwrap());
    let registration = peer.register().await;
    assert_eq!((registration.plugin_name.as_str(), registration.plugin_idx.as_str()), ("launched", "42"));
    peer.ok::<nri_plugin::api::ConfigureResponse>("Configure", &ConfigureRequest::default()).await;
    assert_eq!(peer.call(&create("plain")).await.status, None);
    drop(peer);
    let status = tokio::task::spawn_blocking(move || process.0.wait()).await.unwrap().unwrap();
    assert!(status.success());
}

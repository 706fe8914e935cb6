//! What real runtimes sent, and what a working plugin answered.

use std::{collections::HashMap, path::Path};

use nri_plugin::{
    Events, Identity, Options,
    api::{ConfigureResponse, CreateContainerResponse, RegisterPluginRequest, SynchronizeResponse},
};
use prost::Message;
use tokio::{io::AsyncWriteExt, net::UnixStream};

use crate::{
    peer::{Peer, Received, wire},
    probe::Running,
};

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    std::fs::read(path).unwrap()
}

/// The messages of a recorded stream.
async fn messages(bytes: &[u8]) -> Vec<Received> {
    let (mut from, to) = UnixStream::pair().unwrap();
    from.write_all(bytes).await.unwrap();
    drop(from);
    let mut peer = Peer::new(to);
    let mut messages = Vec::new();
    while let Some(message) = peer.receive().await {
        messages.push(message);
    }
    messages
}

/// Plays `runtime`'s stream to a plugin, in pieces of `piece` bytes, and compares what it says.
async fn replay(runtime: &str, piece: usize) {
    let to_plugin = fixture(&format!("{runtime}.to-plugin.bin"));
    let expected = messages(&fixture(&format!("{runtime}.from-plugin.bin"))).await;

    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let options = Options::new(Identity::new("proto", "10").unwrap()).connection(ours);
    // What the recorded plugin wanted.
    let mut running = Running::with(Events::CREATE_CONTAINER | Events::POST_CREATE_CONTAINER, options);
    theirs.set_nonblocking(true).unwrap();
    let mut peer = Peer::new(UnixStream::from_std(theirs).unwrap());
    for piece in to_plugin.chunks(piece) {
        peer.send(piece).await;
    }

    let mut got = HashMap::new();
    for _ in 0..expected.len() {
        let message = peer.receive().await.unwrap();
        got.insert((message.connection, message.stream), message);
    }
    for want in expected {
        let got = &got[&(want.connection, want.stream)];
        assert_eq!(got.kind, want.kind);
        if want.kind == 1 {
            let [got, want] = [got, &want].map(|m| wire::Request::decode(&*m.payload).unwrap());
            assert_eq!((got.service, got.method), (want.service, want.method));
            let [got, want] =
                [got.payload, want.payload].map(|p| RegisterPluginRequest::decode(&*p).unwrap());
            assert_eq!(got, want);
            continue;
        }
        let [ours, theirs] = [got, &want].map(|m| wire::Response::decode(&*m.payload).unwrap());
        assert_eq!(ours.status, None);
        let (ours, theirs) = (&*ours.payload, &*theirs.payload);
        match want.stream {
            1 => assert_eq!(ConfigureResponse::decode(ours), ConfigureResponse::decode(theirs)),
            // The probe answers with an update for the last container, which the recorded plugin did not.
            3 => assert!(SynchronizeResponse::decode(ours).unwrap().update.len() <= 1),
            5 => assert_eq!(CreateContainerResponse::decode(ours), CreateContainerResponse::decode(theirs)),
            7 => assert_eq!(ours, theirs),
            stream => panic!("stream {stream} in the recording"),
        }
    }
    let names: Vec<_> = running.drain().into_iter().map(|note| note.0).collect();
    assert_eq!(names, ["configure", "synchronize", "connected", "create_container", "post_create_container"]);
    assert!(peer.largest_frame <= 4096);
}

#[tokio::test]
async fn recorded_runtimes_get_the_recorded_answers() {
    for runtime in ["containerd-1.7.24", "containerd-2.1.9", "cri-o-1.30.14"] {
        for piece in [usize::MAX, 4096, 1000, 7, 1] {
            replay(runtime, piece).await;
        }
    }
}

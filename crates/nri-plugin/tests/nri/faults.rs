//! A runtime that breaks the protocol: the connection is closed, and made again.

use crate::{
    calls::create,
    peer::{PLUGIN, RUNTIME, Runtime, frame, message},
    probe::Running,
};

/// Sends `bytes` to a plugin in service and expects it to close, say why, and come back.
async fn breaks(bytes: &[u8], reason: &str) {
    let runtime = Runtime::listen();
    let mut running = Running::at(&runtime.path);
    let mut peer = runtime.accept_in_service().await;
    running.until("connected").await;

    peer.send(bytes).await;
    assert_eq!(peer.receive().await, None, "{reason}");
    assert_eq!(running.note().await.1, reason);

    let mut peer = runtime.accept_in_service().await;
    running.until("connected").await;
    assert_eq!(peer.call(&create("plain")).await.status, None);
}

fn header(connection: u32, len: u32) -> Vec<u8> {
    [connection.to_be_bytes(), len.to_be_bytes()].concat()
}

#[tokio::test]
async fn garbage() {
    breaks(
        b"GET / HTTP/1.1\r\n\r\n",
        "the runtime broke the protocol: frame for the unknown connection 1195725856",
    )
    .await;
}

#[tokio::test]
async fn connection_that_does_not_exist() {
    breaks(&frame(3, b"x"), "the runtime broke the protocol: frame for the unknown connection 3").await;
}

#[tokio::test]
async fn frame_beyond_every_limit() {
    breaks(&header(PLUGIN, u32::MAX), "the runtime broke the protocol: frame of 4294967295 bytes").await;
}

#[tokio::test]
async fn message_beyond_every_limit() {
    let mut oversize = message(1, 1, b"");
    oversize[..4].copy_from_slice(&(16_u32 * 1024 * 1024 + 1).to_be_bytes());
    breaks(&frame(PLUGIN, &oversize), "the runtime broke the protocol: message of 16777217 bytes").await;
}

#[tokio::test]
async fn messages_that_have_no_place_on_their_connection() {
    for (connection, kind) in [(PLUGIN, 2), (PLUGIN, 3), (PLUGIN, 0), (RUNTIME, 1), (RUNTIME, 3)] {
        let reason =
            format!("the runtime broke the protocol: message of type {kind} on connection {connection}");
        breaks(&frame(connection, &message(1, kind, b"")), &reason).await;
    }
}

#[tokio::test]
async fn request_on_a_stream_that_is_not_the_callers() {
    for stream in [0, 2] {
        let reason = format!("the runtime broke the protocol: request on the even stream {stream}");
        breaks(&frame(PLUGIN, &message(stream, 1, b"")), &reason).await;
    }
}

#[tokio::test]
async fn answer_that_cannot_be_decoded() {
    let answer = frame(RUNTIME, &message(5, 2, &[0xff; 3]));
    breaks(&answer, "the runtime broke the protocol: undecodable response on stream 5").await;
}

#[tokio::test]
async fn connection_cut_in_the_middle() {
    let whole = frame(PLUGIN, &message(1, 1, &[0; 20]));
    let half_message = frame(PLUGIN, &message(1, 1, &[0; 20])[..25]);
    for bytes in [&whole[..3], &whole[..20], &half_message[..]] {
        let runtime = Runtime::listen();
        let mut running = Running::at(&runtime.path);
        let mut peer = runtime.accept_in_service().await;
        running.until("connected").await;
        peer.send(bytes).await;
        drop(peer);
        let (what, reason, _) = running.note().await;
        assert_eq!(what, "disconnected");
        assert!(reason.contains("in the middle of a message"), "{reason}");
        runtime.accept_in_service().await;
    }
}

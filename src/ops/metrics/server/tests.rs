use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;

async fn ask(request: &[u8]) -> String {
    let (mut client, server) = duplex(64 << 10);
    let task = tokio::spawn(answer(server, Arc::default()));
    client.write_all(request).await.unwrap();
    let mut response = Vec::new();
    client.read_to_end(&mut response).await.unwrap();
    task.await.unwrap();
    String::from_utf8(response).unwrap()
}

#[tokio::test]
async fn one_request_is_answered_and_the_connection_closed() {
    let response = ask(b"GET /metrics HTTP/1.1\r\nHost: node\r\n\r\n").await;
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    assert!(response.contains("content-type: text/plain; version=0.0.4"), "{response}");
    assert!(response.contains("\nstrict_groups_registered 0\n"), "{response}");
}

#[tokio::test]
async fn nothing_else_is_to_be_had() {
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), "404"),
        ("POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".to_owned(), "405"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MOST_HEADERS + 1)), "431"),
        (format!("GET /metrics HTTP/1.1\r\nA: {}", "b".repeat(LONGEST_HEAD)), "431"),
    ] {
        let response = ask(request.as_bytes()).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {response}");
    }
}

#[tokio::test]
async fn who_says_nothing_is_left() {
    let (_client, server) = duplex(64);
    timeout(HEAD_TIME * 5, answer(server, Arc::default())).await.unwrap();
}

#[tokio::test]
#[ignore = "needs root"]
async fn socket_is_removed_with_its_listener() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.sock");
    let socket = OwnSocket::bind(&path).unwrap();
    let in_use = OwnSocket::bind(&path).err().unwrap();
    assert!(in_use.to_string().ends_with("metrics.sock is in use"), "{in_use}");
    drop(socket);
    assert!(!path.exists());
}

//! The gRPC client, on a server that answers as it is told, right or wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use h2::{Reason, RecvStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use tokio::net::{UnixListener, UnixStream};
use uds_grpc::{Client, Code, Error, ProtocolError, frame::FrameError};

const LARGEST: usize = 1024 * 1024;
const PATH: &str = "/test.Service/Method";

/// What a server does with the method's one request.
#[derive(Clone)]
enum Does {
    /// Message bytes as they are, then trailers.
    Answers(Vec<u8>, Option<&'static [(&'static str, &'static str)]>),
    /// Headers only.
    TrailersOnly(&'static [(&'static str, &'static str)]),
    /// Another HTTP status.
    Http(u16),
    /// Another content type.
    Html,
    /// Ends the stream with an error.
    Resets,
    /// Sends back what it got.
    Echoes,
    Hangs,
}

struct Server {
    dir: tempfile::TempDir,
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    fn start(does: &Does) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let task = listen(&dir.path().join("socket"), does, &connections);
        Self { dir, connections, task }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("socket")
    }

    fn client(&self) -> Client {
        Client::new(&self.socket(), LARGEST)
    }

    /// Ends it and its connections, and starts another one in its place.
    async fn restart(&mut self, does: &Does) {
        self.task.abort();
        let _ = (&mut self.task).await;
        std::fs::remove_file(self.socket()).unwrap();
        self.task = listen(&self.socket(), does, &self.connections);
    }
}

fn listen(
    socket: &std::path::Path,
    does: &Does,
    connections: &Arc<AtomicUsize>,
) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(socket).unwrap();
    let (does, connections) = (does.clone(), Arc::clone(connections));
    tokio::spawn(async move {
        let mut serving = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.fetch_add(1, Ordering::Relaxed);
            serving.spawn(serve(stream, does.clone()));
        }
    })
}

async fn serve(stream: UnixStream, does: Does) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    let mut answering = tokio::task::JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        answering.spawn(answer(request, respond, does.clone()));
    }
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, does: Does) {
    let (head, mut body) = request.into_parts();
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", PATH));
    assert_eq!(head.headers["te"], "trailers");
    assert_eq!(head.headers["content-type"], "application/grpc");
    assert_eq!(head.headers["some-name"], "some value");
    let mut got = Vec::new();
    while let Some(piece) = body.data().await {
        let Ok(piece) = piece else { return };
        body.flow_control().release_capacity(piece.len()).unwrap();
        got.extend_from_slice(&piece);
    }
    let grpc = || Response::builder().header("content-type", "application/grpc+proto");
    let (message, trailers) = match does {
        Does::Answers(message, trailers) => (message, trailers),
        Does::Echoes => (got, Some(&[("grpc-status", "0")][..])),
        Does::TrailersOnly(fields) => {
            let mut response = grpc().body(()).unwrap();
            response.headers_mut().extend(headers(fields));
            respond.send_response(response, true).unwrap();
            return;
        }
        Does::Http(status) => {
            respond.send_response(Response::builder().status(status).body(()).unwrap(), true).unwrap();
            return;
        }
        Does::Html => {
            let html = Response::builder().header("content-type", "text/html");
            respond.send_response(html.body(()).unwrap(), true).unwrap();
            return;
        }
        Does::Resets => return respond.send_reset(Reason::INTERNAL_ERROR),
        Does::Hangs => std::future::pending().await,
    };
    let mut stream = respond.send_response(grpc().body(()).unwrap(), false).unwrap();
    stream.send_data(message.into(), trailers.is_none()).unwrap();
    if let Some(trailers) = trailers {
        // It may have been cancelled, if it is too large to be taken.
        let _ = stream.send_trailers(headers(trailers));
    }
}

async fn call(client: &Client, request: &str) -> Result<String, Error> {
    let request = request.to_owned();
    let call = client.unary(PATH, &request, &[("some-name", "some value")]);
    tokio::time::timeout(Duration::from_secs(20), call).await.expect("no answer at all")
}

async fn fails(does: Does) -> Error {
    call(&Server::start(&does).client(), "question").await.unwrap_err()
}

/// A message with its prefix.
fn framed(text: &str) -> Vec<u8> {
    let message = prost::Message::encode_to_vec(&text.to_owned());
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &message].concat()
}

const OK: Option<&[(&str, &str)]> = Some(&[("grpc-status", "0")]);

#[tokio::test]
#[ignore = "needs root"]
async fn messages_of_any_size_go_there_and_back_on_one_connection() {
    let server = Server::start(&Does::Echoes);
    let client = server.client();
    // Beyond a frame (16 KiB), HTTP/2's first window (64 KiB), and half of it.
    for length in [0, 1, 100, 16_384, 40_000, 70_000, 1_000_000] {
        let text = "x".repeat(length);
        assert_eq!(call(&client, &text).await.unwrap(), text);
    }
    for _ in 0..20 {
        call(&client, &"y".repeat(900_000)).await.unwrap();
    }
    let (one, two) = tokio::join!(call(&client, "one"), call(&client, "two"));
    assert_eq!((one.unwrap(), two.unwrap()), ("one".into(), "two".into()));
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
#[ignore = "needs root"]
async fn failure_is_told_wherever_it_stands() {
    const GONE: &[(&str, &str)] = &[("grpc-status", "5"), ("grpc-message", "no%20%C3%A9clair%0a")];
    for does in [Does::TrailersOnly(GONE), Does::Answers(Vec::new(), Some(GONE))] {
        let Error::Status(status) = fails(does).await else { panic!() };
        assert_eq!((status.code, status.message.as_str()), (Code::NotFound, "no \u{e9}clair\n"));
    }
    // Also after an answer that looks complete.
    let aborted = Does::Answers(framed("answer"), Some(&[("grpc-status", "10")]));
    assert!(matches!(fails(aborted).await, Error::Status(status) if status.code == Code::Aborted));
}

#[tokio::test]
#[ignore = "needs root"]
async fn what_is_no_grpc_is_no_answer() {
    let two = [framed("one"), framed("two")].concat();
    let compressed = [&[1], &framed("answer")[1..]].concat();
    let large = [&[0, 0, 16, 0, 1], &[0; 100][..]].concat();
    let cases = [
        (Does::Http(404), ProtocolError::HttpStatus(404)),
        (Does::Html, ProtocolError::ContentType),
        (Does::TrailersOnly(&[("grpc-status", "0")]), ProtocolError::NoMessage),
        (Does::TrailersOnly(&[("grpc-status", "fine")]), ProtocolError::NoStatus),
        (Does::Answers(framed("answer"), None), ProtocolError::NoStatus),
        (Does::Answers(framed("answer"), Some(&[("x", "y")])), ProtocolError::NoStatus),
        (Does::Answers(Vec::new(), OK), ProtocolError::NoMessage),
        (Does::Answers(framed("answer")[..7].to_vec(), OK), ProtocolError::Cut),
        (Does::Answers(two, OK), ProtocolError::TooMany),
        (Does::Answers(compressed, OK), FrameError::Compressed.into()),
        (Does::Answers(large, OK), FrameError::TooLarge { length: LARGEST + 1, limit: LARGEST }.into()),
    ];
    for (does, expected) in cases {
        match fails(does).await {
            Error::Protocol(error) => assert_eq!(error, expected),
            other => panic!("{expected}: {other}"),
        }
    }
    let error = fails(Does::Answers(vec![0, 0, 0, 0, 2, 0xff, 0xff], OK)).await;
    assert!(matches!(error, Error::Protocol(ProtocolError::Decode(_))), "{error}");
    assert!(matches!(fails(Does::Resets).await, Error::Lost(_)));
}

#[tokio::test]
#[ignore = "needs root"]
async fn lost_connection_is_made_again() {
    let mut server = Server::start(&Does::Echoes);
    let client = server.client();
    call(&client, "before").await.unwrap();
    for _ in 0..3 {
        server.restart(&Does::Echoes).await;
        // The client's own task has to see the end first; what comes before it is lost, not sent twice.
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(call(&client, "after").await.unwrap(), "after");
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 4);

    server.task.abort();
    let _ = (&mut server.task).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = call(&client, "stale").await.unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    std::fs::remove_file(server.socket()).unwrap();
    let error = call(&client, "gone").await.unwrap_err();
    assert!(matches!(error, Error::Connect(_)) && error.to_string().contains("No such file"), "{error}");
}

#[tokio::test]
#[ignore = "needs root"]
async fn end_in_the_middle_of_a_call_is_told() {
    let mut server = Server::start(&Does::Hangs);
    let client = server.client();
    let (result, ()) = tokio::join!(call(&client, "question"), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        server.restart(&Does::Echoes).await;
    });
    assert!(matches!(result, Err(Error::Lost(_))), "{result:?}");
    call(&client, "another").await.unwrap();
}

#[tokio::test]
#[ignore = "needs root"]
async fn calls_that_were_given_up_leave_the_connection_usable() {
    let mut server = Server::start(&Does::Hangs);
    let client = server.client();
    // More than a server usually allows at once.
    let (request, limit) = ("x".repeat(1000), Duration::from_millis(1));
    for _ in 0..300 {
        let call = client.unary::<_, String>(PATH, &request, &[("some-name", "some value")]);
        assert!(tokio::time::timeout(limit, call).await.is_err());
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
    server.restart(&Does::Echoes).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    call(&client, "another").await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_sent_is_not() {
    let server = Server::start(&Does::Echoes);
    let client = server.client();
    let error = call(&client, &"x".repeat(LARGEST + 1)).await.unwrap_err();
    assert!(matches!(error, Error::Request(_)), "{error}");
    for (path, metadata) in [("no path", &[][..]), (PATH, &[("a b", "c")]), (PATH, &[("a", "b\nc")])] {
        let error = client.unary::<_, String>(path, &String::new(), metadata).await.unwrap_err();
        assert!(matches!(error, Error::NotSendable(_)), "{error}");
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 0, "nothing was to be said");
}

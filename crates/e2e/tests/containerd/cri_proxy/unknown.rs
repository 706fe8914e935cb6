//! What the proxy has never heard of: a stream in both directions, with metadata, trailers and an error's details. No
//! CRI has such a call today, so the runtime is a stand-in that gives back what it gets.

use std::{convert::Infallible, path::Path};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client, server,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::mpsc,
};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;

use crate::world::World;
use e2e::{Proxy, wait_for};

const PATH: &str = "/runtime.v9.NobodyKnows/Echo";

type Frames = StreamBody<ReceiverStream<Result<Frame<Bytes>, Infallible>>>;

/// A body whose frames come through the sender.
fn channel() -> (mpsc::Sender<Result<Frame<Bytes>, Infallible>>, Frames) {
    let (sender, frames) = mpsc::channel(1);
    (sender, StreamBody::new(ReceiverStream::new(frames)))
}

/// The metadata of a request comes back as the answer's, each message as soon as it is there, and at the end an error.
async fn echo(request: Request<Incoming>) -> Result<Response<Frames>, Infallible> {
    let (head, mut incoming) = request.into_parts();
    let (sender, frames) = channel();
    let mut response = Response::new(frames);
    for (name, value) in &head.headers {
        if name.as_str().starts_with("x-") || name == "grpc-timeout" {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    tokio::spawn(async move {
        while let Some(Ok(frame)) = incoming.frame().await {
            // Whoever asked may be gone.
            let _ = sender.send(Ok(frame)).await;
        }
        let _ = sender.send(Ok(Frame::trailers(trailers()))).await;
    });
    Ok(response)
}

fn trailers() -> HeaderMap {
    let text = [
        ("grpc-status", "9"),
        ("grpc-message", "caf%C3%A9 %25"),
        ("grpc-status-details-bin", "CAkSBGNhZsOp"),
        ("x-end", "1"),
    ];
    text.into_iter()
        .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

async fn runtime(listener: UnixListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let served = server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service_fn(echo));
        tokio::spawn(served);
    }
}

async fn call(socket: &Path) -> Result<()> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) =
        client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let (messages, body) = channel();
    let request = Request::builder()
        .method(Method::POST)
        .uri(format!("http://localhost{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "20S")
        .header("x-twice", "a")
        .header("x-twice", "b")
        .header("x-data-bin", "AAECAw")
        .body(body)?;
    let response = sender.send_request(request).await?;
    let headers = response.headers();
    let twice: Vec<_> = headers.get_all("x-twice").iter().collect();
    ensure!(twice == ["a", "b"] && headers["x-data-bin"] == "AAECAw", "{headers:?}");
    ensure!(headers.contains_key("grpc-timeout"), "no deadline: {headers:?}");
    let mut answer = response.into_body();
    // Each message is there before the next is sent: nobody waits for the end of a stream that has none.
    for number in 0..5_u8 {
        let message = Bytes::from(vec![0, 0, 0, 0, 1, number]);
        messages.send(Ok(Frame::data(message.clone()))).await?;
        let frame = answer.frame().await.context("the answer ended")??;
        ensure!(frame.data_ref() == Some(&message), "message {number}: {frame:?}");
    }
    drop(messages);
    let end = answer.frame().await.context("no trailers")??;
    ensure!(end.trailers_ref() == Some(&trailers()), "{end:?}");
    Ok(())
}

pub(super) fn calls(world: &World) -> Result<()> {
    let dir = world.run.dir().join("unknown");
    std::fs::create_dir(&dir)?;
    let (endpoint, socket) = (dir.join("runtime.sock"), dir.join("cri.sock"));
    // One thread for both sides: all of this waits only inside tokio.
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = {
        let _inside = tokio.enter();
        UnixListener::bind(&endpoint)?
    };
    tokio.spawn(runtime(listener));
    let proxy = Proxy::launch(&world.run, &endpoint, &dir.join("health"), &socket)?;
    wait_for(super::TIMEOUT, || socket.exists().then_some(())).with_context(|| proxy.log())?;
    tokio.block_on(async {
        call(&endpoint).await.context("direct")?;
        call(&socket).await.context("through the proxy")
    })
}

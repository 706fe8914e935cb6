//! A real containerd that gives other answers: one to CreateContainer that cannot be read, since it is sent twice, or
//! another name.

use std::{
    path::{Path, PathBuf},
    thread,
};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    client::conn::http2::SendRequest,
    server,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::oneshot,
};
use tonic::codegen::tokio_stream;

use super::{SERVICE, node::Node, refused};
use crate::{steps::app, world::World};
use e2e::{Kind, Pod};

type Body = StreamBody<tokio_stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, hyper::Error>>>>;

/// The messages in place of the one that the runtime answers to a method.
type Garble = fn(&str, &Bytes) -> Vec<Bytes>;

/// What stands between; it ends with this.
pub(super) struct Garbler {
    pub(super) socket: PathBuf,
    _end: oneshot::Sender<()>,
}

impl Garbler {
    pub(super) fn start(to: &Path, socket: PathBuf, change: Garble) -> Result<Self> {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = tokio.enter();
            UnixListener::bind(&socket)?
        };
        let (end, ended) = oneshot::channel();
        let to = to.to_owned();
        thread::spawn(move || {
            tokio.block_on(async {
                tokio::select! {
                    () = serve(&listener, &to, change) => {}
                    _ = ended => {}
                }
            });
        });
        Ok(Self { socket, _end: end })
    }
}

async fn serve(listener: &UnixListener, to: &Path, change: Garble) {
    while let Ok((stream, _)) = listener.accept().await {
        let Ok(runtime) = connect(to).await else { return };
        let service = service_fn(move |request| garble(runtime.clone(), request, change));
        let served = server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(served);
    }
}

async fn connect(to: &Path) -> Result<SendRequest<Incoming>> {
    let io = TokioIo::new(UnixStream::connect(to).await?);
    let (runtime, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await?;
    tokio::spawn(connection);
    Ok(runtime)
}

async fn garble(
    mut runtime: SendRequest<Incoming>,
    request: Request<Incoming>,
    change: Garble,
) -> Result<Response<Body>, hyper::Error> {
    let method = request.uri().path().strip_prefix(SERVICE).unwrap_or_default().to_owned();
    let (head, body) = runtime.send_request(request).await?.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().cloned().map(Frame::trailers);
    let messages = change(&method, &body.to_bytes()).into_iter().map(Frame::data);
    let frames: Vec<_> = messages.chain(trailers).map(Ok).collect();
    Ok(Response::from_parts(head, StreamBody::new(tokio_stream::iter(frames))))
}

fn twice(method: &str, message: &Bytes) -> Vec<Bytes> {
    let times = if method == "CreateContainer" { 2 } else { 1 };
    vec![message.clone(); times]
}

pub(super) fn create(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let garbler =
        Garbler::start(&node.containerd.socket(), node.containerd.dir().join("garbled.sock"), twice)?;
    let proxy = node.proxy_before(&garbler.socket)?;
    let pod = proxy.cri.run_pod(&Pod::new("web").strict_field())?;
    refused(
        proxy.cri.create(&pod, &app().strict_field()),
        tonic::Code::FailedPrecondition,
        &["pod default/web: ", "cannot be enforced", "the runtime's answer is not understood"],
    )?;
    // What is not Strict goes on as it comes; this client takes the first answer.
    let merge = proxy.cri.run_pod(&Pod::new("merge"))?;
    proxy.cri.create(&merge, &app())?;
    node.containerd.cri().remove_all_pods()?;
    Ok(())
}

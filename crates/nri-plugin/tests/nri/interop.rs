//! The crate `ttrpc` as the other side: its client calls the plugin, its server is registered with.

use std::{collections::HashMap, future::Future, pin::Pin};

use nri_plugin::api::{
    ConfigureRequest, ConfigureResponse, CreateContainerResponse, RegisterPluginRequest, SynchronizeRequest,
    UpdateContainersResponse,
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split},
    net::{UnixListener, UnixStream},
    sync::mpsc,
};
use ttrpc::{
    asynchronous::{Client, MethodHandler, Server, Service, TtrpcContext, transport::Socket},
    proto::{Request, Response},
};

use crate::{
    calls::{create, pod},
    peer::{PLUGIN, RUNTIME, SERVICE, frame, wire},
    probe::{Running, strict_response},
};

/// Notes the method and its payload, and answers nothing.
struct Note {
    method: &'static str,
    answer: Vec<u8>,
    notes: mpsc::UnboundedSender<(&'static str, Vec<u8>)>,
}

// What the attribute `async_trait` would write.
impl MethodHandler for Note {
    fn handler<'a, 'b>(
        &'a self,
        _: TtrpcContext,
        request: Request,
    ) -> Pin<Box<dyn Future<Output = ttrpc::Result<Response>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let _ = self.notes.send((self.method, request.payload));
        let response = Response { payload: self.answer.clone(), ..Response::default() };
        Box::pin(async move { Ok(response) })
    }
}

/// Puts what one of the two connections says into frames.
async fn frames(connection: u32, mut from: impl AsyncRead + Unpin, to: mpsc::UnboundedSender<Vec<u8>>) {
    let mut buffer = vec![0; 4096];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let _ = to.send(frame(connection, &buffer[..n]));
    }
}

/// Joins the plugin's one socket with the streams of a ttrpc client and of a ttrpc server.
fn pump(plugin: UnixStream, client: DuplexStream, server: UnixStream) {
    let (mut from_plugin, mut to_plugin) = plugin.into_split();
    let (from_client, mut to_client) = split(client);
    let (from_server, mut to_server) = server.into_split();
    let (sender, mut receiver) = mpsc::unbounded_channel::<Vec<u8>>();
    tokio::spawn(frames(PLUGIN, from_client, sender.clone()));
    tokio::spawn(frames(RUNTIME, from_server, sender));
    tokio::spawn(async move {
        while let Some(bytes) = receiver.recv().await {
            to_plugin.write_all(&bytes).await.unwrap();
        }
    });
    tokio::spawn(async move {
        while let Ok(connection) = from_plugin.read_u32().await {
            let mut payload = vec![0; from_plugin.read_u32().await.unwrap() as usize];
            from_plugin.read_exact(&mut payload).await.unwrap();
            match connection {
                PLUGIN => to_client.write_all(&payload).await.unwrap(),
                _ => to_server.write_all(&payload).await.unwrap(),
            }
        }
    });
}

struct Conversation {
    running: Running,
    client: Client,
    notes: mpsc::UnboundedReceiver<(&'static str, Vec<u8>)>,
    _server: Server,
    _dir: tempfile::TempDir,
}

async fn converse() -> Conversation {
    let dir = tempfile::tempdir().unwrap();
    let (sender, notes) = mpsc::unbounded_channel();
    let update = UpdateContainersResponse { failed: vec![nri_plugin::api::ContainerUpdate::default()] };
    let methods = [("RegisterPlugin", Vec::new()), ("UpdateContainers", update.encode_to_vec())]
        .into_iter()
        .map(|(method, answer)| {
            let handler: Box<dyn MethodHandler + Send + Sync> =
                Box::new(Note { method, answer, notes: sender.clone() });
            (method.to_string(), handler)
        })
        .collect();
    let service = Service { methods, streams: HashMap::new() };
    let server_path = dir.path().join("runtime.sock");
    let mut server = Server::new()
        .bind(&format!("unix://{}", server_path.display()))
        .unwrap()
        .register_service(HashMap::from([("nri.pkg.api.v1alpha1.Runtime".to_string(), service)]));
    server.start().await.unwrap();

    let path = dir.path().join("nri.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let running = Running::at(&path);
    let (plugin, _) = listener.accept().await.unwrap();
    let (client_end, pump_end) = duplex(1 << 16);
    pump(plugin, pump_end, UnixStream::connect(&server_path).await.unwrap());
    let client = Client::new(Socket::new(client_end));
    Conversation { running, client, notes, _server: server, _dir: dir }
}

async fn call(client: &Client, request: wire::Request) -> ttrpc::Result<Vec<u8>> {
    let wire::Request { service, method, payload, timeout_nano, .. } = request;
    let request = Request { service, method, payload, timeout_nano, ..Request::default() };
    client.request(request).await.map(|response| response.payload)
}

fn request(method: &str, message: &impl Message) -> wire::Request {
    crate::peer::request(method, message)
}

#[tokio::test]
async fn its_client_and_its_server_understand_the_plugin() {
    let mut conversation = converse().await;
    let (method, payload) = conversation.notes.recv().await.unwrap();
    assert_eq!(method, "RegisterPlugin");
    assert_eq!(RegisterPluginRequest::decode(&*payload).unwrap().plugin_name, "probe");

    let client = &conversation.client;
    let answer = call(client, request("Configure", &ConfigureRequest::default())).await.unwrap();
    assert_eq!(ConfigureResponse::decode(&*answer).unwrap().events, 0x7ff);
    call(client, request("Synchronize", &SynchronizeRequest::default())).await.unwrap();

    for name in ["plain", "slow", "big"] {
        let answer = call(client, create(name)).await.unwrap();
        assert_eq!(CreateContainerResponse::decode(&*answer).unwrap(), strict_response(&pod(name)));
    }
    for (ask, code, text) in [
        (create("error"), 2, "no luck: cause in two lines"),
        (create("panic"), 13, "the plugin panicked: as told"),
        (
            wire::Request { service: SERVICE.into(), method: "Fly".into(), ..Default::default() },
            12,
            "unknown method Fly",
        ),
    ] {
        let Err(ttrpc::Error::RpcStatus(status)) = call(client, ask).await else {
            panic!("no status: {text}")
        };
        assert_eq!((status.code.value(), status.message.as_str()), (code, text));
    }

    conversation.running.until("connected").await;
    let handle = conversation.running.plugin.handle.lock().unwrap().clone().unwrap();
    assert_eq!(handle.update_containers(Vec::new(), Vec::new()).await.unwrap().len(), 1);
    assert_eq!(conversation.notes.recv().await.unwrap().0, "UpdateContainers");
}

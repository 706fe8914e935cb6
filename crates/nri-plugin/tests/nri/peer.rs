//! A runtime's end of the connection, byte by byte.

use std::{path::PathBuf, time::Duration};

use nri_plugin::api::{ConfigureRequest, ConfigureResponse, RegisterPluginRequest, SynchronizeRequest};
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// ttrpc's messages.
#[allow(missing_docs, unreachable_pub, clippy::pedantic)]
pub mod wire {
    include!(concat!(env!("OUT_DIR"), "/ttrpc.rs"));
}

pub const PLUGIN: u32 = 1;
pub const RUNTIME: u32 = 2;
pub const SERVICE: &str = "nri.pkg.api.v1alpha1.Plugin";

/// Nothing in these tests takes this long unless it hangs.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Listens where the plugin will connect.
pub struct Runtime {
    pub path: PathBuf,
    listener: UnixListener,
    _dir: tempfile::TempDir,
}

impl Runtime {
    pub fn listen() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nri.sock");
        Self { listener: UnixListener::bind(&path).unwrap(), path, _dir: dir }
    }

    pub async fn accept(&self) -> Peer {
        let (stream, _) = timeout(TIMEOUT, self.listener.accept()).await.expect("no plugin came").unwrap();
        Peer::new(stream)
    }

    /// A plugin that registered, was configured and synchronized.
    pub async fn accept_in_service(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.introduce(ConfigureRequest::default()).await;
        peer
    }
}

/// One message as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    pub connection: u32,
    pub stream: u32,
    pub kind: u8,
    pub payload: Vec<u8>,
}

pub struct Peer {
    stream: UnixStream,
    input: [Vec<u8>; 2],
    last_stream: u32,
    pub largest_frame: usize,
}

pub fn frame(connection: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    [&connection.to_be_bytes(), &len.to_be_bytes(), payload].concat()
}

pub fn message(stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    [&len.to_be_bytes()[..], &stream.to_be_bytes(), &[kind, 0], payload].concat()
}

pub fn request(method: &str, payload: &impl Message) -> wire::Request {
    wire::Request {
        service: SERVICE.into(),
        method: method.into(),
        payload: payload.encode_to_vec(),
        ..wire::Request::default()
    }
}

impl Peer {
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, input: Default::default(), last_stream: u32::MAX, largest_frame: 0 }
    }

    /// None: the plugin closed the connection.
    pub async fn receive(&mut self) -> Option<Received> {
        timeout(TIMEOUT, self.receive_unlimited()).await.expect("the plugin said nothing")
    }

    async fn receive_unlimited(&mut self) -> Option<Received> {
        loop {
            for (index, input) in self.input.iter_mut().enumerate() {
                if input.len() < 10 {
                    continue;
                }
                let len = u32::from_be_bytes(input[..4].try_into().unwrap()) as usize;
                if input.len() >= 10 + len {
                    let rest = input.split_off(10 + len);
                    let message = std::mem::replace(input, rest);
                    return Some(Received {
                        connection: u32::try_from(index).unwrap() + 1,
                        stream: u32::from_be_bytes(message[4..8].try_into().unwrap()),
                        kind: message[8],
                        payload: message[10..].to_vec(),
                    });
                }
            }
            let connection = self.stream.read_u32().await.ok()?;
            let len = self.stream.read_u32().await.ok()? as usize;
            self.largest_frame = self.largest_frame.max(len);
            let mut payload = vec![0; len];
            self.stream.read_exact(&mut payload).await.ok()?;
            self.input[connection as usize - 1].extend_from_slice(&payload);
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// Sends a request and gives back its stream.
    pub async fn ask(&mut self, request: &wire::Request) -> u32 {
        self.last_stream = self.last_stream.wrapping_add(2);
        let message = message(self.last_stream, 1, &request.encode_to_vec());
        for piece in message.chunks(4 << 20) {
            self.send(&frame(PLUGIN, piece)).await;
        }
        self.last_stream
    }

    /// The answer that comes next, and its stream.
    pub async fn answer(&mut self) -> (u32, wire::Response) {
        let received = self.receive().await.expect("the plugin closed the connection");
        assert_eq!((received.connection, received.kind), (PLUGIN, 2));
        (received.stream, wire::Response::decode(&*received.payload).unwrap())
    }

    pub async fn call(&mut self, request: &wire::Request) -> wire::Response {
        let stream = self.ask(request).await;
        let (answered, response) = self.answer().await;
        assert_eq!(answered, stream);
        response
    }

    /// Makes a call that succeeds.
    pub async fn ok<R: Message + Default>(&mut self, method: &str, payload: &impl Message) -> R {
        let response = self.call(&request(method, payload)).await;
        assert_eq!(response.status, None, "{method}");
        R::decode(&*response.payload).unwrap()
    }

    /// Makes a call that fails, with this code and a text.
    pub async fn fails(&mut self, request: &wire::Request) -> (i32, String) {
        let status = self.call(request).await.status.expect("no error");
        (status.code, status.message)
    }

    pub async fn register(&mut self) -> RegisterPluginRequest {
        let received = self.receive().await.expect("the plugin closed the connection");
        assert_eq!((received.connection, received.stream, received.kind), (RUNTIME, 1, 1));
        let request = wire::Request::decode(&*received.payload).unwrap();
        assert_eq!(request.service, "nri.pkg.api.v1alpha1.Runtime");
        assert_eq!(request.method, "RegisterPlugin");
        self.send(&frame(RUNTIME, &message(1, 2, &[]))).await;
        RegisterPluginRequest::decode(&*request.payload).unwrap()
    }

    pub async fn introduce(&mut self, configure: ConfigureRequest) -> ConfigureResponse {
        self.register().await;
        let response = self.ok("Configure", &configure).await;
        self.ok::<SynchronizeRequest>("Synchronize", &SynchronizeRequest::default()).await;
        response
    }
}

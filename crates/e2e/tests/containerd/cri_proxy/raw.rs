//! Calls whose messages are bytes, to compare answers to the byte.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use prost::Message;
use tokio::runtime::Runtime;
use tonic::codegen::{StdError, tokio_stream::StreamExt as _};
use tonic::{
    Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{Bytes, http::uri::PathAndQuery},
    transport::{Channel, Endpoint},
};

use e2e::cri::v1;

/// Takes and gives messages as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        bytes::BufMut::put_slice(out, &item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let length = bytes::Buf::remaining(from);
        let bytes: Bytes = bytes::Buf::copy_to_bytes(from, length);
        Ok(Some(bytes.to_vec()))
    }
}

/// The containers that the runtime on `socket` has.
pub(super) fn ids(socket: &Path) -> Result<Vec<String>> {
    let answer = Client::new(socket)?.call("/runtime.v1.RuntimeService/ListContainers", b"")?;
    let answer = answer.map_err(|(code, text)| anyhow::anyhow!("{code:?}: {text}"))?;
    let list = v1::ListContainersResponse::decode(answer.as_slice())?;
    Ok(list.containers.into_iter().map(|container| container.id).collect())
}

/// What a call gave: the message, or code and text of the error.
pub(super) type Answer = Result<Vec<u8>, (tonic::Code, String)>;

pub(super) struct Client {
    runtime: Runtime,
    channel: Channel,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let channel = {
            let _inside = runtime.enter();
            let endpoint = Endpoint::try_from(format!("unix://{}", socket.display()))?;
            // As grpc-go, or nearly: errors are headers.
            endpoint.http2_max_header_list_size(1 << 20).connect_lazy()
        };
        Ok(Self { runtime, channel })
    }

    fn client(&self) -> Grpc<Channel> {
        Grpc::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    /// A unary call of the method at `path`.
    pub(super) fn call(&self, path: &str, message: &[u8]) -> Result<Answer> {
        let path: PathAndQuery = path.parse()?;
        let mut client = self.client();
        let answer = self.runtime.block_on(async {
            client.ready().await.map_err(StdError::from)?;
            let answer = client.unary(Request::new(message.to_vec()), path, Raw).await;
            Ok::<_, StdError>(answer)
        });
        let answer = answer.map_err(|error| anyhow::anyhow!(error)).context("connecting")?;
        Ok(answer
            .map(tonic::Response::into_inner)
            .map_err(|status| (status.code(), status.message().to_owned())))
    }

    /// Many unary calls of the same method at once.
    pub(super) fn many(&self, path: &str, message: &[u8], number: usize) -> Result<Vec<Answer>> {
        let path: PathAndQuery = path.parse()?;
        let calls = (0..number).map(|_| {
            let (mut client, path, message) = (self.client(), path.clone(), message.to_vec());
            async move {
                client.ready().await.map_err(|error| (tonic::Code::Unavailable, error.to_string()))?;
                let answer = client.unary(Request::new(message), path, Raw).await;
                answer
                    .map(tonic::Response::into_inner)
                    .map_err(|status| (status.code(), status.message().to_owned()))
            }
        });
        self.runtime.block_on(async {
            let tasks: Vec<_> = calls.map(tokio::spawn).collect();
            let mut answers = Vec::with_capacity(number);
            for task in tasks {
                answers.push(task.await?);
            }
            Ok(answers)
        })
    }

    /// The messages of a stream until `enough` says so.
    pub(super) fn stream(
        &self,
        path: &str,
        meanwhile: impl FnOnce() -> Result<()>,
        mut enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<()> {
        let path: PathAndQuery = path.parse()?;
        let mut client = self.client();
        let mut stream = self.runtime.block_on(async {
            client.ready().await.map_err(|error| anyhow::anyhow!(error))?;
            let answer = client.server_streaming(Request::new(Vec::new()), path, Raw).await?;
            Ok::<_, anyhow::Error>(answer.into_inner())
        })?;
        // What is sent meanwhile waits in the socket.
        meanwhile()?;
        self.runtime.block_on(async {
            let wait = async {
                while let Some(message) = stream.next().await {
                    if enough(&message?) {
                        return Ok(());
                    }
                }
                anyhow::bail!("the stream ended")
            };
            tokio::time::timeout(Duration::from_secs(20), wait).await.context("no such message in time")?
        })
    }
}

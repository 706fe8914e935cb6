//! A double of containerd's containers API: asks the underlying one, and spoils what
//! it answers where a trial says so.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tonic::codegen::tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

pub(crate) use api::Container;
use api::containers_client::ContainersClient;
use api::containers_server::{Containers, ContainersServer};
use api::{GetContainerRequest, GetContainerResponse, UpdateContainerRequest, UpdateContainerResponse};

mod api {
    #![allow(dead_code, missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/containerd.services.containers.v1.rs"));
}

/// The longest record that the plugin takes, and more than the underlying one sends.
const LARGEST: usize = 64 << 20;

/// What goes wrong with the records of containers; those of sandboxes are left alone.
#[derive(Clone)]
pub(crate) enum Fault {
    None,
    /// Get answers another record than the one that is kept.
    Altered(fn(&mut Container)),
    /// Get answers the spec with one text in place of another; Update takes that back.
    Respelled(&'static str, &'static str),
    /// Get answers this error.
    GetFails(fn() -> Status),
    /// Get never answers.
    GetHangs,
    /// Update answers this error and changes nothing.
    UpdateFails(fn() -> Status),
    /// Update changes nothing and never answers.
    UpdateHangs,
}

/// How often the double was asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// For the record of a sandbox.
    pub(crate) sandboxes: usize,
    /// For that of a container.
    pub(crate) containers: usize,
    pub(crate) updates: usize,
}

#[derive(Default)]
struct Counters {
    sandboxes: AtomicUsize,
    containers: AtomicUsize,
    updates: AtomicUsize,
}

/// The running double; dropping it ends it.
pub(crate) struct Store {
    counters: Arc<Counters>,
    socket: PathBuf,
    fault: Arc<Mutex<Fault>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Store {
    /// Listens on `socket` for what the containerd at `real` keeps.
    pub(crate) fn start(socket: &Path, real: &Path) -> Result<Self> {
        let fault = Arc::new(Mutex::new(Fault::None));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (listener, channel) = {
            let _inside = runtime.enter();
            let endpoint = Endpoint::try_from(format!("unix://{}", real.display()))?;
            (UnixListener::bind(socket).context("the double's socket")?, endpoint.connect_lazy())
        };
        let counters = Arc::new(Counters::default());
        let double = Double {
            real: ContainersClient::new(channel),
            fault: Arc::clone(&fault),
            counters: Arc::clone(&counters),
        };
        let service = ContainersServer::new(double).max_encoding_message_size(LARGEST);
        let thread = std::thread::spawn(move || {
            let incoming = UnixListenerStream::new(listener);
            runtime.block_on(async {
                tokio::select! {
                    _ = Server::builder().serve_with_incoming(service, incoming) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self { counters, socket: socket.to_owned(), fault, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    /// How often it was asked since this was last called.
    pub(crate) fn calls(&self) -> Calls {
        Calls {
            sandboxes: self.counters.sandboxes.swap(0, Ordering::Relaxed),
            containers: self.counters.containers.swap(0, Ordering::Relaxed),
            updates: self.counters.updates.swap(0, Ordering::Relaxed),
        }
    }

    /// From now on this goes wrong.
    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Double {
    counters: Arc<Counters>,
    real: ContainersClient<Channel>,
    fault: Arc<Mutex<Fault>>,
}

impl Double {
    fn fault(&self) -> Fault {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[tonic::async_trait]
impl Containers for Double {
    async fn get(
        &self,
        request: Request<GetContainerRequest>,
    ) -> Result<Response<GetContainerResponse>, Status> {
        let mut answer = self.real.clone().get(request).await?;
        let Some(record) = answer.get_mut().container.as_mut() else { return Ok(answer) };
        if record.labels.get("io.cri-containerd.kind").map(String::as_str) == Some("container") {
            self.counters.containers.fetch_add(1, Ordering::Relaxed);
            match self.fault() {
                Fault::Altered(alter) => alter(record),
                Fault::Respelled(from, to) => respell(record, from, to),
                Fault::GetFails(status) => return Err(status()),
                Fault::GetHangs => std::future::pending().await,
                Fault::None | Fault::UpdateFails(_) | Fault::UpdateHangs => {}
            }
        } else {
            self.counters.sandboxes.fetch_add(1, Ordering::Relaxed);
        }
        Ok(answer)
    }

    async fn update(
        &self,
        mut request: Request<UpdateContainerRequest>,
    ) -> Result<Response<UpdateContainerResponse>, Status> {
        self.counters.updates.fetch_add(1, Ordering::Relaxed);
        let fault = self.fault();
        if let (Fault::Respelled(from, to), Some(record)) = (&fault, request.get_mut().container.as_mut()) {
            respell(record, to, from);
        }
        match fault {
            Fault::UpdateFails(status) => Err(status()),
            Fault::UpdateHangs => std::future::pending().await,
            _ => self.real.clone().update(request).await,
        }
    }
}

/// What the record of container `id` has at the containerd that listens on `socket`; with a change, after it was
/// written there by somebody who is neither containerd nor the plugin.
pub(crate) fn record(socket: &Path, id: &str, change: Option<(&str, &str)>) -> Result<Container> {
    fn in_namespace<T>(message: T) -> Request<T> {
        let mut request = Request::new(message);
        let namespace = tonic::metadata::MetadataValue::from_static("k8s.io");
        request.metadata_mut().insert("containerd-namespace", namespace);
        request
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let channel = Endpoint::try_from(format!("unix://{}", socket.display()))?.connect_lazy();
        let mut client = ContainersClient::new(channel);
        let answer = client.get(in_namespace(GetContainerRequest { id: id.to_owned() })).await?;
        let mut record = answer.into_inner().container.context("no record")?;
        if let Some((from, to)) = change {
            respell(&mut record, from, to);
            let update_mask = Some(prost_types::FieldMask { paths: vec!["spec".to_owned()] });
            let request = UpdateContainerRequest { container: Some(record.clone()), update_mask };
            client.update(in_namespace(request)).await?;
        }
        Ok(record)
    })
}

fn respell(record: &mut Container, from: &str, to: &str) {
    if let Some(spec) = record.spec.as_mut() {
        spec.value = String::from_utf8_lossy(&spec.value).replace(from, to).into_bytes();
    }
}

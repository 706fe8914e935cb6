//! What the NRI stub costs: the round trip of one CreateContainer through it, beside the floor, a UNIX socket that
//! echoes the same request.
//!
//! Both sides of the comparison are the same but for the code between read and write:
//! - The same client: a thread with blocking reads and writes, which sends the request in one write and waits for a
//!   known number of bytes. It does not decode the answer.
//! - The same server's surroundings: a thread with a current-thread tokio runtime, on a socket pair.
//! - The same request: what containerd 1.7.24 sent, with environment variables added until it has the size of a real
//!   service's (3.5 KB). The echo sends all of it back. The plugin decodes it all and answers what a plugin that
//!   adjusts every container answers: an annotation and a hook. The echo's larger answer is part of the floor as it
//!   was defined, and costs it less than a microsecond.
//!
//! Besides criterion's own report of each, the rounds are interleaved once more, so that both see the same machine,
//! and the ratio of the medians is printed.

// A benchmark that cannot go on says so by panicking.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::doc_markdown)]

use std::{
    hint::black_box,
    io::{Read, Write},
    marker::PhantomData,
    os::unix::net::UnixStream,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use criterion::Criterion;
use nri_plugin::{
    self, BoxError, Events, Identity, Options, Plugin, View,
    api::{
        ConfigureRequest, Container, ContainerAdjustment, CreateContainerRequest, CreateContainerResponse,
        Hook, Hooks, PodSandbox, SynchronizeRequest,
    },
};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

mod wire {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic)]
    include!(concat!(env!("OUT_DIR"), "/ttrpc.rs"));
}

const REQUEST_SIZE: usize = 3500;
/// Interleaved rounds, and round trips in each.
const ROUNDS: usize = 200;
const TRIPS: usize = 100;

/// What a pod and a container are decoded into: all of it, or what strict-groups reads.
struct Adjuster<Pod, Container>(PhantomData<fn() -> (Pod, Container)>);

impl<Pod: View, Container: View> Plugin for Adjuster<Pod, Container> {
    type Pod = Pod;
    type Container = Container;

    fn events(&self) -> Events {
        Events::CREATE_CONTAINER
    }

    async fn create_container(
        &self,
        pod: Pod,
        container: Container,
    ) -> Result<CreateContainerResponse, BoxError> {
        black_box((&pod, &container));
        let hook = Hook { path: "/bin/true".into(), args: vec!["hook".into()], ..Hook::default() };
        let adjust = ContainerAdjustment {
            annotations: [("strict.test/decision".to_string(), "strict".to_string())].into(),
            hooks: Some(Hooks { create_runtime: vec![hook], ..Hooks::default() }),
            ..ContainerAdjustment::default()
        };
        Ok(CreateContainerResponse { adjust: Some(adjust), ..CreateContainerResponse::default() })
    }
}

/// One side of the comparison, seen from the client.
struct Server {
    stream: UnixStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Server {
    fn trip(&mut self) {
        self.stream.write_all(&self.request).unwrap();
        self.stream.read_exact(&mut self.answer).unwrap();
    }

    fn trips(&mut self, count: u64) -> Duration {
        let begin = Instant::now();
        for _ in 0..count {
            self.trip();
        }
        begin.elapsed()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Sends back what comes.
fn echo() -> Server {
    let (stream, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        runtime().block_on(async {
            theirs.set_nonblocking(true).unwrap();
            let mut stream = tokio::net::UnixStream::from_std(theirs).unwrap();
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                stream.write_all(&buffer[..n]).await.unwrap();
            }
        });
    });
    let request = create_request();
    Server { stream, answer: vec![0; request.len()], request }
}

/// A plugin in service.
fn plugin<Pod: View, Container: View>() -> Server {
    let (mut stream, theirs) = UnixStream::pair().unwrap();
    thread::spawn(move || {
        let options = Options::new(Identity::new("bench", "10").unwrap()).connection(theirs);
        // Ends with the connection, which is an error.
        let _ = runtime().block_on(nri_plugin::run(
            Arc::new(Adjuster::<Pod, Container>(PhantomData)),
            options,
            std::future::pending::<()>(),
        ));
    });
    receive(&mut stream);
    stream.write_all(&framed(2, 1, 2, &[])).unwrap();
    stream.write_all(&call(1, "Configure", &ConfigureRequest::default())).unwrap();
    receive(&mut stream);
    stream.write_all(&call(3, "Synchronize", &SynchronizeRequest::default())).unwrap();
    receive(&mut stream);

    let request = create_request();
    stream.write_all(&request).unwrap();
    let answer = receive(&mut stream);
    let response = wire::Response::decode(&answer[18..]).unwrap();
    let response = CreateContainerResponse::decode(&*response.payload).unwrap();
    assert_eq!(response.adjust.unwrap().annotations["strict.test/decision"], "strict");
    Server { stream, request, answer }
}

/// One frame, header included.
fn receive(stream: &mut UnixStream) -> Vec<u8> {
    let mut frame = vec![0; 8];
    stream.read_exact(&mut frame).unwrap();
    let len = u32::from_be_bytes(frame[4..].try_into().unwrap()) as usize;
    frame.resize(8 + len, 0);
    stream.read_exact(&mut frame[8..]).unwrap();
    frame
}

fn framed(connection: u32, stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    [
        &connection.to_be_bytes()[..],
        &(len + 10).to_be_bytes(),
        &len.to_be_bytes(),
        &stream.to_be_bytes(),
        &[kind, 0],
        payload,
    ]
    .concat()
}

fn call(stream: u32, method: &str, message: &impl Message) -> Vec<u8> {
    let request = wire::Request {
        service: "nri.pkg.api.v1alpha1.Plugin".into(),
        method: method.into(),
        payload: message.encode_to_vec(),
        timeout_nano: 2_000_000_000,
        metadata: Vec::new(),
    };
    framed(1, stream, 1, &request.encode_to_vec())
}

/// The recorded CreateContainer, filled up to [`REQUEST_SIZE`] with what a cluster puts into every environment.
fn create_request() -> Vec<u8> {
    let recorded = include_bytes!("../../nri-plugin/tests/fixtures/containerd-1.7.24.to-plugin.bin");
    let mut rest = &recorded[..];
    let mut message = loop {
        let (header, tail) = rest.split_at(18);
        let len = u32::from_be_bytes(header[4..8].try_into().unwrap()) as usize - 10;
        let (payload, tail) = tail.split_at(len);
        rest = tail;
        if let Ok(request) = wire::Request::decode(payload)
            && request.method == "CreateContainer"
        {
            break CreateContainerRequest::decode(&*request.payload).unwrap();
        }
    };
    for service in 0.. {
        let frame = call(5, "CreateContainer", &message);
        if frame.len() >= REQUEST_SIZE {
            return frame;
        }
        let env = &mut message.container.as_mut().unwrap().env;
        env.push(format!("BACKEND_{service}_SERVICE_HOST=10.96.{service}.17"));
    }
    unreachable!()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut echo = echo();
    let mut whole = plugin::<PodSandbox, Container>();
    let mut view = plugin::<strict_groups::plugin::Pod, strict_groups::plugin::Container>();
    let mut group = criterion.benchmark_group("create_container");
    group.bench_function("floor: socket echo", |b| b.iter_custom(|count| echo.trips(count)));
    group.bench_function("stub, all decoded", |b| b.iter_custom(|count| whole.trips(count)));
    group.bench_function("stub, what strict-groups reads", |b| b.iter_custom(|count| view.trips(count)));
    // Of the stub's share, what the generated code alone takes.
    let payload = wire::Request::decode(&whole.request[18..]).unwrap().payload;
    group.bench_function("decoding alone", |b| b.iter(|| CreateContainerRequest::decode(&*payload).unwrap()));
    group.finish();

    let mut times = [(); 3].map(|()| Vec::new());
    for _ in 0..ROUNDS {
        for (server, times) in [&mut echo, &mut whole, &mut view].into_iter().zip(&mut times) {
            for _ in 0..TRIPS {
                let begin = Instant::now();
                server.trip();
                times.push(begin.elapsed());
            }
        }
    }
    let [floor, whole_time, view_time] = times.map(median);
    println!(
        "create_container of {} bytes, medians of {} interleaved round trips each:",
        whole.request.len(),
        ROUNDS * TRIPS
    );
    println!("  floor, a socket echo           {floor:>8.1?}");
    for (what, time) in [("all decoded", whole_time), ("what strict-groups reads", view_time)] {
        let ratio = time.as_secs_f64() / floor.as_secs_f64();
        println!("  stub, {what:<24} {time:>8.1?}  ratio {ratio:.2} (budget 1.5)");
    }
    criterion.final_summary();
}

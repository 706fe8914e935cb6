//! exec, attach and port-forward: the runtime's answer is an address of its own streaming server, and the kubelet
//! sends its user there. Here it is a WebSocket that carries the channels of `v4.channel.k8s.io` (Kubernetes' remote
//! command protocol). The server's frames are not masked, so what the process says stands in the bytes as it is.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use prost::Message;

use super::{SERVICE, app, node::Node, raw};
use crate::world::World;
use e2e::{Kind, Pod};

const TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Clone, PartialEq, Message)]
struct ExecRequest {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(string, repeated, tag = "2")]
    command: Vec<String>,
    #[prost(bool, tag = "5")]
    stdout: bool,
}

#[derive(Clone, PartialEq, Message)]
struct AttachRequest {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(bool, tag = "4")]
    stdout: bool,
}

#[derive(Clone, PartialEq, Message)]
struct PortForwardRequest {
    #[prost(string, tag = "1")]
    sandbox: String,
    #[prost(int32, repeated, tag = "2")]
    ports: Vec<i32>,
}

/// The answer to all three.
#[derive(Clone, PartialEq, Message)]
struct Address {
    #[prost(string, tag = "1")]
    url: String,
}

fn address(socket: &Path, method: &str, request: &impl Message) -> Result<String> {
    let answer = raw::Client::new(socket)?.call(&format!("{SERVICE}{method}"), &request.encode_to_vec())?;
    let answer = answer.map_err(|(code, text)| anyhow::anyhow!("{method}: {code:?}: {text}"))?;
    Ok(Address::decode(answer.as_slice())?.url)
}

/// Server and path of `http://SERVER/PATH`.
fn parts(url: &str) -> Result<(&str, &str)> {
    url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).with_context(|| url.to_owned())
}

/// Connects to such an address and reads until `wanted` was said.
fn says(url: &str, wanted: &str) -> Result<()> {
    let (server, path) = parts(url)?;
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(
        stream,
        "GET /{path} HTTP/1.1\r\nHost: {server}\r\nOrigin: http://{server}\r\nUpgrade: websocket\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c3RyaWN0LWdyb3Vwcy10cw==\r\n\
         Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
    )?;
    let (start, mut said, mut part) = (Instant::now(), Vec::new(), [0; 4096]);
    while start.elapsed() < TIMEOUT {
        match stream.read(&mut part) {
            Ok(0) => break,
            Ok(count) => said.extend_from_slice(part.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        if String::from_utf8_lossy(&said).contains(wanted) {
            return Ok(());
        }
    }
    bail!("{wanted:?} is missing in {:?}", String::from_utf8_lossy(&said));
}

pub(super) fn work(world: &World) -> Result<()> {
    let node = Node::start(world, Kind::V1_7)?;
    node.plugin()?;
    let proxy = node.proxy()?;
    let pod = proxy.cri.run_pod(&Pod::new("web").strict_field())?;
    let script = "while :; do echo over and over; sleep 1; done";
    let spec = app().strict_field().command(&["/bin/sh", "-c", script]);
    let container = proxy.cri.launch(&pod, &spec)?;

    let command = ["cat", "/proc/self/status"].map(str::to_owned).to_vec();
    let exec = ExecRequest { container: container.clone(), command, stdout: true };
    let url = address(&proxy.socket, "Exec", &exec)?;
    // The token is new each time; the server is not.
    let direct = address(&node.containerd.socket(), "Exec", &exec)?;
    ensure!(parts(&url)?.0 == parts(&direct)?.0, "{url}, direct {direct}");
    says(&url, "\nGroups:\t3000 4000 \n").context("exec")?;

    let attach = AttachRequest { container, stdout: true };
    says(&address(&proxy.socket, "Attach", &attach)?, "over and over").context("attach")?;

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let greeter = std::thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"hello from the pod's port")?;
        // Until the other side has read it.
        stream.shutdown(Shutdown::Write)?;
        let _ = stream.read(&mut [0])?;
        Ok(())
    });
    let forward = PortForwardRequest { sandbox: pod.id, ports: vec![port.into()] };
    let url = address(&proxy.socket, "PortForward", &forward)?;
    says(&url, "hello from the pod's port").context("port-forward")?;
    greeter.join().unwrap_or_else(|_| bail!("the greeter panicked"))?;
    proxy.cri.remove_all_pods()?;
    Ok(())
}

//! CRI-O's half that can be had without CRI-O: its recorded NRI stream to the plugin, what the plugin
//! injects into a bundle, and the wrapper that creates it.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nri_plugin::api::{CreateContainerResponse, Hook};
use prost::Message;
use serde_json::json;
use strict_groups_core::gate::{Gate, State};

use e2e::wrapper::bundle::{Bundle, MERGED, STRICT, gates};
use e2e::wrapper::command::Wrapper;
use e2e::wrapper::world::{World, trial};
use e2e::{plugin, run, wait_for};

/// What CRI-O 1.30.14 sent for a pod with the annotation.
const STREAM: &[u8] = include_bytes!("../../../nri-plugin/tests/fixtures/cri-o-1.30.14.to-plugin.bin");
/// CreateContainer is its third request; a client's streams have odd numbers.
const CREATE_CONTAINER: u32 = 5;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("crio::the_plugins_gate_goes_through_the_wrapper", with_wrapper),
        trial("crio::without_the_wrapper_the_gate_says_what_to_install", without_wrapper),
    ]
}

/// A ttrpc response (containerd/ttrpc, "Response").
#[derive(Message)]
struct Response {
    #[prost(bytes = "vec", tag = "2")]
    payload: Vec<u8>,
}

/// Plays the stream to the plugin; the hooks that it injects.
fn injected(world: &World) -> Result<Vec<Hook>> {
    let dir = world.folder()?;
    let socket = dir.join("nri.sock");
    let listener = UnixListener::bind(&socket)?;
    let log = fs::File::create(dir.join("log"))?;
    let mut command = Command::new(plugin::binary(&world.run)?);
    command.arg("plugin").arg("--nri-socket").arg(&socket).arg("--containerd-socket").arg(dir.join("none"));
    command.env(run::VARIABLE, world.run.name()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut child = world.run.spawn(&mut command)?;
    let hooks = listener.accept().map_err(anyhow::Error::from).and_then(|(mut stream, _)| {
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(STREAM)?;
        let mut received = Vec::new();
        let mut piece = [0; 4096];
        loop {
            let length = stream.read(&mut piece)?;
            ensure!(length > 0, "the plugin hung up");
            received.extend_from_slice(piece.get(..length).unwrap_or_default());
            if let Some(payload) = answer(&received) {
                let adjust = CreateContainerResponse::decode(&*payload)?.adjust.context("no adjustment")?;
                return Ok(adjust.hooks.context("no hooks")?.create_runtime);
            }
        }
    });
    child.kill()?;
    child.wait()?;
    hooks.with_context(|| fs::read_to_string(dir.join("log")).unwrap_or_default())
}

/// The answer to CreateContainer in what the plugin has sent: frames of the multiplexer, and in those of
/// the Plugin service ttrpc messages.
fn answer(mut frames: &[u8]) -> Option<Vec<u8>> {
    let mut messages = Vec::new();
    while let (Some((connection, rest)), Some(length)) = (number(frames), frames.get(4..).and_then(number)) {
        let length = usize::try_from(length.0).ok()?;
        let Some(payload) = rest.get(4..4 + length) else { break };
        if connection == 1 {
            messages.extend_from_slice(payload);
        }
        frames = rest.get(4 + length..)?;
    }
    let mut messages = messages.as_slice();
    loop {
        let (length, rest) = number(messages)?;
        let (stream, rest) = number(rest)?;
        let payload = rest.get(2..2 + usize::try_from(length).ok()?)?;
        if stream == CREATE_CONTAINER {
            return Some(Response::decode(payload).ok()?.payload);
        }
        messages = rest.get(2 + payload.len()..)?;
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*number), rest))
}

/// The container of the stream as a bundle of CRI-O, which puts the plugin's hooks behind its own.
fn bundle(world: &World) -> Result<Bundle> {
    let mut bundle = Bundle::new(world)?.by_crio()?.annotated("Strict")?;
    let hooks = injected(world)?;
    let [hook] = &hooks[..] else { anyhow::bail!("{hooks:?}") };
    let gate = Gate::parse(&hook.args)?.context("no gate")?;
    ensure!(gate.state == State::Pending { declared: None }, "{gate:?}");
    ensure!((gate.pod.as_str(), gate.container.as_str()) == ("default/p1", "c1"), "{gate:?}");
    bundle.spec["hooks"]["createRuntime"] =
        json!([{ "path": "/bin/true", "args": ["hook"] }, { "path": hook.path, "args": hook.args }]);
    bundle.write()?;
    Ok(bundle)
}

fn with_wrapper(world: &World) -> Result<()> {
    for real in e2e::wrapper::command::BOTH {
        let wrapper = Wrapper::new(world, real)?;
        let bundle = bundle(world)?;
        bundle.start(&wrapper)?.expect(&STRICT)?;
        let gates = gates(&bundle.config())?;
        ensure!(gates.iter().any(|gate| matches!(gate.state, State::Resolved { .. })), "{gates:?}");
    }
    Ok(())
}

fn without_wrapper(world: &World) -> Result<()> {
    let bundle = bundle(world)?;
    let dir = world.folder()?;
    let mut command = Command::new(world.machine.runc());
    command.arg("--root").arg(dir.join("state")).args(["create", "--bundle", bundle.dir(), &bundle.id]);
    let output = e2e::wrapper::command::finish(command.stdin(Stdio::null()), &dir)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "it was created with {MERGED:?}");
    for part in ["pod default/p1, container c1", "strict-groups-runtime", "strict-groups config crio"] {
        ensure!(said.contains(part), "no {part}: {said}");
    }
    wait_for(Duration::from_secs(5), || (!dir.join("state").join(&bundle.id).exists()).then_some(()));
    Ok(())
}

//! The gate's process from start to exit, beside a program that does nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use e2e::bench::statistics::Sample;
use e2e::{Containerd, Machine};

/// Microseconds.
pub(crate) struct Times {
    pub(crate) hook: Sample,
    /// A static busybox whose applet is `true`.
    pub(crate) floor: Sample,
    /// Bytes of the config.json that the hook reads.
    pub(crate) config: usize,
}

/// Runs the gate of `container`, which is running, whose arguments have `gate`, on its own bundle, just as the OCI runtime did. The OCI runtime is
/// this program, which is none that the gate knows: it counts as one that looks groups up by name.
pub(crate) fn measure(
    machine: &Machine,
    daemon: &Containerd,
    container: &str,
    gate: &str,
    times: usize,
) -> Result<Times> {
    let bundle = daemon.bundle(container);
    let config = fs::read(bundle.join("config.json")).context("reading the bundle's config.json")?;
    let spec: Value = serde_json::from_slice(&config)?;
    let hooks = spec.pointer("/hooks/createRuntime").and_then(Value::as_array).context("no hooks")?;
    let is_gate = |hook: &&Value| hook["args"].as_array().is_some_and(|args| args.contains(&json!(gate)));
    let hook = hooks.iter().find(is_gate).with_context(|| format!("no {gate} in config.json"))?;
    let path = PathBuf::from(hook["path"].as_str().context("the gate has no path")?);
    let args: Vec<&str> = hook["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();

    let state = daemon.dir().join("tmp/state.json");
    let content = json!({
        "ociVersion": "1.0.2", "id": container, "status": "creating", "pid": std::process::id(), "bundle": bundle,
    });
    fs::write(&state, content.to_string())?;

    let (mut hooks, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..times {
        hooks.push(start_to_exit(&path, args.get(1..).unwrap_or_default(), &state)?);
        floors.push(start_to_exit(&machine.busybox(), &["true"], &state)?);
    }
    Ok(Times { hook: Sample::new(hooks), floor: Sample::new(floors), config: config.len() })
}

fn start_to_exit(program: &Path, args: &[&str], stdin: &Path) -> Result<f64> {
    let mut command = Command::new(program);
    command.args(args).env_clear().stdin(File::open(stdin)?).stdout(Stdio::null()).stderr(Stdio::inherit());
    let start = Instant::now();
    let status = command.status()?;
    let took = start.elapsed();
    ensure!(status.success(), "{} failed: {status}", program.display());
    Ok(took.as_secs_f64() * 1e6)
}

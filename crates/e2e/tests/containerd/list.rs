//! `strict-groups list` beside real containers of every kind.

#![allow(clippy::indexing_slicing, reason = "a trial may panic")]

mod crio;
mod isolated;
mod node;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::Value;

use e2e::Run;
use e2e::plugin::binary;

pub(crate) fn trials() -> Vec<Trial> {
    [node::trials(), crio::trials(), isolated::trials()].into_iter().flatten().collect()
}

/// What the command printed, and its exit code.
struct Listed {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs `strict-groups list` on the runtime's `socket`.
fn list(run: &Run, socket: &Path, arguments: &[&str]) -> Result<Listed> {
    let output = Command::new(binary(run)?)
        .args(["list", "--runtime-endpoint"])
        .arg(format!("unix://{}", socket.display()))
        .args(arguments)
        .stdin(Stdio::null())
        .output()?;
    Ok(Listed {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

impl Listed {
    /// What was printed; the exit code must be this one, and there must be no complaint.
    fn exits(self, code: i32) -> Result<String> {
        let Self { code: real, stdout, stderr } = self;
        ensure!(real == Some(code) && stderr.is_empty(), "exit code {real:?}, {stderr}\n{stdout}");
        Ok(stdout)
    }
}

/// The containers of a JSON report that keeps to the schema, by `pod/container`.
fn items(json: &str) -> Result<HashMap<String, Value>> {
    let report: Value = serde_json::from_str(json)?;
    let schema: Value = serde_json::from_str(include_str!("../../../../docs/list.schema.json"))?;
    let schema = jsonschema::validator_for(&schema).context("the schema")?;
    let errors: Vec<String> =
        schema.iter_errors(&report).map(|error| format!("{}: {error}", error.instance_path())).collect();
    ensure!(errors.is_empty(), "{errors:?}\n{json}");
    let items = report["items"].as_array().context("no items")?;
    let key = |item: &Value| Some(format!("{}/{}", item["pod"].as_str()?, item["container"].as_str()?));
    items.iter().map(|item| Ok((key(item).context("no name")?, item.clone()))).collect()
}

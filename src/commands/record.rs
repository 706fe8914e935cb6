//! `strict-groups containerd-record`: asks containerd's API for the OCI runtime wrapper; see [`container_start::record`].

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use prost_types::Any;

use crate::runtimes::containerd::Containers;
use container_start::record::{Asked, FAILED, TIMEOUT};
use strict_groups_core::text;

/// How much of a reason is printed, in bytes.
const SHOWN: usize = 1024;

/// Prints the answer to a question.
#[must_use]
pub fn run(asked: &Asked<'_>) -> ExitCode {
    let (line, value) = match extension(asked) {
        Ok(Any { type_url, value }) => (type_url, value),
        Err(error) => (format!("{FAILED}{error:#}"), Vec::new()),
    };
    let mut stdout = io::stdout().lock();
    let printed =
        writeln!(stdout, "{}", text::one_line(&line, SHOWN)).and_then(|()| stdout.write_all(&value));
    // Who gets no answer finds that out.
    if printed.and_then(|()| stdout.flush()).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn extension(asked: &Asked<'_>) -> anyhow::Result<Any> {
    let containers = Containers::new(asked.socket);
    let event_loop = super::event_loop()?;
    let mut record = event_loop.block_on(containers.get(asked.id, TIMEOUT))?;
    let extension = record.extensions.remove(asked.extension);
    extension.with_context(|| {
        format!("containerd's record has no extension {}", text::quoted(asked.extension, 64))
    })
}

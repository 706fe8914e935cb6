//! `strict-groups containerd-record`: asks containerd's API for the OCI runtime wrapper; see [`crate::record`].

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::Context;

use crate::{
    containerd::Containers,
    declared,
    record::{Asked, Question, Reply, TIMEOUT},
};

/// Prints the [`Reply`] to a question.
#[must_use]
pub fn run(asked: &Asked<'_>) -> ExitCode {
    let reply = answer(asked).unwrap_or_else(|error| Reply::Failed(format!("{error:#}")));
    let printed = serde_json::to_vec(&reply).map_err(io::Error::from);
    match printed.and_then(|json| io::stdout().lock().write_all(&json)) {
        Ok(()) => ExitCode::SUCCESS,
        // The wrapper finds no answer then.
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer(asked: &Asked<'_>) -> anyhow::Result<Reply> {
    let containers = Containers::new(asked.socket);
    let event_loop = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the event loop")?;
    let mut record = event_loop.block_on(containers.get(asked.id, TIMEOUT))?;
    let mut extension = |name: &'static str| {
        record.extensions.remove(name).with_context(|| format!("containerd's record has no extension {name}"))
    };
    match asked.question {
        Question::Declared => {
            let metadata = extension(declared::EXTENSION)?;
            let groups = declared::from_extension(&metadata.type_url, &metadata.value)
                .context("the declared groups cannot be read from containerd's record")?;
            Ok(Reply::Declared(groups))
        }
        Question::Pod => {
            let metadata = extension(declared::SANDBOX_EXTENSION)?;
            let (labels, annotations) = declared::pod_of_sandbox(&metadata.type_url, &metadata.value)
                .context("the pod's labels cannot be read from containerd's record of its sandbox")?;
            Ok(Reply::Pod { labels, annotations })
        }
    }
}

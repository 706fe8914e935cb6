//! What the wrapper has to say. Its output belongs to the real runtime, so nothing is printed unless
//! that one does not run; the journal is told which groups were removed.

use std::{fmt::Write as _, fs::OpenOptions, io::Write as _, path::Path};

use tracing::info;
use tracing_subscriber::layer::SubscriberExt;

use super::error::{RuntimeError, Subject};
use crate::json;

/// Tells the journal, if there is one, what a container was resolved to.
pub(super) fn resolved(subject: &Subject, id: &str, groups: &[u32], removed: &[u32]) {
    let Ok(journal) = tracing_journald::layer() else { return };
    let journal = journal.with_field_prefix(None).with_syslog_identifier(super::NAME.to_owned());
    let (groups, removed_groups) = (join(groups), join(removed));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || match subject {
        Subject::Named { pod, container } => {
            let (namespace, pod) = pod.split_once('/').unwrap_or(("", pod));
            info!(pod, namespace, container, id, groups, removed_groups, "strict");
        }
        Subject::Id(_) => info!(id, groups, removed_groups, "strict"),
    });
}

/// Prints why the real runtime does not run, and writes it to the file of `--log` as that one would:
/// containerd takes the reason from there.
pub(super) fn failed(log: Option<&Path>, error: &RuntimeError) {
    eprintln!("{error}");
    let Some(log) = log else { return };
    let line = format!(r#"{{"level":"error","msg":{}}}"#, json::string(&error.to_string()));
    // The reason was printed; an engine that cannot read this file falls back on that.
    let _ =
        OpenOptions::new().append(true).create(true).open(log).and_then(|mut file| writeln!(file, "{line}"));
}

fn join(gids: &[u32]) -> String {
    gids.iter().fold(String::new(), |mut list, gid| {
        // Writing to a String cannot fail.
        let _ = write!(list, "{}{gid}", if list.is_empty() { "" } else { "," });
        list
    })
}

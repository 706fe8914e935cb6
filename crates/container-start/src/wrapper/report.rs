//! What the wrapper has to say. Its output belongs to the underlying OCI runtime, so nothing is printed unless
//! that one does not run; the journal gets which groups were removed.

use std::{ffi::OsStr, fs::OpenOptions, io::Write as _, os::unix::ffi::OsStrExt, path::Path};

use tracing::info;
use tracing_subscriber::{
    fmt::{
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    layer::SubscriberExt,
};

use super::{
    argv::Call,
    error::{Subject, WrapperError},
};
use strict_groups_core::{groups, json, text};

/// Tells the journal, if there is one, what a container was resolved to.
pub(super) fn resolved(subject: &Subject, id: &str, groups: &[u32], removed: &[u32]) {
    let Ok(journal) = tracing_journald::layer() else { return };
    let journal = journal.with_field_prefix(None).with_syslog_identifier(super::NAME.to_owned());
    let (groups, removed_groups) = (groups::list(groups), groups::list(removed));
    let id = text::one_line(id, text::NAME_MAX);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(journal), || match subject {
        Subject::Named { pod, container } => {
            let (pod, container) =
                (text::one_line(pod, text::NAME_MAX), text::one_line(container, text::NAME_MAX));
            let (namespace, pod) = pod.split_once('/').unwrap_or(("", &pod));
            info!(pod, namespace, container, id, groups, removed_groups, "strict");
        }
        Subject::Id(_) => info!(id, groups, removed_groups, "strict"),
    });
}

/// Prints why the underlying OCI runtime does not run, and writes it to the file of `--log` as that one would:
/// containerd and podman take the reason from there.
pub(super) fn failed(call: &Call<'_>, error: &WrapperError) {
    eprintln!("{error}");
    let Some(log) = call.log.and_then(log_file) else { return };
    let (message, mut time) = (json::string(&error.to_string()), String::new());
    // A time that is not known is left out; writing to a String cannot fail.
    let _ = SystemTime.format_time(&mut Writer::new(&mut time));
    let line = if call.log_format.is_some_and(|format| format == "json") {
        format!(r#"{{"level":"error","msg":{message},"time":"{time}"}}"#)
    } else {
        format!(r#"time="{time}" level=error msg={message}"#)
    };
    // The reason was printed; an engine that cannot read this file falls back on that.
    let _ =
        OpenOptions::new().append(true).create(true).open(log).and_then(|mut file| writeln!(file, "{line}"));
}

/// The file of `--log`. crun also takes a kind in front of it, and some kinds are no files.
fn log_file(log: &Path) -> Option<&Path> {
    let text = log.as_os_str().as_bytes();
    if text.starts_with(b"journald:") || text.starts_with(b"syslog:") {
        return None;
    }
    Some(text.strip_prefix(b"file:").map_or(log, |path| Path::new(OsStr::from_bytes(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_may_have_its_kind_in_front() {
        for (log, file) in [
            ("/run/log.json", Some("/run/log.json")),
            ("file:/run/log", Some("/run/log")),
            ("journald:crun", None),
            ("syslog:crun", None),
        ] {
            assert_eq!(log_file(Path::new(log)), file.map(Path::new), "{log}");
        }
    }
}

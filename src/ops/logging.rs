//! Where log lines go: the journal under systemd, else stderr.

use std::{io, os::linux::fs::MetadataExt, path::Path};

use anyhow::Context;
use tracing::Level;
use tracing_subscriber::{
    Layer, filter::Targets, fmt, layer::SubscriberExt, registry::LookupSpan, util::SubscriberInitExt,
};

/// The crates of this project that log: a log line's target begins with the name of its crate.
const OURS: [&str; 4] = ["strict_groups", "container_start", "nri_plugin", "uds_grpc"];

/// Starts logging for the whole process. `RUST_LOG`, where set, decides what is
/// logged (`info`, `debug`, or `nri_plugin=trace,info`), else `level`.
///
/// Under systemd, which sets `JOURNAL_STREAM` (`systemd.exec(5)`), lines
/// go to the journal with their fields (`POD=`, `NAMESPACE=`, `CONTAINER=`,
/// `REMOVED_GROUPS=`), so that `journalctl POD=web` finds them. The journal is
/// also tried for a plugin that the runtime launched: its stderr is `/dev/null`.
///
/// # Errors
/// `RUST_LOG` cannot be understood, or logging was started before.
pub fn start(level: Level) -> anyhow::Result<()> {
    let filter = match std::env::var("RUST_LOG") {
        Ok(directives) if !directives.is_empty() => directives
            .parse::<Targets>()
            .with_context(|| format!("RUST_LOG=\"{}\" is not a log filter", directives.escape_debug()))?,
        // What the libraries below us have to say is for RUST_LOG only.
        _ => Targets::new()
            .with_targets(OURS.map(|crate_name| (crate_name, level)))
            .with_default(level.min(Level::WARN)),
    };
    tracing_subscriber::registry()
        .with(output().with_filter(filter))
        .try_init()
        .context("logging is on already")
}

fn output<S>() -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
{
    let expected = stderr_is_the_journal();
    if expected || (nri_plugin::is_launched() && stderr_is_discarded()) {
        match tracing_journald::layer() {
            Ok(layer) => {
                return layer
                    .with_field_prefix(None)
                    .with_syslog_identifier("strict-groups".to_owned())
                    .boxed();
            }
            Err(error) if expected => {
                eprintln!("strict-groups: no journal socket, logging to stderr: {error}");
            }
            Err(_) => {}
        }
    }
    fmt::layer().with_writer(io::stderr).with_ansi(false).with_target(false).boxed()
}

/// `JOURNAL_STREAM` is inherited by children whose stderr may lead elsewhere,
/// so its device and inode are compared with our own stderr's.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata(Path::new("/proc/self/fd/2"))
        .is_ok_and(|stderr| stream == format!("{}:{}", stderr.st_dev(), stderr.st_ino()))
}

/// NRI runs the plugins of its directory with their output thrown away.
fn stderr_is_discarded() -> bool {
    std::fs::read_link("/proc/self/fd/2").is_ok_and(|path| path == Path::new("/dev/null"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    /// The name of a crate's library, as the targets of its log lines have it.
    fn library(manifest: &Path) -> Option<String> {
        let manifest: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
        let name = |table: &str| Some(manifest.get(table)?.get("name")?.as_str()?.replace('-', "_"));
        manifest["dependencies"].get("tracing")?;
        name("lib").or_else(|| name("package"))
    }

    #[test]
    fn level_holds_for_each_crate_of_ours_that_logs() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let crates = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path());
        let found: BTreeSet<String> = crates
            .chain([root.to_owned()])
            .filter(|path| !path.ends_with("e2e"))
            .filter_map(|path| library(&path.join("Cargo.toml")))
            .collect();
        assert_eq!(found, BTreeSet::from(OURS.map(String::from)));
    }
}

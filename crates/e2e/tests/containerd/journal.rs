//! Under systemd the log goes to the journal, with fields to search by.
//!
//! The machine may have a journal of its own, or none: the plugin gets a /run
//! of its own, where the trial's socket is the journal's.

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::steps::{fresh, strict_works};
use crate::world::{World, trial};
use e2e::{Containerd, Kind, plugin, run, wait_for};

/// Puts $0, where there is one, in the journal's place and becomes the rest of the words.
const PRIVATE_RUN: &str = r#"mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal &&
{ [ -z "$0" ] || { touch /run/systemd/journal/socket && mount --bind "$0" /run/systemd/journal/socket; }; } &&
exec "$@""#;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("journal::gets_the_fields_of_every_strict_container", journal)]
}

fn journal(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let socket = daemon.dir().join("journal.sock");
    let journal = UnixDatagram::bind(&socket)?;
    journal.set_read_timeout(Some(Duration::from_secs(20)))?;

    // As a service of systemd.
    let service = Service::start(&daemon, Some(&socket))?;
    until(&journal, |entry| entry.get("MESSAGE").is_some_and(|text| text.starts_with("connected")))?;
    strict_works(&daemon, "journal")?;
    let entry = until(&journal, |entry| entry.get("POD").is_some_and(|pod| pod == "journal"))?;
    // 5 is notice: the journal's informational (6) is what debug becomes.
    for (field, value) in [
        ("MESSAGE", "strict"),
        ("NAMESPACE", "default"),
        ("CONTAINER", "app"),
        ("GROUPS", "3000,4000"),
        ("REMOVED_GROUPS", "50000(group-in-image)"),
        ("SYSLOG_IDENTIFIER", "strict-groups"),
        ("PRIORITY", "5"),
    ] {
        ensure!(entry.get(field).is_some_and(|found| found == value), "{field} in {entry:?}");
    }
    ensure!(service.log().is_empty(), "on stderr as well: {}", service.log());
    drop(service);

    // The same where the journal does not listen.
    let service = Service::start(&daemon, None)?;
    let said = || service.log().contains(plugin::REGISTERED).then_some(());
    wait_for(Duration::from_secs(20), said).with_context(|| service.log())?;
    ensure!(service.log().contains("no journal socket, logging to stderr"), "{}", service.log());
    drop(service);

    // As a plugin that containerd launched: its stderr leads nowhere.
    let path = daemon.nri_plugins().join("90-strict-groups");
    let words: Vec<String> = words(&daemon, Some(&socket))?.iter().map(|word| format!("'{word}'")).collect();
    let script =
        format!("#!/bin/sh\nexport {}={}\nexec {}\n", run::VARIABLE, world.run.name(), words.join(" "));
    e2e::executable::script(&path, &script)?;
    daemon.restart(Signal::SIGTERM)?;
    strict_works(&daemon, "journal-launched")?;
    until(&journal, |entry| entry.get("POD").is_some_and(|pod| pod == "journal-launched"))?;
    daemon.stop()
}

/// The command line of a plugin in a mount namespace of its own.
fn words(daemon: &Containerd, journal: Option<&Path>) -> Result<Vec<String>> {
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    let mut words: Vec<String> = ["unshare", "--mount", "sh", "-c", PRIVATE_RUN].map(String::from).into();
    words.push(journal.map_or_else(String::new, |socket| path(socket.to_owned())));
    words.extend([path(plugin::binary(daemon.run())?), "plugin".to_owned()]);
    words.extend(["--nri-socket".to_owned(), path(daemon.nri_socket())]);
    words.extend(["--containerd-socket".to_owned(), path(daemon.socket())]);
    Ok(words)
}

/// The plugin with a stderr that systemd connected; dropping it ends it.
struct Service {
    child: Child,
    stderr: PathBuf,
}

impl Service {
    fn start(daemon: &Containerd, journal: Option<&Path>) -> Result<Self> {
        let name = if journal.is_some() { "journal.stderr" } else { "no-journal.stderr" };
        let stderr = daemon.dir().join(name);
        let file = OpenOptions::new().create(true).append(true).open(&stderr)?;
        let data = file.metadata()?;
        let words = words(daemon, journal)?;
        let mut command = Command::new(words.first().context("no command")?);
        command
            .args(words.iter().skip(1))
            .env("JOURNAL_STREAM", format!("{}:{}", data.st_dev(), data.st_ino()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        Ok(Self { child: daemon.run().spawn(&mut command)?, stderr })
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The next journal entry of this kind.
fn until(
    journal: &UnixDatagram,
    wanted: impl Fn(&HashMap<String, String>) -> bool,
) -> Result<HashMap<String, String>> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let length = journal.recv(&mut buffer).context("no such entry came")?;
        let entry = fields(buffer.get(..length).unwrap_or_default()).context("no journal entry")?;
        if wanted(&entry) {
            return Ok(entry);
        }
    }
}

/// The journal's native protocol: `KEY=value`, or the key alone, then the
/// value's length as eight bytes (little endian) and the value; a line break
/// after each.
fn fields(mut bytes: &[u8]) -> Option<HashMap<String, String>> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut found = HashMap::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let (line, rest) = (bytes.get(..end)?, bytes.get(end + 1..)?);
        if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            found.insert(text(line.get(..equals)?), text(line.get(equals + 1..)?));
            bytes = rest;
        } else {
            let (length, rest) = rest.split_first_chunk::<8>()?;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            found.insert(text(line), text(rest.get(..length)?));
            bytes = rest.get(length + 1..)?;
        }
    }
    Some(found)
}

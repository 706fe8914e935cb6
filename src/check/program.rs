//! What a program prints, within a time.

use std::{
    io::{Read, Seek},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use hostfs::ownership;

/// How long a program may take to say its version.
const LIMIT: Duration = Duration::from_secs(5);
/// How runc begins the line with its version.
pub(super) const RUNC_VERSION: &str = "runc version ";
/// How often a program is asked whether it has ended.
const BEAT: Duration = Duration::from_millis(10);
/// How much of what it prints is read, in bytes.
const LARGEST: u64 = 4096;

/// [`version`] of a program that is root's alone; another one is not run.
///
/// # Errors
/// As there, and what is wrong with its place.
pub(super) fn trusted_version(path: &Path) -> Result<String, String> {
    ownership::check(path, ownership::Kind::File).map_err(|untrusted| untrusted.to_string())?;
    version(path)
}

/// The line of what `path --version` prints that names runc, since some programs only add to that one and name it
/// below themselves (nvidia-container-runtime); else the first line.
///
/// # Errors
/// Why there is none, for a person.
pub(super) fn version(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("{} cannot be run: {error}", path.display());
    // A file, since a pipe may be held open by a child of the program for ever.
    let mut file = tempfile::tempfile().map_err(failed)?;
    let mut child = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(file.try_clone().map_err(failed)?)
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let status = wait(&mut child).map_err(failed)?;
    let status = status
        .ok_or_else(|| format!("{} --version took longer than {} s", path.display(), LIMIT.as_secs()))?;
    if !status.success() {
        return Err(format!("{} --version failed ({status})", path.display()));
    }
    let mut said = Vec::new();
    file.rewind().and_then(|()| file.take(LARGEST).read_to_end(&mut said)).map_err(failed)?;
    let said = String::from_utf8_lossy(&said);
    let runc = said.lines().find(|line| line.starts_with(RUNC_VERSION));
    let line = runc.or_else(|| said.lines().next()).filter(|line| !line.is_empty());
    line.map(str::to_owned).ok_or_else(|| format!("{} --version says nothing", path.display()))
}

/// How the program ended; None: not in time, so it was killed.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    while started.elapsed() < LIMIT {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(BEAT);
    }
    // Not waited for: it may hang in the kernel.
    child.kill().map(|()| None)
}

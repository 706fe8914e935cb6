//! The machine's IPv4 forwarding, which the CNI plugin turns on for good: put
//! back when the last run that had a network ends.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use nix::fcntl::{Flock, FlockArg};

use super::run;

const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";
const FILE: &str = "ip_forward";

/// Keeps the setting in the run's folder. While another run is alive the
/// setting may be changed already, so what that run kept is the truth.
pub fn remember(dir: &Path) -> io::Result<()> {
    let _lock = lock()?;
    if dir.join(FILE).exists() {
        return Ok(());
    }
    let kept = run::folders().iter().find_map(|other| fs::read(other.join(FILE)).ok());
    let value = match kept {
        Some(value) => value,
        None => fs::read(SETTING)?,
    };
    fs::write(dir.join(FILE), value)
}

/// Puts the setting back, unless another run still needs it and will do so.
pub fn restore(dir: &Path) {
    let Ok(_lock) = lock() else { return };
    let Ok(value) = fs::read(dir.join(FILE)) else { return };
    // Gone before the lock is: of two runs that end together, one has to be the last.
    let _ = fs::remove_file(dir.join(FILE));
    if run::folders().iter().all(|other| !other.join(FILE).exists()) {
        let _ = fs::write(SETTING, value);
    }
}

/// One run at a time, on the whole machine; ends when it is dropped.
fn lock() -> io::Result<Flock<File>> {
    Flock::lock(File::open(SETTING)?, FlockArg::LockExclusive).map_err(|(_, error)| error.into())
}

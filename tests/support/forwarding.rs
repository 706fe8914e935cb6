//! The machine's IPv4 forwarding, which the CNI plugin turns on for good: put
//! back when the last run that had a network ends.

use std::fs;
use std::io;
use std::path::Path;

use super::run;

const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";
const FILE: &str = "ip_forward";

/// Keeps the setting in the run's folder. While another run is alive the
/// setting may be changed already, so what that run kept is the truth.
pub(crate) fn remember(dir: &Path) -> io::Result<()> {
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

/// Puts the setting back, unless another run still needs it.
pub(crate) fn restore(dir: &Path) {
    let Ok(value) = fs::read(dir.join(FILE)) else { return };
    if run::folders().iter().all(|other| other == dir || !other.join(FILE).exists()) {
        let _ = fs::write(SETTING, value);
    }
}

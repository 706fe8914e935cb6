//! When a process was started, to tell whether a file is newer than what it has read.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

/// Units of a second in `/proc/PID/stat`, for every program on Linux (`USER_HZ`).
const TICKS: u64 = 100;
/// What is not told apart: a file and a process of the same moment.
const SAME: Duration = Duration::from_secs(1);

/// When process `pid` was started (`proc_pid_stat(5)`, field 22). None: it is not known.
pub(super) fn at(pid: i32) -> Option<SystemTime> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    SystemTime::now().checked_sub(age(&stat, &uptime)?)
}

fn age(stat: &str, uptime: &str) -> Option<Duration> {
    // The name in brackets may have anything in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let uptime: f64 = uptime.split_ascii_whitespace().next()?.parse().ok()?;
    let started = Duration::from_millis(ticks.checked_mul(1000 / TICKS)?);
    Some(Duration::try_from_secs_f64(uptime).ok()?.saturating_sub(started))
}

/// Whether the file was changed after `started`.
pub(super) fn is_older_than(started: SystemTime, file: &Path) -> bool {
    let changed = fs::metadata(file).and_then(|file| file.modified());
    changed.is_ok_and(|changed| changed > started + SAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn age_is_counted_from_the_start_of_the_machine() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 0 0";
        assert_eq!(age(stat, "200.45 9.00\n"), Some(Duration::from_secs(77)));
        assert_eq!(age(stat, "1.00 9.00\n"), Some(Duration::ZERO));
        assert_eq!(age("7", "1.00"), None);
    }

    #[test]
    fn file_that_is_written_later_is_newer() {
        let own = at(i32::try_from(std::process::id()).unwrap()).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let far = own + Duration::from_secs(3600);
        file.as_file().set_modified(far).unwrap();
        assert!(is_older_than(own, file.path()));
        file.as_file().set_modified(own - Duration::from_secs(1)).unwrap();
        assert!(!is_older_than(own, file.path()));
        assert!(!is_older_than(own, Path::new("/nonexistent")));
    }
}

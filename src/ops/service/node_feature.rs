//! The feature file for Node Feature Discovery, which makes a label of the node from it.
//!
//! It is there while pods that ask for Strict get it, and says until when it counts: if nobody renews it, since
//! the plugin was killed, the label goes away by itself. What Node Feature Discovery reads is described in its
//! documentation under "Local feature source"; it leaves out files whose names begin with a dot.

use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;
use tracing::{info, warn};

use hostfs::atomic_write;

/// The label, with its value.
const LABEL: &str = "strict-groups.noderesource.dev/enforced=true";

/// The file's name.
const NAME: &str = "strict-groups";

/// For how long the file counts. Node Feature Discovery reads once a minute.
const LIFETIME: Duration = Duration::from_secs(180);

/// It is written again when it is this old.
const RENEWAL: Duration = Duration::from_secs(60);

/// The file, which is removed with this.
#[derive(Debug)]
pub(super) struct NodeFeature {
    path: PathBuf,
    state: State,
    /// A failure is reported once.
    told: bool,
}

/// What is known of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Perhaps one of an earlier process.
    Unknown,
    Absent,
    /// Since then.
    Written(SystemTime),
}

impl NodeFeature {
    pub(super) fn new(folder: &Path) -> Self {
        Self { path: folder.join(NAME), state: State::Unknown, told: false }
    }

    /// Brings the file in line with whether Strict is enforced at `now`. What fails is tried again at the next call.
    pub(super) fn tell(&mut self, enforced: bool, now: SystemTime) {
        let result = match (enforced, self.state) {
            (true, State::Written(at)) if is_fresh(at, now) => return,
            (false, State::Absent) => return,
            (true, _) => write(&self.path, now).map(|()| State::Written(now)),
            (false, _) => remove(&self.path).map(|()| State::Absent),
        };
        match result {
            Ok(state) => {
                if !matches!(
                    (self.state, state),
                    (State::Written(_), State::Written(_)) | (State::Unknown, State::Absent)
                ) {
                    info!(file = %self.path.display(), label = LABEL, "the node's label is told: {enforced}");
                }
                self.state = state;
                self.told = false;
            }
            Err(error) if !self.told => {
                warn!("Node Feature Discovery is not told: {}: {error}", self.path.display());
                self.told = true;
            }
            Err(_) => {}
        }
    }
}

impl Drop for NodeFeature {
    fn drop(&mut self) {
        self.tell(false, SystemTime::now());
    }
}

/// Not to be renewed yet. With a clock that was set back, the time in the file is as wrong.
fn is_fresh(written: SystemTime, now: SystemTime) -> bool {
    now.duration_since(written).is_ok_and(|age| age < RENEWAL)
}

/// The file's text: the directive counts for what comes after it.
fn text(now: SystemTime) -> String {
    let until = Timestamp::from(now + LIFETIME);
    // Without the fraction of a second.
    let until = Timestamp { nanos: 0, ..until };
    format!("# +expiry-time={until}\n{LABEL}\n")
}

/// A reader finds the file before or after, whole. It need not survive a crash of the node.
fn write(path: &Path, now: SystemTime) -> io::Result<()> {
    // Node Feature Discovery does not run as root.
    let readable = |file: &File| file.set_permissions(Permissions::from_mode(0o644));
    atomic_write::replace(path, text(now).as_bytes(), readable)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::new(seconds, 250_000_000)
    }

    #[test]
    fn it_is_there_while_strict_is_enforced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(NAME);
        fs::write(&file, "of a plugin that was killed").unwrap();
        let mut feature = NodeFeature::new(dir.path());
        feature.tell(false, at(0));
        assert!(!file.exists());
        feature.tell(true, at(0));
        let written = "# +expiry-time=1970-01-01T00:03:00Z\nstrict-groups.noderesource.dev/enforced=true\n";
        assert_eq!(fs::read_to_string(&file).unwrap(), written);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        feature.tell(true, at(59));
        assert_eq!(fs::read_to_string(&file).unwrap(), written);
        feature.tell(true, at(60));
        assert!(fs::read_to_string(&file).unwrap().starts_with("# +expiry-time=1970-01-01T00:04:00Z\n"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left over");
        feature.tell(false, at(61));
        assert!(!file.exists());
        feature.tell(true, at(62));
        drop(feature);
        assert!(!file.exists());
    }

    #[test]
    fn clock_that_is_set_back_renews_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut feature = NodeFeature::new(dir.path());
        feature.tell(true, at(10_000));
        feature.tell(true, at(100));
        let text = fs::read_to_string(dir.path().join(NAME)).unwrap();
        assert!(text.starts_with("# +expiry-time=1970-01-01T00:04:40Z\n"), "{text}");
    }

    #[test]
    fn folder_that_comes_later_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("features.d");
        let mut feature = NodeFeature::new(&folder);
        feature.tell(true, at(0));
        fs::create_dir(&folder).unwrap();
        feature.tell(true, at(5));
        assert!(folder.join(NAME).exists());
    }

    #[test]
    fn link_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "mine").unwrap();
        std::os::unix::fs::symlink(&other, dir.path().join(NAME)).unwrap();
        NodeFeature::new(dir.path()).tell(true, at(0));
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
    }
}

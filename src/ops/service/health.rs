//! The file that the plugin renews, and that `strict-groups probe` reads.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Registration;

/// A file that was not renewed for so long is that of a plugin that hangs.
const LONGEST_SILENCE: Duration = Duration::from_secs(20);

/// What the plugin says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The runtime that it is registered with.
    pub registration: Registration,
    /// When it said so.
    pub at: SystemTime,
}

/// Why a probe fails.
#[derive(Debug, Error)]
pub enum HealthError {
    /// There is no such file: the plugin takes it away when it ends.
    #[error("the strict-groups plugin does not run here, or not with --health-file {}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is something else.
    #[error("{} is not what the plugin writes: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The plugin's event loop hangs, or the plugin is gone.
    #[error("the plugin gave no sign of life for {} s", silence.as_secs())]
    Silent {
        /// How long.
        silence: Duration,
    },
    /// The plugin runs and waits.
    #[error("the plugin is not registered with the runtime; its log says why")]
    NotRegistered,
}

impl Health {
    /// Puts it in the place of what `file` says.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        let mut new = file.as_os_str().to_owned();
        new.push(".new");
        fs::write(&new, serde_json::to_vec(self)?)?;
        fs::rename(new, file)
    }

    /// Reads what [`Health::write`] wrote.
    ///
    /// # Errors
    /// It is not there or not understood.
    pub fn read(file: &Path) -> Result<Self, HealthError> {
        let text = fs::read(file).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => HealthError::Missing { path: file.to_owned() },
            _ => HealthError::Read { path: file.to_owned(), source },
        })?;
        serde_json::from_slice(&text).map_err(|source| HealthError::Content { path: file.to_owned(), source })
    }

    /// Whether the plugin lives at `now`.
    ///
    /// # Errors
    /// [`HealthError::Silent`]. A clock that was set back is no reason.
    pub fn lives(&self, now: SystemTime) -> Result<(), HealthError> {
        match now.duration_since(self.at) {
            Ok(silence) if silence > LONGEST_SILENCE => Err(HealthError::Silent { silence }),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Whether it lives, and is registered.
    ///
    /// # Errors
    /// [`HealthError::Silent`] or [`HealthError::NotRegistered`].
    pub fn ready(&self, now: SystemTime) -> Result<(), HealthError> {
        self.lives(now)?;
        self.registration.is_some().then_some(()).ok_or(HealthError::NotRegistered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_before_registration() {
        let at = SystemTime::now();
        let registered = Health { registration: Some("containerd 1.7".to_owned()), at };
        let waiting = Health { registration: None, at };
        let soon = at + LONGEST_SILENCE;
        let later = soon + Duration::from_secs(1);
        registered.ready(soon).unwrap();
        waiting.lives(soon).unwrap();
        assert!(matches!(waiting.ready(soon), Err(HealthError::NotRegistered)));
        for health in [&registered, &waiting] {
            assert!(matches!(health.lives(later), Err(HealthError::Silent { .. })));
            assert!(matches!(health.ready(later), Err(HealthError::Silent { .. })));
        }
        waiting.lives(at - Duration::from_secs(3600)).unwrap();
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("health");
        let health = Health { registration: Some("cri-o 1.30".to_owned()), at: SystemTime::now() };
        health.write(&file).unwrap();
        assert_eq!(Health::read(&file).unwrap(), health);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let missing = Health::read(&dir.path().join("gone")).unwrap_err();
        assert!(matches!(missing, HealthError::Missing { .. }), "{missing}");
        fs::write(&file, "registered").unwrap();
        let text = Health::read(&file).unwrap_err().to_string();
        assert!(text.contains(file.to_str().unwrap()), "{text}");
    }
}

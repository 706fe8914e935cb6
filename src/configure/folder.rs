//! The folder that our files lie in: written whole or not at all, and nothing else is touched.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{File, diff, seal};
use hostfs::atomic_write;

/// No configuration is larger.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Why a folder stays as it is.
#[derive(Debug, Error)]
pub enum FolderError {
    /// A file of that name is not ours.
    #[error("{} was not written by strict-groups; it is left as it is. Move it away, or name another folder", path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A file of ours that somebody changed.
    #[error("{} was edited after strict-groups wrote it; it is left as it is. Move it away to go on", path.display())]
    Edited {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A folder, and which names in it are ours.
#[derive(Debug, Clone, Copy)]
pub struct Folder<'a> {
    /// The folder.
    pub path: &'a Path,
    /// Whether a file of this name can only be ours.
    pub is_our_name: fn(&str) -> bool,
    /// Whether a file of this name is a program that containers are stopped by: it is never taken away by a write, and
    /// mended where it was edited, with the edited one kept beside it.
    pub is_program: fn(&str) -> bool,
}

impl Folder<'_> {
    /// What is there of our names and what shall be, in the order of `files`; those that shall go
    /// come last.
    fn compare<'f>(&self, files: &'f [File]) -> Result<Vec<Change<'f>>, FolderError> {
        let mut changes = Vec::new();
        for File { name, content, executable } in files {
            let mode = if *executable { 0o755 } else { 0o644 };
            let (old, edited) = self.read_to_change(name)?;
            changes.push(Change { path: self.path.join(name), old, new: Some(content), mode, edited });
        }
        for name in self.our_names()? {
            if files.iter().all(|file| file.name != name) {
                let (old, edited) = self.read_to_change(&name)?;
                changes.push(Change { path: self.path.join(&name), old, new: None, mode: 0, edited });
            }
        }
        changes.retain(|change| change.old.as_deref() != change.new || !change.has_mode());
        Ok(changes)
    }

    /// Makes the folder hold these files and no others of ours, but for programs; gives the paths that changed. Other
    /// programs see each file as it was or as it is, never in between.
    ///
    /// # Errors
    /// Before anything is written when a file of that name is not ours, or was edited.
    pub fn write(&self, files: &[File]) -> Result<Vec<PathBuf>, FolderError> {
        let changes = self.changes(files)?;
        if !changes.is_empty() {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(self.path);
            made.map_err(|source| FolderError::Io { path: self.path.to_owned(), source })?;
        }
        for change in &changes {
            change.apply()?;
        }
        Ok(changes.into_iter().map(|change| change.path).collect())
    }

    /// What [`Folder::write`] would change, in the form of `diff -u`; empty when nothing.
    ///
    /// # Errors
    /// As [`Folder::write`].
    pub fn diff(&self, files: &[File]) -> Result<String, FolderError> {
        let changes = self.changes(files)?;
        let text = changes.iter().map(|change| {
            diff::unified(&change.path.display().to_string(), change.old.as_deref(), change.new)
        });
        Ok(text.collect())
    }

    fn changes<'f>(&self, files: &'f [File]) -> Result<Vec<Change<'f>>, FolderError> {
        let mut changes = self.compare(files)?;
        let name =
            |change: &Change<'_>| change.path.file_name().and_then(|name| name.to_str()).map(self.is_program);
        changes.retain(|change| change.new.is_some() || name(change) != Some(true));
        Ok(changes)
    }

    /// Takes all files of ours away, but for those that are to stay; gives the paths of those that went.
    ///
    /// # Errors
    /// Before anything is removed when a file of such a name is not ours, or was edited.
    pub fn remove(&self, stays: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>, FolderError> {
        let mut changes = self.compare(&[])?;
        changes.retain(|change| !stays(&change.path));
        for change in &changes {
            change.apply()?;
        }
        Ok(changes.into_iter().map(|change| change.path).collect())
    }

    /// The paths of all files of ours.
    ///
    /// # Errors
    /// As [`Folder::remove`].
    pub fn paths(&self) -> Result<Vec<PathBuf>, FolderError> {
        Ok(self.compare(&[])?.into_iter().map(|change| change.path).collect())
    }

    fn our_names(&self) -> Result<Vec<String>, FolderError> {
        let entries = match fs::read_dir(self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(FolderError::Io { path: self.path.to_owned(), source }),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| (self.is_our_name)(name)).collect();
        // The drop-in goes before the base specs that it names.
        names.sort_by_key(|name| (Path::new(name).extension() != Some("toml".as_ref()), name.clone()));
        Ok(names)
    }

    /// The content of a file of ours, and whether it was edited, which only a program may be.
    fn read_to_change(&self, name: &str) -> Result<(Option<String>, bool), FolderError> {
        match self.read(name) {
            Err(FolderError::Edited { path }) if (self.is_program)(name) => Ok((
                Some(fs::read_to_string(&path).map_err(|source| FolderError::Io { path, source })?),
                true,
            )),
            read => Ok((read?, false)),
        }
    }

    /// The content of a file of ours; None where there is none of that name.
    fn read(&self, name: &str) -> Result<Option<String>, FolderError> {
        let path = self.path.join(name);
        let io = |source| FolderError::Io { path: path.clone(), source };
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
        };
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(FolderError::NotOurs { path });
        }
        let Ok(text) = String::from_utf8(fs::read(&path).map_err(io)?) else {
            return Err(FolderError::NotOurs { path });
        };
        match seal::owner(&text) {
            seal::Owner::Ours => Ok(Some(text)),
            seal::Owner::Edited => Err(FolderError::Edited { path }),
            seal::Owner::Other => Err(FolderError::NotOurs { path }),
        }
    }
}

struct Change<'f> {
    path: PathBuf,
    old: Option<String>,
    new: Option<&'f str>,
    /// Of the new file. containerd may not be root's only reader.
    mode: u32,
    /// Whether the old one was edited, and is to be kept beside the new one.
    edited: bool,
}

impl Change<'_> {
    /// Whether the file has its mode. One that is to go has none.
    fn has_mode(&self) -> bool {
        let mode = |file: fs::Metadata| file.permissions().mode() & 0o7777;
        self.new.is_none() || fs::symlink_metadata(&self.path).is_ok_and(|file| mode(file) == self.mode)
    }

    fn apply(&self) -> Result<(), FolderError> {
        if self.edited {
            let name = self.path.file_name().unwrap_or_default().to_string_lossy();
            let kept = self.path.with_file_name(format!("edited-{name}"));
            fs::copy(&self.path, &kept).map_err(|source| FolderError::Io { path: kept, source })?;
        }
        let done = match self.new {
            Some(content) => atomic_write::put(&self.path, content.as_bytes(), self.mode).map(drop),
            None => fs::remove_file(&self.path),
        };
        done.map_err(|source| FolderError::Io { path: self.path.clone(), source })
    }
}

#[cfg(test)]
mod tests;

//! What the CRI proxy hands on to the plugin about one `CreateContainer` call: the policy of the request and the groups
//! that it declares. NRI tells neither, and annotations, which it tells, can be written by whoever makes pods.
//!
//! Each call has a file of its own in a directory that is root's, from before the container runtime hears of the call
//! until it has answered. NRI's `CreateContainer` comes in between.
//!
//! A file belongs to a container name of one sandbox. NRI names the sandbox on every container runtime; the attempt is
//! not told by containerd, and two attempts never are on their way at once.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use hostfs::{
    atomic_write,
    ownership::{self, Kind, Untrusted},
};
use strict_groups_core::text;

/// Where the files are unless the command lines say otherwise.
pub(crate) const DEFAULT_DIR: &str = "/run/strict-groups/requests";

/// Longer than any request, in bytes: the kernel takes 65536 groups.
const LARGEST: u64 = 1 << 20;
/// As file systems have it, in bytes.
const LONGEST_NAME: usize = 255;
/// Stands between sandbox and container, and in neither.
const BETWEEN: char = '+';

/// One `CreateContainer` call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The sandbox's id.
    pub(crate) sandbox: String,
    /// The pod's uid.
    pub(crate) pod_uid: String,
    /// The container's name within the pod.
    pub(crate) container: String,
    /// How often it was made before.
    pub(crate) attempt: u32,
    /// Whether the request, or its sandbox's, says Strict.
    pub(crate) strict: bool,
    /// The declared groups; None: one of them is no GID.
    pub(crate) groups: Option<Vec<u32>>,
}

/// Why a request cannot be handed on, or not be used. The text names the path.
#[derive(Debug, Error)]
pub(crate) enum HandoverError {
    #[error(
        "the container {} of the sandbox {} cannot be named in a file",
        text::quoted(.container, 64),
        text::quoted(.sandbox, 80)
    )]
    Name { sandbox: String, container: String },
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not what the CRI proxy writes ({reason})", path.display())]
    Content { path: PathBuf, reason: String },
}

/// The directory, as the proxy and the plugin have it.
#[derive(Debug)]
pub(crate) struct Requests {
    dir: PathBuf,
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    /// How many wrote a file.
    count: u64,
    /// Which of them wrote the file of this name last.
    last: HashMap<String, u64>,
}

/// A file that is there as long as this lives, unless a later call wrote its own in its place.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    requests: &'a Requests,
    name: String,
    number: u64,
}

impl Requests {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir, calls: Mutex::default() }
    }

    /// Makes the directory, and removes what a proxy left there that was killed.
    pub(crate) fn clear(&self) -> Result<(), HandoverError> {
        self.make()?;
        let read = |source| HandoverError::Read { path: self.dir.clone(), source };
        for entry in fs::read_dir(&self.dir).map_err(read)? {
            let path = entry.map_err(read)?.path();
            fs::remove_file(&path).map_err(|source| HandoverError::Write { path, source })?;
        }
        Ok(())
    }

    /// Hands on one call.
    pub(crate) fn write(&self, request: &Request) -> Result<Kept<'_>, HandoverError> {
        let name = file_name(&request.sandbox, &request.container)?;
        let path = self.dir.join(&name);
        let mut calls = self.calls();
        match ownership::check(&path, Kind::File) {
            Err(Untrusted::Missing { path: missing }) if missing == path => {}
            // Somebody removed it while we ran.
            Err(Untrusted::Missing { .. }) => self.make()?,
            checked => checked?,
        }
        let write = |source| HandoverError::Write { path: path.clone(), source };
        let content = serde_json::to_vec(request).map_err(|error| write(error.into()))?;
        atomic_write::replace(&path, &content, |_| Ok(())).map_err(write)?;
        calls.count += 1;
        let number = calls.count;
        calls.last.insert(name.clone(), number);
        Ok(Kept { requests: self, name, number })
    }

    /// The call that is on its way for the container of this name in this sandbox of this pod. None: nobody handed one
    /// on.
    pub(crate) fn read(
        &self,
        pod_uid: &str,
        sandbox: &str,
        container: &str,
    ) -> Result<Option<Request>, HandoverError> {
        // What cannot be named was not handed on.
        let Ok(name) = file_name(sandbox, container) else { return Ok(None) };
        let path = self.dir.join(name);
        let read = |source| HandoverError::Read { path: path.clone(), source };
        let is_missing = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        };
        // Looked for before it is opened: for want of a descriptor no container must fail that nobody handed on.
        let opened = fs::symlink_metadata(&path)
            .and_then(|_| OpenOptions::new().read(true).custom_flags(O_NOFOLLOW | O_NONBLOCK).open(&path));
        let file = match opened {
            Ok(file) => file,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(read(error)),
        };
        match ownership::check(&path, Kind::File) {
            Ok(()) => {}
            // The call has ended.
            Err(Untrusted::Missing { .. }) => return Ok(None),
            Err(untrusted) => return Err(untrusted.into()),
        }
        let wrong =
            |reason: &str| HandoverError::Content { path: path.clone(), reason: text::one_line(reason, 160) };
        let content = content(&file).map_err(read)?.ok_or_else(|| wrong("no file of its size"))?;
        let request: Request = serde_json::from_slice(&content).map_err(|error| wrong(&error.to_string()))?;
        let same_pod = pod_uid.is_empty() || request.pod_uid == pod_uid;
        if request.sandbox != sandbox || request.container != container || !same_pod {
            return Err(wrong("it is about another container"));
        }
        Ok(Some(request))
    }

    /// Makes the directory, where only root can look into it.
    fn make(&self) -> Result<(), HandoverError> {
        let write = |source| HandoverError::Write { path: self.dir.clone(), source };
        if let Some(parent) = self.dir.parent() {
            fs::create_dir_all(parent).map_err(write)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(write(error)),
            _ => {}
        }
        // Whatever it is called: what counts is who can change the entries.
        match ownership::check(&self.dir.join("entry"), Kind::File) {
            Ok(()) | Err(Untrusted::Missing { .. }) => {}
            Err(untrusted) => return Err(untrusted.into()),
        }
        fs::set_permissions(&self.dir, Permissions::from_mode(0o700)).map_err(write)
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        let mut calls = self.requests.calls();
        if calls.last.get(&self.name) != Some(&self.number) {
            return;
        }
        calls.last.remove(&self.name);
        let path = self.requests.dir.join(&self.name);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!("{} stays: {error}", path.display());
        }
    }
}

/// The whole of a plain file of a size that we write.
fn content(file: &File) -> io::Result<Option<Vec<u8>>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Ok(None);
    }
    let mut content = Vec::new();
    file.take(LARGEST).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// The file's name. Ids of sandboxes are hexadecimal, names of containers those of RFC 1123.
fn file_name(sandbox: &str, container: &str) -> Result<String, HandoverError> {
    let plain = |text: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        !text.is_empty() && text.bytes().all(known)
    };
    let name = format!("{sandbox}{BETWEEN}{container}");
    if plain(sandbox) && plain(container) && name.len() <= LONGEST_NAME {
        return Ok(name);
    }
    Err(HandoverError::Name { sandbox: sandbox.to_owned(), container: container.to_owned() })
}

/// One of each message, for `docs/troubleshooting.md`. What a path is not trusted for has its own texts.
#[cfg(test)]
pub(crate) fn messages() -> Vec<HandoverError> {
    let path = || PathBuf::from("/FILE");
    let why = || io::Error::other("WHY");
    let mut messages = crate::troubleshooting::every!(HandoverError;
        HandoverError::Name { .. } => {
            HandoverError::Name { sandbox: "ID".to_owned(), container: "NAME".to_owned() }
        },
        HandoverError::Write { .. } => HandoverError::Write { path: path(), source: why() },
        HandoverError::Read { .. } => HandoverError::Read { path: path(), source: why() },
        HandoverError::Content { .. } => HandoverError::Content { path: path(), reason: "WHY".to_owned() },
        HandoverError::Untrusted(_) => Untrusted::Missing { path: path() }.into(),
    );
    messages.pop();
    messages
}

#[cfg(test)]
mod tests;

//! Can anybody but root replace what is at a path?
//!
//! A path is walked from `/`. Every directory, link and file on it has to
//! belong to root, and nobody else may write to it: then nobody else can
//! change what the path leads to, and no race is possible between the look and
//! the use. In a sticky directory that others may write to (`/tmp`), only the
//! owner can replace an entry (`unlink(2)`, EPERM), so root's own entries are
//! safe there. An ACL that lets others write shows in the mode's group bits
//! (`acl(5)`), so it is seen too.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, Metadata},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Component, Path, PathBuf},
};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use thiserror::Error;

/// As the kernel has it (`path_resolution(7)`).
const MOST_LINKS: u32 = 40;

const WRITABLE_BY_OTHERS: u32 = 0o002;
const WRITABLE_BY_GROUP_OR_OTHERS: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// What is expected at the end of the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file that is read or run: only root may write to it.
    File,
    /// A socket. Its group may write, which only means that it may connect.
    Socket,
}

/// Why something is not trusted, or cannot be looked at. Each text names the path and what to do.
#[derive(Debug, Error)]
pub enum Untrusted {
    /// There is nothing at the path. As far as it goes, it can be trusted.
    #[error("there is no {}", path.display())]
    Missing {
        /// The part of the path that is missing.
        path: PathBuf,
    },
    /// The system does not tell.
    #[error("cannot look at {}: {source}", path.display())]
    Unreadable {
        /// The part of the path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// More links than the system follows.
    #[error("{} leads through more than {MOST_LINKS} symbolic links", path.display())]
    TooManyLinks {
        /// The whole path.
        path: PathBuf,
    },
    /// A part of the path belongs to a user other than root.
    #[error(
        "{} is not trusted: {entry} does not belong to root, so its owner could replace what is there; \
         after a look at it make it root's (chown -h root: {}), or use a place that is root's alone",
        path.display(), entry.path.display()
    )]
    Owner {
        /// The whole path.
        path: PathBuf,
        /// The part.
        entry: Entry,
    },
    /// Others than root can write to a part of the path.
    #[error(
        "{} is not trusted: others than root can write to {entry}; after a look at it take that right away \
         (chmod {} {}), or use a place that is root's alone",
        path.display(), entry.cure(), entry.path.display()
    )]
    Writable {
        /// The whole path.
        path: PathBuf,
        /// The part.
        entry: Entry,
    },
    /// The path is root's, and who listens is not.
    #[error(
        "{} is not trusted: the process that listens there runs as uid {uid}, not as root (in another user \
         namespace root has another uid)", path.display()
    )]
    Peer {
        /// The socket.
        path: PathBuf,
        /// The peer's user (`SO_PEERCRED`, `unix(7)`).
        uid: u32,
    },
}

/// A part of a path, as a message names it.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
    role: Role,
    uid: u32,
    mode: u32,
}

impl Entry {
    fn cure(&self) -> &'static str {
        if self.role == Role::Last(Kind::Socket) { "o-w" } else { "go-w" }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.role {
            Role::Directory => "the directory ",
            Role::Link => "the symbolic link ",
            Role::Last(Kind::Socket) => "the socket ",
            Role::Last(Kind::File) => "the file ",
        };
        write!(f, "{what}{} (owner uid {}, mode {:04o})", self.path.display(), self.uid, self.mode & 0o7777)
    }
}

/// What an entry is on its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Directory,
    Link,
    Last(Kind),
}

impl Role {
    fn safe(self, mode: u32) -> bool {
        match self {
            Self::Link => true,
            Self::Directory => mode & WRITABLE_BY_GROUP_OR_OTHERS == 0 || mode & STICKY != 0,
            Self::Last(Kind::File) => mode & WRITABLE_BY_GROUP_OR_OTHERS == 0,
            Self::Last(Kind::Socket) => mode & WRITABLE_BY_OTHERS == 0,
        }
    }
}

/// Checks that nobody but root can replace or change what is at `path`, which
/// may be relative and may lead through links.
///
/// # Errors
/// See [`Untrusted`]; the first part of the path that is wrong is named.
pub fn check(path: &Path, kind: Kind) -> Result<(), Untrusted> {
    let absolute = std::path::absolute(path)
        .map_err(|source| Untrusted::Unreadable { path: path.to_owned(), source })?;
    let mut walk = Walk { whole: path, at: PathBuf::from("/"), rest: Vec::new(), links: 0 };
    walk.prepend(&absolute);
    walk.entry(Path::new("/"), &look(Path::new("/"))?, Role::Directory)?;
    while let Some(name) = walk.rest.pop() {
        walk.step(&name, kind)?;
    }
    Ok(())
}

struct Walk<'a> {
    whole: &'a Path,
    /// Checked, and free of links.
    at: PathBuf,
    /// What comes next, the last one first.
    rest: Vec<OsString>,
    links: u32,
}

impl Walk<'_> {
    fn step(&mut self, name: &OsString, kind: Kind) -> Result<(), Untrusted> {
        if name == ".." {
            self.at.pop();
            return Ok(());
        }
        let path = self.at.join(name);
        let metadata = look(&path)?;
        if metadata.is_symlink() {
            self.entry(&path, &metadata, Role::Link)?;
            self.links += 1;
            if self.links > MOST_LINKS {
                return Err(Untrusted::TooManyLinks { path: self.whole.to_owned() });
            }
            let target = fs::read_link(&path).map_err(|source| Untrusted::Unreadable { path, source })?;
            if target.is_absolute() {
                self.at = PathBuf::from("/");
            }
            self.prepend(&target);
            return Ok(());
        }
        let role = if self.rest.is_empty() { Role::Last(kind) } else { Role::Directory };
        self.entry(&path, &metadata, role)?;
        self.at = path;
        Ok(())
    }

    fn prepend(&mut self, path: &Path) {
        self.rest.extend(path.components().rev().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        }));
    }

    fn entry(&self, path: &Path, metadata: &Metadata, role: Role) -> Result<(), Untrusted> {
        let (uid, mode) = (metadata.uid(), metadata.mode());
        let whole = self.whole.to_owned();
        let entry = Entry { path: path.to_owned(), role, uid, mode };
        if uid != 0 {
            Err(Untrusted::Owner { path: whole, entry })
        } else if !role.safe(mode) {
            Err(Untrusted::Writable { path: whole, entry })
        } else {
            Ok(())
        }
    }
}

fn look(path: &Path) -> Result<Metadata, Untrusted> {
    fs::symlink_metadata(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Untrusted::Missing { path: path.to_owned() },
        _ => Untrusted::Unreadable { path: path.to_owned(), source },
    })
}

/// Checks that who listens on the socket at `path`, which `stream` is
/// connected to, is root. The kernel tells it of the process that called
/// `listen(2)`, so this holds whatever was done to the path meanwhile.
///
/// # Errors
/// [`Untrusted::Peer`], or [`Untrusted::Unreadable`] when the kernel does not tell.
pub fn check_peer(path: &Path, stream: &impl AsFd) -> Result<(), Untrusted> {
    let peer = getsockopt(stream, PeerCredentials)
        .map_err(|errno| Untrusted::Unreadable { path: path.to_owned(), source: errno.into() })?;
    match peer.uid() {
        0 => Ok(()),
        uid => Err(Untrusted::Peer { path: path.to_owned(), uid }),
    }
}

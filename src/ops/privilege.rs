//! Gives away what the plugin can do without.
//!
//! What it does as root needs no capability: it connects to root's sockets, and
//! `/proc/PID/status`, `uid_map` and `gid_map` of every user can be read by
//! all. One capability stays, [`KEPT`].

use std::fmt;

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use nix::{errno::Errno, sys::prctl, unistd::geteuid};
use thiserror::Error;

/// What stays, where the process has it.
///
/// - `CAP_SYS_PTRACE`: to open `/proc/PID/root` of another user's process, where the names of removed
///   groups are (ptrace access mode, `proc(5)`), and to see such processes at all where `/proc` is mounted
///   with `hidepid=2` for a group that is not root's. Without it, names are left out of the log.
///
/// It adds nothing to what somebody who took over the plugin has: containerd's socket is root on the node.
/// `CAP_DAC_READ_SEARCH` does not stay: an image whose `/etc/group` is hidden from root without it goes
/// without names.
pub const KEPT: [Capability; 1] = [Capability::CAP_SYS_PTRACE];

const SETS: [CapSet; 5] =
    [CapSet::Bounding, CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted];

/// Why the process has more than it should.
#[derive(Debug, Error)]
pub enum PrivilegeError {
    /// Not started as root.
    #[error(
        "the plugin has to run as root, and runs as uid {uid}: the runtime's sockets are root's; start it as root"
    )]
    NotRoot {
        /// The effective user id.
        uid: u32,
    },
    /// The system did not grant `no_new_privs`, or to be without core dumps.
    #[error("cannot give up privileges: {0}")]
    Refused(#[source] Errno),
    /// There are capabilities that are not needed and cannot be dropped.
    #[error(
        "cannot drop capabilities that are not needed: {surplus}{}; start the plugin with CAP_SETPCAP, so that \
         it can drop them, or without them", reason(.source.as_ref())
    )]
    Surplus {
        /// Those in any of the five sets.
        surplus: Names,
        /// What the system said.
        source: Option<CapsError>,
    },
}

/// Capabilities in a message.
#[derive(Debug)]
pub struct Names(CapsHashSet);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        names.sort_unstable();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(" ") }.as_str())
    }
}

impl Names {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn reason(source: Option<&CapsError>) -> String {
    source.map_or_else(String::new, |source| format!(" ({source})"))
}

/// Drops all capabilities but [`KEPT`] from all sets, those too from all but
/// effective and permitted; no program that is run later can get any back
/// (`no_new_privs`, `prctl(2)`), and there are no core dumps: they would hold
/// the environment of the node's containers. Gives the capabilities that are left.
///
/// Capabilities are a thread's own, and threads inherit them: to be called
/// before the first thread is started.
///
/// # Errors
/// See [`PrivilegeError`]. A process that cannot drop what it does not have is fine.
pub fn give_up() -> Result<Names, PrivilegeError> {
    let user = geteuid();
    if !user.is_root() {
        return Err(PrivilegeError::NotRoot { uid: user.as_raw() });
    }
    prctl::set_no_new_privs().map_err(PrivilegeError::Refused)?;
    prctl::set_dumpable(false).map_err(PrivilegeError::Refused)?;
    // Each does what it can; what counts is what is there afterwards.
    let first_error = [drop_from_lists(), shrink(CapSet::Effective), shrink(CapSet::Permitted)]
        .into_iter()
        .find_map(Result::err);
    let surplus = surplus();
    if surplus.is_empty() {
        Ok(Names(held(CapSet::Effective)))
    } else {
        Err(PrivilegeError::Surplus { surplus: Names(surplus), source: first_error })
    }
}

/// Empties the sets that only matter to programs that are run later.
fn drop_from_lists() -> Result<(), CapsError> {
    caps::clear(None, CapSet::Inheritable)?;
    // A kernel before 4.3 has no such set.
    if caps::runtime::ambient_set_supported().is_ok() {
        caps::clear(None, CapSet::Ambient)?;
    }
    caps::clear(None, CapSet::Bounding)
}

fn shrink(set: CapSet) -> Result<(), CapsError> {
    let kept = held(set).into_iter().filter(|held| KEPT.contains(held)).collect();
    caps::set(None, set, &kept)
}

fn surplus() -> CapsHashSet {
    SETS.into_iter().flat_map(held).filter(|held| !KEPT.contains(held)).collect()
}

/// A set that cannot be read is one that this kernel does not have.
fn held(set: CapSet) -> CapsHashSet {
    caps::read(None, set).unwrap_or_default()
}

//! How a start is stopped.
//!
//! An error from NRI `StartContainer` does it under runc and crun. Under gVisor it does more: containerd 1.7.24 then waits
//! for the output of a process that never started, for good, and so does its next start (seen in a virtual machine). There
//! the sandbox is killed instead, after which `start` fails by itself, and containerd is answered that all is well.

use std::{io, path::Path};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// The program of a gVisor sandbox.
const GVISOR: &str = "runsc";

/// Kills the sandbox whose process is `pid`, if it is one of gVisor's. Whether it was.
///
/// # Errors
/// It is one, and cannot be killed.
pub(super) fn gvisor_sandbox(pid: u32) -> io::Result<bool> {
    let Ok(exe) = std::fs::read_link(format!("/proc/{pid}/exe")) else { return Ok(false) };
    if !is_gvisor(&exe) {
        return Ok(false);
    }
    let pid = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    kill(Pid::from_raw(pid), Signal::SIGKILL)?;
    Ok(true)
}

/// Also one whose file was replaced by an upgrade.
fn is_gvisor(exe: &Path) -> bool {
    let name = exe.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_suffix(" (deleted)").unwrap_or(name) == GVISOR
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use hostfs::executable;

    #[test]
    fn only_a_process_of_gvisor_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        for (name, killed) in [("runc", false), ("runsc", true)] {
            let path = dir.path().join(name);
            executable::copy(Path::new("/bin/sleep"), &path).unwrap();
            let mut child = Command::new(&path).arg("1000").stdin(Stdio::null()).spawn().unwrap();
            // Until its exec it is a copy of ourselves.
            while std::fs::read_link(format!("/proc/{}/exe", child.id())).unwrap() != path {
                std::thread::yield_now();
            }
            assert_eq!(gvisor_sandbox(child.id()).unwrap(), killed, "{name}");
            if !killed {
                assert!(child.try_wait().unwrap().is_none());
                child.kill().unwrap();
            }
            child.wait().unwrap();
        }
        assert!(!gvisor_sandbox(0).unwrap());
        assert!(is_gvisor(Path::new("/usr/local/bin/runsc (deleted)")));
        assert!(!is_gvisor(Path::new("/usr/local/bin/containerd-shim-runsc-v1")));
    }
}

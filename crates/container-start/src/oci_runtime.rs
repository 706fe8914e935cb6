//! How an OCI runtime reads `process.user.additionalGids`.
//!
//! runc before 1.3 looks each of them up in the container's own `/etc/group`, by name as well as by number
//! (`libcontainer/user`, `GetAdditionalGroups`). crun, gVisor, Kata and newer runcs take the numbers literally.
//!
//! What runs is asked, not what is configured: the binary itself, by `--version`, once. Its answer is kept in
//! `/run/strict-groups/oci-runtimes` under the binary's device, inode, size and time of change, so an upgrade is asked anew.

use std::{
    ffi::OsStr,
    fs::{self, DirBuilder, File, Metadata},
    io::{self, Read},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use hostfs::{atomic_write, ownership, program};

/// How the groups of `process.user.additionalGids` are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupLookup {
    /// As the numbers that they are.
    Literal,
    /// By name or number in the container's `/etc/group`. What is not known counts as this.
    ByName,
}

/// Where the answers are kept: one small file for each binary, in a directory that only root can write to.
const KNOWN: &str = "/run/strict-groups/oci-runtimes";

/// How long a binary may take to print its version.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How much of it is read, in bytes.
const LARGEST: usize = 4096;

/// How the OCI runtime that runs this process as a hook reads groups: it is the parent.
#[must_use]
pub fn of_parent() -> GroupLookup {
    let parent = std::os::unix::process::parent_id();
    let exe = format!("/proc/{parent}/exe");
    // Its own environment: it may need a library path that we do not have.
    let environment = fs::read(format!("/proc/{parent}/environ")).unwrap_or_default();
    let variables = environment.split(|byte| *byte == 0).filter_map(|variable| {
        let at = variable.iter().position(|byte| *byte == b'=')?;
        let (name, value) = variable.split_at_checked(at)?;
        Some((OsStr::from_bytes(name), OsStr::from_bytes(value.get(1..)?)))
    });
    let mut command = Command::new(&exe);
    command.env_clear().envs(variables);
    of(Path::new(&exe), command, Path::new(KNOWN))
}

/// How the OCI runtime at `path` reads groups.
#[must_use]
pub fn of_file(path: &Path) -> GroupLookup {
    of(path, Command::new(path), Path::new(KNOWN))
}

fn of(path: &Path, command: Command, known: &Path) -> GroupLookup {
    let Ok(metadata) = File::open(path).and_then(|file| file.metadata()) else { return GroupLookup::ByName };
    let file = known.join(name(&metadata));
    // A copy in memory, as crun makes of itself, is another file each time.
    let lasting = metadata.nlink() > 0;
    if lasting && let Some(version) = remembered(&file) {
        return GroupLookup::of_version(&version);
    }
    let Ok(version) = ask(command) else { return GroupLookup::ByName };
    // What printed nothing may have failed for a reason that passes.
    if lasting && !version.is_empty() {
        // Not to remember costs the next start the same question.
        let _ = remember(known, &file, &version);
    }
    GroupLookup::of_version(&version)
}

fn name(binary: &Metadata) -> PathBuf {
    let (seconds, nanoseconds) = (binary.mtime(), binary.mtime_nsec());
    format!("{}-{}-{}-{seconds}.{nanoseconds}", binary.dev(), binary.ino(), binary.size()).into()
}

/// The first line of an answer that was kept; None where there is none, or others than root could have written it.
fn remembered(file: &Path) -> Option<String> {
    ownership::check(file, ownership::Kind::File).ok()?;
    let mut text = String::new();
    File::open(file).ok()?.take(LARGEST as u64).read_to_string(&mut text).ok()?;
    Some(text)
}

fn remember(known: &Path, file: &Path, version: &str) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(known)?;
    atomic_write::replace(file, version.as_bytes(), |new| {
        new.set_permissions(fs::Permissions::from_mode(0o644))
    })
}

/// The first line that the program prints with `--version`.
fn ask(mut command: Command) -> io::Result<String> {
    let printed = program::printed(command.arg("--version"), TIMEOUT, LARGEST)?;
    let line = printed.split(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

impl GroupLookup {
    /// What the first line that an OCI runtime prints with `--version` says.
    #[must_use]
    pub fn of_version(line: &str) -> Self {
        const LITERAL: [&str; 4] = ["crun version ", "runsc version ", "youki version", "Kata Containers "];
        let literal = match line.strip_prefix("runc version ") {
            Some(version) => is_new_runc(version),
            None => LITERAL.iter().any(|name| line.starts_with(name)),
        };
        if literal { Self::Literal } else { Self::ByName }
    }
}

/// Whether it is 1.3.0 or newer; a release candidate of 1.3.0 is not.
fn is_new_runc(version: &str) -> bool {
    let version = version.split('+').next().unwrap_or_default().trim();
    let (numbers, candidate) = version.split_once(['-', '~']).map_or((version, false), |(n, _)| (n, true));
    let numbers: Result<Vec<u32>, _> = numbers.split('.').map(str::parse).collect();
    match numbers.as_deref() {
        Ok([1, 3, 0] | [1, 3]) => !candidate,
        Ok([major, minor, ..]) => (*major, *minor) >= (1, 3),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostfs::executable;

    #[test]
    fn versions_are_understood_or_count_as_old() {
        for old in [
            "runc version 1.1.5+ds1",
            "runc version 1.2.8",
            "runc version 1.3.0-rc.1",
            "runc version 1.3.0~rc1",
            "runc version 0.1.1",
            "runc version unknown",
            "runc version ",
            "runc version 99999999999.9",
            "",
            "containerd 2.0",
            "a crun version 1.8",
        ] {
            assert_eq!(GroupLookup::of_version(old), GroupLookup::ByName, "{old}");
        }
        for new in [
            "runc version 1.3.0",
            "runc version 1.3.4+dev",
            "runc version 1.4.0-rc.1",
            "runc version 1.5.2",
            "runc version 2.0.0",
            "crun version 1.8.1",
            "runsc version release-20260831.0",
            "youki version: 0.5.3",
            "Kata Containers containerd shim (Golang): id: \"io.containerd.kata.v2\", version: 3.2.0",
        ] {
            assert_eq!(GroupLookup::of_version(new), GroupLookup::Literal, "{new}");
        }
    }

    /// A program that prints `line` and counts its runs in the file `runs`.
    fn program(dir: &Path, line: &str) -> PathBuf {
        let path = dir.join("runtime");
        let text = format!("#!/bin/sh\necho run >>{}\necho '{line}'\n", dir.join("runs").display());
        executable::script(&path, &text).unwrap();
        path
    }

    fn runs(dir: &Path) -> usize {
        fs::read_to_string(dir.join("runs")).unwrap_or_default().lines().count()
    }

    #[test]
    fn binary_is_asked_once_and_again_after_an_upgrade() {
        let dir = tempfile::tempdir().unwrap();
        let known = dir.path().join("run/known");
        let path = program(dir.path(), "runc version 1.1.5");
        let root = nix::unistd::geteuid().is_root();
        for _ in 0..3 {
            assert_eq!(of(&path, Command::new(&path), &known), GroupLookup::ByName);
        }
        assert_eq!(runs(dir.path()), if root { 1 } else { 3 }, "only root's files are believed");
        let before = runs(dir.path());
        fs::remove_file(&path).unwrap();
        let path = program(dir.path(), "runc version 1.3.0 and longer");
        assert_eq!(of(&path, Command::new(&path), &known), GroupLookup::ByName, "not understood");
        let path = program(dir.path(), "runc version 1.10.0");
        assert_eq!(of(&path, Command::new(&path), &known), GroupLookup::Literal);
        assert_eq!(runs(dir.path()), before + 2);
    }

    #[test]
    fn answer_that_others_could_write_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let known = dir.path().join("known");
        let path = program(dir.path(), "runc version 1.1.5");
        let file = known.join(name(&fs::metadata(&path).unwrap()));
        fs::create_dir(&known).unwrap();
        fs::write(&file, "runc version 9.9.9").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
        assert_eq!(of(&path, Command::new(&path), &known), GroupLookup::ByName);
    }

    #[test]
    fn what_cannot_be_asked_counts_as_old() {
        let dir = tempfile::tempdir().unwrap();
        let ask = |path: &Path| of(path, Command::new(path), &dir.path().join("known"));
        assert_eq!(ask(Path::new("/nonexistent/runc")), GroupLookup::ByName);
        let endless = dir.path().join("endless");
        executable::script(&endless, "#!/bin/sh\nexec cat /dev/zero\n").unwrap();
        assert_eq!(ask(&endless), GroupLookup::ByName);
        executable::script(&endless, "#!/bin/sh\nexec sleep 1000\n").unwrap();
        assert_eq!(ask(&endless), GroupLookup::ByName);
    }
}

//! What the tests need of the machine, checked before anything is started.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::containerd::Kind;

/// A machine that is fit for the tests: we are root and the runtimes are there.
pub struct Machine {
    runtimes: PathBuf,
}

impl Machine {
    /// Fails with what to do about it: a test that skips itself proves nothing.
    pub fn check() -> Result<Self> {
        ensure!(nix::unistd::geteuid().is_root(), "these tests need root: run as root");
        let runtimes = match std::env::var_os("STRICT_GROUPS_RUNTIMES") {
            Some(path) => PathBuf::from(path),
            None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/runtimes"),
        };
        ensure!(
            runtimes.join("stamp").is_file(),
            "no container runtimes in {}: run scripts/get-runtimes.sh",
            runtimes.display()
        );
        Ok(Self { runtimes })
    }

    /// The folder with containerd, its shim and ctr.
    pub fn containerd(&self, kind: Kind) -> Result<PathBuf> {
        let built = |folder: &str| {
            let mut path = self.built(&format!("{folder}/containerd"))?;
            path.pop();
            Ok(path)
        };
        let packaged = |folder: &str| Ok(self.runtimes.join(folder).join("usr/bin"));
        match kind {
            Kind::V1_6 => built("containerd-1.6.36"),
            Kind::V1_7_2 => built("containerd-1.7.2"),
            Kind::V1_7 => packaged("containerd-1.7"),
            Kind::V1_7_35 => built("containerd-1.7.35"),
            Kind::V2 => packaged("containerd-2"),
            Kind::V2_4 => built("containerd-2.4.2"),
        }
    }

    /// runc of the machine's own Debian release.
    pub fn runc(&self) -> PathBuf {
        self.runtimes.join("bin/runc")
    }

    /// runc of another version, such as "1.2.8"; tests/go-modules has those that there are.
    pub fn runc_at(&self, version: &str) -> Result<PathBuf> {
        self.built(&format!("runc-{version}/runc"))
    }

    /// A program that scripts/build-go-modules.sh built.
    fn built(&self, program: &str) -> Result<PathBuf> {
        let path = self.runtimes.with_file_name("go-modules").join(program);
        ensure!(path.is_file(), "no {}: run make go-modules", path.display());
        Ok(path)
    }

    /// crun, called so that it also works under containerd 1.7 and with cgroups v1 and v2 mixed.
    pub fn crun(&self) -> PathBuf {
        self.runtimes.join("bin/crun-compat")
    }

    /// crun as Debian has it.
    pub fn plain_crun(&self) -> PathBuf {
        self.runtimes.join("bin/crun")
    }

    /// conmon, which holds containers for CRI-O and podman.
    pub fn conmon(&self) -> PathBuf {
        self.runtimes.join("bin/conmon")
    }

    /// podman, and what it needs beside itself.
    pub fn podman(&self) -> PathBuf {
        self.runtimes.join("bin/podman")
    }

    /// A busybox that needs no library.
    pub fn busybox(&self) -> PathBuf {
        self.runtimes.join("debian/bin/busybox")
    }

    /// The folder with the CNI plugins.
    pub fn cni_plugins(&self) -> PathBuf {
        self.runtimes.join("debian/usr/lib/cni")
    }
}

//! Runs containers and tells who their processes are.

use anyhow::{Result, bail, ensure};

use crate::support::cri::RunningPod;
use crate::support::{ContainerSpec, Cri, Identity};

/// The key by which a pod chooses its policy.
pub(crate) const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";

/// The image of the announcement, which every containerd of the world has.
pub(crate) const IMAGE: &str = "localhost/strict-groups/announcement:1";

/// The groups of the announcement's container by policy.
pub(crate) const STRICT: [u32; 2] = [3000, 4000];
pub(crate) const MERGED: [u32; 3] = [3000, 4000, 50000];

/// The announcement's container: user 1000, group 3000, supplementary group 4000.
pub(crate) fn announced(name: &str) -> ContainerSpec {
    ContainerSpec::new(name, IMAGE).user(1000).group(3000).supplemental(&[4000])
}

/// Who the first process is, which a process of an exec has to be as well.
pub(crate) fn identity(cri: &Cri, container: &str) -> Result<Identity> {
    let first = Identity::of_process(cri.status(container)?.pid)?;
    let output = cri.exec(container, &["cat", "/proc/self/status"])?;
    let exec = Identity::from_status(&output.stdout)?;
    let same = (first.uid, first.gid, first.groups()) == (exec.uid, exec.gid, exec.groups());
    ensure!(same, "first process {first}, exec {exec}");
    Ok(first)
}

/// Creates and starts a container and tells who its processes are.
pub(crate) fn launched(cri: &Cri, pod: &RunningPod, spec: &ContainerSpec) -> Result<Identity> {
    let container = cri.launch(pod, spec)?;
    identity(cri, &container)
}

/// An error unless the groups, the primary one included, are these.
pub(crate) fn expect(identity: &Identity, groups: &[u32]) -> Result<()> {
    ensure!(identity.groups() == groups.iter().copied().collect(), "{identity} instead of {groups:?}");
    Ok(())
}

/// The result of a table of cases: every one that failed, by its name.
pub(crate) fn all<N: AsRef<str>>(cases: impl IntoIterator<Item = (N, Result<()>)>) -> Result<()> {
    let (mut number, mut failed) = (0, Vec::new());
    for (name, result) in cases {
        number += 1;
        if let Err(error) = result {
            failed.push(format!("{}: {error:#}", name.as_ref()));
        }
    }
    ensure!(number > 0, "no cases");
    if !failed.is_empty() {
        bail!("{} of {number} cases failed:\n{}", failed.len(), failed.join("\n"));
    }
    Ok(())
}

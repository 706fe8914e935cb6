//! The same container in a Strict pod and in one that says nothing.

use anyhow::{Context, Result, bail, ensure};

use crate::steps::{ANNOTATION, identity};
use e2e::cri::RunningPod;
use e2e::{ContainerSpec, Cri, Identity, Pod};

/// What became of a container in a pod of each policy: who its processes are, or the error that
/// the CRI gave, with `ID` in place of what differs between two containers.
pub(crate) struct Compared {
    pub(crate) strict: Result<Identity, String>,
    pub(crate) merged: Result<Identity, String>,
}

impl Compared {
    /// Both identities, Strict first; an error unless it runs in both pods.
    pub(crate) fn ran(self) -> Result<(Identity, Identity)> {
        match (self.strict, self.merged) {
            (Ok(strict), Ok(merged)) => Ok((strict, merged)),
            (Ok(strict), Err(reason)) => bail!("runs as {strict}, but is refused under Merge: {reason}"),
            (Err(reason), Ok(merged)) => bail!("refused: {reason}; under Merge it runs as {merged}"),
            (Err(reason), Err(merged)) => bail!("refused: {reason}; under Merge: {merged}"),
        }
    }

    /// An error unless the runtime refuses it in both pods in the same words, which are not ours.
    pub(crate) fn refused_by_the_runtime(self) -> Result<()> {
        match (self.strict, self.merged) {
            (Err(strict), Err(merged)) => {
                ensure!(strict == merged, "refused: {strict}; under Merge: {merged}");
                ensure!(!strict.contains("strict-groups:"), "refused by us: {strict}");
                Ok(())
            }
            (Ok(strict), _) => bail!("runs as {strict}"),
            (Err(reason), Ok(merged)) => bail!("refused: {reason}; under Merge it runs as {merged}"),
        }
    }
}

/// A pod of each policy, in which the same containers are compared.
pub(crate) struct Pair {
    strict: RunningPod,
    merged: RunningPod,
}

impl Pair {
    /// `name`: of both pods, each with its policy behind it. An empty `handler` is the default one.
    pub(crate) fn run(cri: &Cri, handler: &str, name: &str) -> Result<Self> {
        let pod = |policy: &str| Pod::new(&format!("{name}-{policy}")).handler(handler);
        let strict = cri.run_pod(&pod("strict").annotation(ANNOTATION, "Strict"))?;
        Ok(Self { strict, merged: cri.run_pod(&pod("merge"))? })
    }

    /// Runs the container in both pods, one after the other, and removes it.
    pub(crate) fn compare(&self, cri: &Cri, spec: &ContainerSpec) -> Result<Compared> {
        let strict = attempt(cri, &self.strict, spec, identity)?;
        // An exec shows nothing new here: it costs time only.
        let merged = attempt(cri, &self.merged, spec, |cri, container| {
            Identity::of_process(cri.status(container)?.pid)
        })?;
        Ok(Compared { strict, merged })
    }

    /// Ends both pods.
    pub(crate) fn remove(&self, cri: &Cri) -> Result<()> {
        cri.remove_pod(&self.strict.id)?;
        Ok(cri.remove_pod(&self.merged.id)?)
    }
}

/// A container's identity, or the text of the error that the CRI gave.
fn attempt(
    cri: &Cri,
    pod: &RunningPod,
    spec: &ContainerSpec,
    look: fn(&Cri, &str) -> Result<Identity>,
) -> Result<Result<Identity, String>> {
    let container = match cri.create(pod, spec) {
        Ok(container) => container,
        Err(error) => return Ok(Err(without_ids(&error.message))),
    };
    let result = match cri.start(&container) {
        Ok(()) => Ok(look(cri, &container)?),
        Err(error) => Err(without_ids(&error.message)),
    };
    cri.stop(&container)?;
    cri.remove(&container).context("removing the container")?;
    Ok(result)
}

/// The text with `ID` for every id, which has 64 hexadecimal digits, and for the number of a
/// folder that containerd mounts an image at for a moment.
fn without_ids(text: &str) -> String {
    let mut result = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let word = part.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let is_id = word.len() == 64 && word.bytes().all(|digit| digit.is_ascii_hexdigit());
        let is_mount = word.strip_prefix("mount").is_some_and(|number| number.parse::<u64>().is_ok());
        result.push_str(if is_id || is_mount { "ID" } else { word });
        result.push_str(&part[word.len()..]);
    }
    result
}

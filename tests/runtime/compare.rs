//! The same container in a Strict pod and in one that says nothing.

use anyhow::{Context, Result, bail};

use crate::identities::{ANNOTATION, identity};
use crate::support::cri::RunningPod;
use crate::support::{ContainerSpec, Cri, Identity, Pod};

/// What the same container is in a Strict pod and in one that says nothing.
pub(crate) enum Compared {
    /// It runs in both.
    Ran { strict: Identity, merged: Identity },
    /// The runtime starts it in neither and gives the same reason.
    Refused { reason: String },
}

/// A pod of each policy, in which the same containers are compared.
pub(crate) struct Pair {
    strict: RunningPod,
    merged: RunningPod,
}

impl Pair {
    /// `name`: of both pods, each with its policy behind it.
    pub(crate) fn run(cri: &Cri, name: &str) -> Result<Self> {
        let strict = Pod::new(&format!("{name}-strict")).annotation(ANNOTATION, "Strict");
        Ok(Self { strict: cri.run_pod(&strict)?, merged: cri.run_pod(&Pod::new(&format!("{name}-merge")))? })
    }

    /// Runs the container in both pods, one after the other, and removes it.
    pub(crate) fn compare(&self, cri: &Cri, spec: &ContainerSpec) -> Result<Compared> {
        let (strict, merged) = (attempt(cri, &self.strict, spec)?, attempt(cri, &self.merged, spec)?);
        match (strict, merged) {
            (Ok(strict), Ok(merged)) => Ok(Compared::Ran { strict, merged }),
            (Err(strict), Err(merged)) if strict == merged => Ok(Compared::Refused { reason: merged }),
            (Err(strict), Err(merged)) => bail!("refused with {strict:?}, under Merge with {merged:?}"),
            (Ok(strict), Err(merged)) => bail!("runs as {strict}, under Merge refused with {merged:?}"),
            (Err(strict), Ok(merged)) => bail!("refused with {strict:?}, under Merge runs as {merged}"),
        }
    }

    /// Ends both pods.
    pub(crate) fn remove(&self, cri: &Cri) -> Result<()> {
        cri.remove_pod(&self.strict.id)?;
        Ok(cri.remove_pod(&self.merged.id)?)
    }
}

/// A container's identity, or the text of the error that the CRI gave.
fn attempt(cri: &Cri, pod: &RunningPod, spec: &ContainerSpec) -> Result<Result<Identity, String>> {
    let container = match cri.create(pod, spec) {
        Ok(container) => container,
        Err(error) => return Ok(Err(without_ids(&error.message))),
    };
    let result = match cri.start(&container) {
        Ok(()) => Ok(identity(cri, &container)?),
        Err(error) => Err(without_ids(&error.message)),
    };
    cri.stop(&container)?;
    cri.remove(&container).context("removing the container")?;
    Ok(result)
}

/// The text with `ID` for every id, a run of 64 hexadecimal digits.
fn without_ids(text: &str) -> String {
    let mut result = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_hexdigit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_hexdigit());
        result.push_str(if digits.len() == 64 { "ID" } else { digits });
        result.push_str(&part[digits.len()..]);
    }
    result
}

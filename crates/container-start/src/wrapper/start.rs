//! `start`: lets a Strict container's program run once the kernel says that its process has the right groups.
//!
//! The process was made by `create`, has its final ids and waits (OCI runtime spec, "Lifecycle"): nothing of the image
//! has run. What `config.json` says, and what the underlying OCI runtime made of it, can differ.

use std::{ffi::OsStr, path::Path};

use super::{
    argv::{Call, Start},
    create,
    error::{Fault, Subject, WrapperError},
    state::{self, Running},
};
use crate::{
    bundle,
    config::{Config, ConfigError},
    start_check,
};
use strict_groups_core::{engine::Engine, gate::Gate, groups, spec};

/// Verifies a container that is Strict, and leaves any other one alone.
///
/// # Errors
/// Every reason for which the container must not start.
pub(super) fn verify(
    real: &Path,
    call: &Call<'_>,
    start: &Start<'_>,
    config: Result<Config, ConfigError>,
) -> Result<(), WrapperError> {
    let by_id = |fault| WrapperError::Fault { subject: Subject::ids(&start.ids), fault };
    let mut found = Vec::new();
    for id in &start.ids {
        let running = state::find(real, call, id).map_err(|source| by_id(Fault::State(source)))?;
        found.extend(running.map(|running| (*id, running)));
    }
    match (&found[..], start.unknown) {
        ([(id, running)], _) => verify_one(id, running, config),
        // The underlying runtime knows no such container either, and says so.
        ([], None) => Ok(()),
        (_, option) => {
            let option = option.unwrap_or_default().to_owned();
            Err(by_id(Fault::UnknownOption { option, verb: "start" }))
        }
    }
}

fn verify_one(id: &OsStr, found: &Running, config: Result<Config, ConfigError>) -> Result<(), WrapperError> {
    let by_id = |fault| WrapperError::Fault { subject: Subject::ids(&[id]), fault };
    let path = || found.spec.join(bundle::CONFIG);
    let json = bundle::read(&found.spec, Path::new(bundle::CONFIG))
        .map_err(|source| by_id(Fault::Read { path: path(), source }))?;
    let (view, annotations) =
        spec::read_with_annotations(&json).map_err(|source| by_id(Fault::Spec { path: path(), source }))?;

    let Some(first) = view.gates.first() else {
        // A container of containerd keeps the OCI runtime that it was created with, so `create` judged this one.
        if view.seen_as_merge || Engine::of(&annotations, &id.to_string_lossy()) == Engine::Containerd {
            return Ok(());
        }
        // As `create` judges it, so that a container of before the wrapper is not started.
        return create::ungated(&id.to_string_lossy(), &found.bundle, &view, &annotations, config)?
            .merge_or(Fault::NotStrict);
    };
    for gate in &view.gates {
        gate.verify_spec(&view.user, view.keeps_original_groups)?;
    }
    let subject = || Subject::Named { pod: first.pod.clone(), container: first.container.clone() };
    let fault = |fault| WrapperError::Fault { subject: subject(), fault };
    let pid = found.pid.ok_or_else(|| fault(Fault::NoProcess))?;
    start_check::check(pid, view.user.gid, &allowed(&view.gates, view.user.gid))
        .map_err(|error| fault(error.into()))?;
    Ok(())
}

/// The groups that every one of the gates allows a process with the primary group `gid`.
fn allowed(gates: &[Gate], gid: u32) -> Vec<u32> {
    let mut by_gate = gates.iter().map(Gate::allowed);
    let first = by_gate.next().unwrap_or_default().to_vec();
    by_gate.fold(first, |kept, allowed| groups::strict(gid, &kept, allowed).kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strict_groups_core::gate::State;

    fn gate(state: State) -> Gate {
        Gate { pod: "default/web".into(), container: "app".into(), state }
    }

    fn resolved(groups: &[u32]) -> Gate {
        gate(State::Resolved { groups: groups.to_vec(), removed: Vec::new() })
    }

    fn pending(declared: Option<&[u32]>) -> Gate {
        gate(State::Pending { declared: declared.map(<[u32]>::to_vec) })
    }

    #[test]
    fn each_gate_narrows_what_is_allowed() {
        assert_eq!(allowed(&[resolved(&[3000, 4000])], 3000), [3000, 4000]);
        assert_eq!(allowed(&[pending(Some(&[4000, 5000]))], 3000), [4000, 5000]);
        let both = [resolved(&[3000, 4000, 5000]), pending(Some(&[5000]))];
        assert_eq!(allowed(&both, 3000), [3000, 5000]);
        let both = [pending(Some(&[5000])), resolved(&[3000, 4000, 5000])];
        assert_eq!(allowed(&both, 3000), [3000, 5000]);
        assert_eq!(allowed(&[resolved(&[3000, 4000]), resolved(&[3000, 5000])], 3000), [3000]);
    }

    #[test]
    fn gate_that_knows_no_groups_allows_none() {
        for unknown in [pending(None), gate(State::Refused { reason: "x".into() })] {
            let both = [resolved(&[3000, 4000]), unknown];
            assert_eq!(allowed(&both, 3000), [3000]);
            assert_eq!(allowed(&both[1..], 3000), [] as [u32; 0]);
        }
        assert_eq!(allowed(&[], 3000), [] as [u32; 0]);
    }
}

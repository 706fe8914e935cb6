//! What to think of a container. Pure.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{
    expected::Wanted,
    observed::{Made, Process, RunState, Seen},
};
use strict_groups_core::{
    gate::{Cause, State},
    groups,
    policy::Policy,
};

/// The verdict in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Verdict {
    /// Strict, and it holds no group beyond that.
    Strict,
    /// Merge, and Strict would take nothing from it.
    Merged,
    /// Merge, or audited only: Strict would take groups from it.
    WouldLoseGroups,
    /// Strict, and its first process holds groups beyond that.
    Violated,
    /// It did not start, or will not: Strict could not be enforced, or the policy is wrong.
    Refused,
    /// It was made and waits for its start.
    NotStarted,
    /// Its first process has ended.
    Ended,
    /// Strict, and by the runtime's record it holds no group beyond that. Its process cannot be seen from the node.
    NotVerified,
    /// It is not known.
    Unknown,
}

/// The verdict and what it rests on. All groups are the container's own GIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// The groups beyond Strict: those that the process holds and must not have ([`Verdict::Violated`]), or those
    /// that Strict would take from it ([`Verdict::WouldLoseGroups`]).
    pub beyond: Vec<u32>,
    /// The groups that only the image gives the user, taken away or not.
    pub from_image: Vec<u32>,
    /// What is wrong, where the verdict alone does not say it.
    pub reason: Option<String>,
}

/// Judges one container.
#[must_use]
pub fn judge(seen: &Seen, wanted: &Wanted) -> Judgement {
    let made = match &seen.made {
        Ok(made) => made,
        Err(reason) => {
            // What the OCI runtime was given is not known either, so neither is whether it ran.
            let verdict = if seen.state == RunState::Exited { Verdict::Ended } else { Verdict::Unknown };
            return Judgement { verdict, beyond: vec![], from_image: vec![], reason: Some(reason.clone()) };
        }
    };
    let from_image = from_image(made, seen.implied.as_ref());
    let (verdict, beyond, reason) = match seen.state {
        RunState::Created => not_running(made, wanted, Verdict::NotStarted),
        RunState::Exited => not_running(made, wanted, Verdict::Ended),
        RunState::Unknown => {
            (Verdict::Unknown, vec![], Some("the runtime does not know its state".to_owned()))
        }
        RunState::Running | RunState::Paused => running(seen, made, wanted),
    };
    Judgement { verdict, beyond, from_image, reason }
}

type Parts = (Verdict, Vec<u32>, Option<String>);

/// A container without a process: `otherwise`, unless it is shut.
fn not_running(made: &Made, wanted: &Wanted, otherwise: Verdict) -> Parts {
    let shut = made.spec.gates.iter().find_map(|gate| match &gate.state {
        State::Resolved { .. } => None,
        State::Refused { reason } => Some(reason.clone()),
        // It may have been resolved in the spec that the OCI runtime got, or have nothing to remove.
        State::Pending { .. } => {
            (made.is_final && gate.verify(&made.spec.user).is_err()).then(|| Cause::NeverEnforced.to_string())
        }
    });
    match (shut, wanted) {
        (Some(reason), _) => (Verdict::Refused, vec![], Some(reason)),
        (None, Wanted::Wrong(error)) => (Verdict::Refused, vec![], Some(error.to_string())),
        (None, Wanted::Known { .. }) => (otherwise, vec![], None),
    }
}

fn running(seen: &Seen, made: &Made, wanted: &Wanted) -> Parts {
    let user = &made.spec.user;
    let process = match &seen.process {
        _ if seen.isolated => None,
        Some(Ok(Process { identity, .. })) => Some(identity),
        Some(Err(reason)) => return (Verdict::Unknown, vec![], Some(reason.clone())),
        None => return (Verdict::Ended, vec![], None),
    };
    let Some(allowed) = allowed(made, seen.implied.as_ref()) else {
        let reason = "the groups that the pod declares are not known here, nor those of the image";
        return (Verdict::Unknown, vec![], Some(reason.to_owned()));
    };
    if let Wanted::Known { policy, audit, .. } = wanted
        && (*policy == Policy::Merge || *audit)
    {
        let lost = groups::excess(user.additional_gids.iter().copied(), allowed);
        let verdict = if lost.is_empty() { Verdict::Merged } else { Verdict::WouldLoseGroups };
        return (verdict, lost, None);
    }
    let beyond = match process {
        Some(identity) => identity.beyond(allowed),
        // What its OCI runtime was given; gVisor and Kata Containers take it as it is.
        None => groups::excess(user.additional_gids.iter().copied().chain([user.gid]), allowed),
    };
    match (beyond.is_empty(), wanted) {
        (true, Wanted::Known { .. }) if seen.isolated => {
            let reason =
                "its process cannot be seen from the node; the groups are those of the runtime's record";
            (Verdict::NotVerified, beyond, Some(reason.to_owned()))
        }
        (true, Wanted::Known { .. }) => (Verdict::Strict, beyond, None),
        // Nobody was there to refuse it, and no harm was done.
        (true, Wanted::Wrong(error)) => (Verdict::Unknown, beyond, Some(error.to_string())),
        (false, _) => (Verdict::Violated, beyond, Some(why_violated(seen, made).to_owned())),
    }
}

/// The one thing that can have happened, where that is known.
fn why_violated(seen: &Seen, made: &Made) -> &'static str {
    // A gate that was left pending lets a container pass from which nothing has to be removed.
    let enforced = made
        .spec
        .gates
        .iter()
        .any(|gate| matches!(gate.state, State::Resolved { .. }) || gate.verify(&made.spec.user).is_ok());
    let able = seen
        .process
        .as_ref()
        .and_then(|process| process.as_ref().ok())
        .is_some_and(|process| process.abilities.groups != super::abilities::Way::No);
    match (enforced, able) {
        (true, true) => "it was started without these groups and can take groups itself (CAP_SETGID)",
        (true, false) => "it was started without these groups; something else gave them to it",
        (false, _) => "it was started while nobody enforced Strict; delete the pod to have it enforced",
    }
}

/// The groups that Strict leaves the process, its primary one included. None: nobody can tell.
fn allowed(made: &Made, implied: Option<&BTreeSet<u32>>) -> Option<BTreeSet<u32>> {
    let user = &made.spec.user;
    let mut resolved = made.spec.gates.iter().filter_map(|gate| match &gate.state {
        State::Resolved { groups, .. } => Some(groups.iter().copied().collect::<BTreeSet<u32>>()),
        State::Pending { .. } | State::Refused { .. } => None,
    });
    if let Some(first) = resolved.next() {
        // Each gate has its say.
        return Some(resolved.fold(first, |allowed, next| &allowed & &next));
    }
    let mut allowed: BTreeSet<u32> = made.of_devices.iter().copied().chain([user.gid]).collect();
    match (&made.declared, implied) {
        (Some(declared), _) => allowed.extend(declared),
        // A group of a device stays, also if the image gives it as well.
        (None, Some(implied)) => {
            allowed.extend(user.additional_gids.iter().filter(|gid| !implied.contains(gid)));
        }
        (None, None) => return None,
    }
    Some(allowed)
}

/// What only the image gives: of all groups that the runtime made, those that are neither declared nor primary.
fn from_image(made: &Made, implied: Option<&BTreeSet<u32>>) -> Vec<u32> {
    let user = &made.spec.user;
    let removed = made.spec.gates.iter().flat_map(|gate| match &gate.state {
        State::Resolved { removed, .. } => removed.as_slice(),
        State::Pending { .. } | State::Refused { .. } => &[],
    });
    let all: Vec<u32> = user.additional_gids.iter().chain(removed).copied().collect();
    match (&made.declared, implied) {
        (Some(declared), _) => {
            let given: Vec<u32> = declared.iter().chain(&made.of_devices).copied().collect();
            groups::strict(user.gid, &all, &given).removed
        }
        (None, Some(implied)) => {
            groups::excess(all.into_iter().filter(|gid| implied.contains(gid)), [user.gid])
        }
        (None, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests;

//! A hook's arguments to a gate, and back.

use container_start::static_gate::StaticGate;
use strict_groups_core::fuzzing::presentable;
use strict_groups_core::{
    gate::{Gate, State},
    merge_marker,
    oci::ProcessUser,
};

/// A gate that is understood is understood again after it was written, and says the same: the same state, the same
/// groups; names and reasons that are one line stay as they are. Only one that knows groups lets a process through, and
/// only if it has all of the process's groups.
///
/// The arguments stand with a NUL byte between them.
pub(super) fn gate(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let args: Vec<&str> = text.split('\0').collect();
    let gate = match Gate::parse(&args) {
        Ok(Some(gate)) => gate,
        Ok(None) => return static_gate(&args),
        Err(error) => return presentable(&error),
    };
    let written = gate.args();
    assert!(written.iter().all(|arg| arg.len() < 128 * 1024 && !arg.contains(char::is_control)));
    let again = Gate::parse(&written).unwrap().expect("ours");
    assert_eq!(again.args(), written);
    match (&gate.state, &again.state) {
        (State::Refused { .. }, State::Refused { .. }) => {}
        (before, after) => assert_eq!(before, after),
    }

    let allowed = match &gate.state {
        State::Resolved { groups, .. } | State::Pending { declared: Some(groups) } => groups.clone(),
        State::Pending { declared: None } | State::Refused { .. } => Vec::new(),
    };
    let gid = allowed.first().copied().unwrap_or(0);
    let user = ProcessUser { uid: 0, gid, additional_gids: allowed.clone() };
    match gate.verify(&user) {
        Ok(()) => assert!(!allowed.is_empty() || matches!(gate.state, State::Pending { declared: Some(_) })),
        Err(refusal) => {
            presentable(&refusal);
            assert!(allowed.is_empty());
        }
    }
    let stranger = (1..=u32::MAX).find(|group| !allowed.contains(group)).unwrap();
    let refusal = gate.verify(&ProcessUser { additional_gids: vec![stranger], ..user }).unwrap_err();
    presentable(&refusal);
}

/// The other form: read, written and read again it is the same; and what is neither is not ours.
fn static_gate(args: &[&str]) {
    match StaticGate::parse(args) {
        Ok(Some(gate)) => assert_eq!(StaticGate::parse(&gate.args()), Ok(Some(gate))),
        Ok(None) if merge_marker::is_marker(args) => {}
        Ok(None) => assert_ne!(args.get(..2), Some(&["strict-groups", "hook"][..])),
        Err(error) => presentable(&error),
    }
}

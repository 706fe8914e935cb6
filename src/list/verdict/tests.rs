use super::*;
use crate::list::{
    abilities::{Abilities, Way},
    expected::Origin,
    observed::{Owner, Process},
};
use hostfs::identity::Identity;
use strict_groups_core::{
    gate::Gate,
    oci::ProcessUser,
    policy::{ANNOTATION, PolicyError},
    spec::View,
};

fn gate(state: State) -> Gate {
    Gate { pod: "default/web".to_owned(), container: "app".to_owned(), state }
}

fn resolved(groups: &[u32], removed: &[u32]) -> Gate {
    gate(State::Resolved { groups: groups.to_vec(), removed: removed.to_vec() })
}

/// A running container with these groups in its spec, of a pod that declares 4000.
fn seen(made: &[u32], gates: Vec<Gate>, held: &[u32]) -> Seen {
    let abilities = Abilities { groups: Way::No, user: Way::No, no_new_privs: true };
    let identity = Identity { uid: 1000, gids: [3000; 4], groups: held.to_vec(), unmapped: Vec::new() };
    Seen {
        id: "x".to_owned(),
        owner: Owner::default(),
        name: "app".to_owned(),
        attempt: 0,
        created_at: 0,
        isolated: false,
        state: RunState::Running,
        pid: Some(1),
        made: Ok(Made {
            spec: View {
                user: ProcessUser { uid: 1000, gid: 3000, additional_gids: made.to_vec() },
                gates,
                seen_as_merge: false,
                keeps_original_groups: false,
                root_path: None,
            },
            declared: Some(vec![4000]),
            of_devices: Vec::new(),
            field_strict: false,
            native: false,
            annotations: None,
            is_final: true,
        }),
        process: Some(Ok(Process { identity, abilities })),
        implied: None,
    }
}

fn change(mut seen: Seen, change: impl FnOnce(&mut Made)) -> Seen {
    change(seen.made.as_mut().unwrap());
    seen
}

fn strict() -> Wanted {
    Wanted::Known { policy: Policy::Strict, origin: Origin::Annotation, audit: false }
}

fn merge() -> Wanted {
    Wanted::Known { policy: Policy::Merge, origin: Origin::Default, audit: false }
}

fn wrong() -> Wanted {
    Wanted::Wrong(PolicyError::UnknownKey { key: format!("{ANNOTATION}/Pod") })
}

fn verdict(seen: &Seen, wanted: &Wanted) -> (Verdict, Vec<u32>) {
    let judged = judge(seen, wanted);
    (judged.verdict, judged.beyond)
}

const ALL: &[u32] = &[3000, 4000, 50000];
const GOOD: &[u32] = &[3000, 4000];

#[test]
fn example_pod() {
    let container = seen(GOOD, vec![resolved(GOOD, &[50000])], GOOD);
    let judged = judge(&container, &strict());
    assert_eq!(judged.verdict, Verdict::Strict);
    assert_eq!((judged.beyond, judged.from_image, judged.reason), (vec![], vec![50000], None));
    let judged = judge(&seen(ALL, vec![], ALL), &merge());
    assert_eq!(judged.verdict, Verdict::WouldLoseGroups);
    assert_eq!((judged.beyond, judged.from_image, judged.reason), (vec![50000], vec![50000], None));
    assert_eq!(verdict(&seen(GOOD, vec![], GOOD), &merge()), (Verdict::Merged, vec![]));
}

#[test]
fn pending_gate_with_nothing_to_remove_is_no_refusal() {
    let knows = || gate(State::Pending { declared: Some(vec![4000]) });
    assert_eq!(verdict(&seen(GOOD, vec![knows()], GOOD), &strict()), (Verdict::Strict, vec![]));
    for (state, expected) in [(RunState::Created, Verdict::NotStarted), (RunState::Exited, Verdict::Ended)] {
        let container = |made| Seen { state, process: None, ..seen(made, vec![knows()], GOOD) };
        assert_eq!(verdict(&container(GOOD), &strict()), (expected, vec![]));
        assert_eq!(verdict(&container(ALL), &strict()), (Verdict::Refused, vec![]));
    }
    let taken = seen(GOOD, vec![knows()], &[3000, 4000, 60000]);
    assert!(judge(&taken, &strict()).reason.unwrap().contains("something else gave them"));
}

#[test]
fn audit_reports_what_strict_would_take() {
    let audit = Wanted::Known { policy: Policy::Strict, origin: Origin::Rule(1), audit: true };
    assert_eq!(verdict(&seen(ALL, vec![], ALL), &audit), (Verdict::WouldLoseGroups, vec![50000]));
    assert_eq!(verdict(&seen(GOOD, vec![], GOOD), &audit), (Verdict::Merged, vec![]));
}

#[test]
fn groups_that_a_process_took_are_a_violation() {
    let mut container = seen(GOOD, vec![resolved(GOOD, &[50000])], &[3000, 4000, 60000, 50000]);
    assert_eq!(verdict(&container, &strict()), (Verdict::Violated, vec![50000, 60000]));
    assert!(judge(&container, &strict()).reason.unwrap().contains("something else"));
    if let Some(Ok(process)) = &mut container.process {
        process.abilities.groups = Way::AtWill;
    }
    assert!(judge(&container, &strict()).reason.unwrap().contains("CAP_SETGID"));
    if let Some(Ok(process)) = &mut container.process {
        process.identity = Identity { uid: 1000, gids: [60000; 4], groups: vec![3000], unmapped: Vec::new() };
    }
    assert_eq!(verdict(&container, &strict()), (Verdict::Violated, vec![60000]), "the primary one");
    let held = |gids, unmapped| Identity { uid: 1000, gids, groups: vec![3000, 4000], unmapped };
    for (identity, beyond, name) in [
        (held([3000, 3000, 60000, 3000], vec![]), 60000, "the saved one, which setgid(2) can take"),
        (held([3000, 3000, 3000, 60000], vec![]), 60000, "the one that files are opened with"),
        (held([3000; 4], vec![4000]), 4000, "one of the node, which only looks allowed"),
    ] {
        if let Some(Ok(process)) = &mut container.process {
            process.identity = identity;
        }
        assert_eq!(verdict(&container, &strict()), (Verdict::Violated, vec![beyond]), "{name}");
    }
}

#[test]
fn started_while_the_plugin_was_away() {
    let container = seen(ALL, vec![], ALL);
    assert_eq!(verdict(&container, &strict()), (Verdict::Violated, vec![50000]));
    assert!(judge(&container, &strict()).reason.unwrap().contains("nobody enforced"));
    assert_eq!(verdict(&container, &wrong()), (Verdict::Violated, vec![50000]));
    let harmless = seen(GOOD, vec![], GOOD);
    assert_eq!(verdict(&harmless, &strict()), (Verdict::Strict, vec![]));
    assert_eq!(verdict(&harmless, &wrong()), (Verdict::Unknown, vec![]));
    assert!(judge(&harmless, &wrong()).reason.unwrap().contains(ANNOTATION));
}

#[test]
fn every_gate_has_its_say() {
    let gates = vec![resolved(&[3000, 4000, 5000], &[]), resolved(&[3000, 4000, 6000], &[])];
    let container = seen(GOOD, gates, &[3000, 4000, 5000, 6000]);
    assert_eq!(verdict(&container, &strict()), (Verdict::Violated, vec![5000, 6000]));
}

#[test]
fn without_a_process() {
    let state = |mut container: Seen, state| {
        container.state = state;
        container.process = None;
        container
    };
    let pending = || seen(ALL, vec![gate(State::Pending { declared: None })], &[]);
    let shut = || seen(ALL, vec![gate(State::Refused { reason: "the reason".to_owned() })], &[]);
    let good = || seen(GOOD, vec![resolved(GOOD, &[50000])], &[]);
    for (at, calm) in [(RunState::Created, Verdict::NotStarted), (RunState::Exited, Verdict::Ended)] {
        assert_eq!(verdict(&state(good(), at), &strict()), (calm, vec![]));
        assert_eq!(verdict(&state(seen(ALL, vec![], &[]), at), &merge()), (calm, vec![]));
        assert_eq!(verdict(&state(pending(), at), &strict()).0, Verdict::Refused);
        assert_eq!(judge(&state(shut(), at), &strict()).reason.unwrap(), "the reason");
        assert_eq!(verdict(&state(seen(ALL, vec![], &[]), at), &wrong()).0, Verdict::Refused);
        // The wrapper may have resolved it behind the runtime's back.
        let other = change(state(pending(), at), |made| made.is_final = false);
        assert_eq!(verdict(&other, &strict()), (calm, vec![]));
    }
    assert_eq!(verdict(&state(good(), RunState::Running), &strict()).0, Verdict::Ended, "in between");
    assert_eq!(verdict(&state(good(), RunState::Unknown), &strict()).0, Verdict::Unknown);
}

#[test]
fn what_cannot_be_read_is_unknown() {
    let mut container = seen(GOOD, vec![], GOOD);
    container.process = Some(Err("cannot read /proc/1".to_owned()));
    assert_eq!(verdict(&container, &strict()).0, Verdict::Unknown);
    container = seen(GOOD, vec![], GOOD);
    container.made = Err("no spec".to_owned());
    let judged = judge(&container, &merge());
    assert_eq!((judged.verdict, judged.reason.as_deref()), (Verdict::Unknown, Some("no spec")));
    container.state = RunState::Exited;
    assert_eq!(verdict(&container, &merge()).0, Verdict::Ended);
    let unknown = change(seen(ALL, vec![], ALL), |made| made.declared = None);
    assert_eq!(verdict(&unknown, &strict()).0, Verdict::Unknown);
    assert_eq!(judge(&unknown, &strict()).from_image, Vec::<u32>::new());
}

#[test]
fn process_in_a_sandbox_is_judged_by_the_record() {
    let isolated = |made: &[u32], gates: Vec<Gate>| {
        let mut container = seen(made, gates, &[]);
        (container.isolated, container.process, container.pid) = (true, None, None);
        container
    };
    let good = isolated(GOOD, vec![resolved(GOOD, &[50000])]);
    assert_eq!(verdict(&good, &strict()), (Verdict::NotVerified, vec![]));
    assert!(judge(&good, &strict()).reason.unwrap().contains("cannot be seen"));
    assert_eq!(verdict(&isolated(ALL, vec![]), &strict()), (Verdict::Violated, vec![50000]));
    assert!(judge(&isolated(ALL, vec![]), &strict()).reason.unwrap().contains("nobody enforced"));
    assert_eq!(verdict(&isolated(ALL, vec![]), &merge()), (Verdict::WouldLoseGroups, vec![50000]));
    assert_eq!(verdict(&isolated(GOOD, vec![]), &merge()), (Verdict::Merged, vec![]));
    let mut ended = good;
    ended.state = RunState::Exited;
    assert_eq!(verdict(&ended, &strict()), (Verdict::Ended, vec![]));
}

#[test]
fn where_nobody_knows_what_is_declared_the_images_files_tell() {
    let files = |held: &[u32]| {
        let mut container = change(seen(ALL, vec![], held), |made| made.declared = None);
        container.implied = Some([50000, 70000].into());
        container
    };
    let judged = judge(&files(GOOD), &strict());
    assert_eq!((judged.verdict, judged.from_image), (Verdict::Strict, vec![50000]));
    assert_eq!(verdict(&files(ALL), &strict()), (Verdict::Violated, vec![50000]));
    assert_eq!(verdict(&files(ALL), &merge()), (Verdict::WouldLoseGroups, vec![50000]));
    // Of a device: not the image's, whatever the image says.
    let device = change(files(ALL), |made| made.of_devices = vec![50000]);
    assert_eq!(verdict(&device, &strict()), (Verdict::Strict, vec![]));
}

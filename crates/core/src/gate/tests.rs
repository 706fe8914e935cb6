use proptest::prelude::*;

use super::*;
use crate::hook_args::PROGRAM;

fn gate(state: State) -> Gate {
    Gate { pod: "default/web".into(), container: "app".into(), state }
}

fn resolved(groups: &[u32], removed: &[u32]) -> Gate {
    gate(State::Resolved { groups: groups.to_vec(), removed: removed.to_vec() })
}

fn refused(reason: &str) -> Gate {
    gate(State::Refused { reason: reason.into() })
}

fn user(gid: u32, additional_gids: &[u32]) -> ProcessUser {
    ProcessUser { uid: 1000, gid, additional_gids: additional_gids.to_vec() }
}

#[test]
fn writes_the_documented_form() {
    let pending = ["strict-groups", "hook", "--gate=pending", "--pod=default/web", "--container=app"];
    assert_eq!(gate(State::Pending { declared: None }).args(), pending);
    let declared = |groups: &[u32]| gate(State::Pending { declared: Some(groups.into()) }).args();
    assert_eq!(declared(&[4000, 5000]), [&pending[..], &["--declared=4000,5000"]].concat());
    assert_eq!(declared(&[]), [&pending[..], &["--declared="]].concat());
    assert_eq!(
        resolved(&[3000, 4000], &[50000]).args()[2..],
        ["--gate=resolved", "--pod=default/web", "--container=app", "--groups=3000,4000", "--removed=50000"]
    );
    assert_eq!(
        resolved(&[0], &[]).args()[2..],
        ["--gate=resolved", "--pod=default/web", "--container=app", "--groups=0"]
    );
    assert_eq!(
        refused("no metadata").args()[2..],
        ["--gate=refused", "--pod=default/web", "--container=app", "--reason=no metadata"]
    );
}

#[test]
fn long_lists_are_split() {
    let all: Vec<u32> = (0..65536).map(|n| u32::MAX - n).collect();
    let long = resolved(&all, &all[..1024]);
    let args = long.args();
    assert_eq!(args.len(), 5 + 8 + 1);
    assert!(args.iter().all(|arg| arg.len() < 128 * 1024));
    assert_eq!(Gate::parse(&args), Ok(Some(long)));
}

#[test]
fn reasons_are_one_short_line() {
    let args = refused(&format!("a\nb\0 {}", "é".repeat(5000))).args();
    let reason = args[5].strip_prefix("--reason=").unwrap();
    assert!(reason.starts_with("a b éé") && reason.len() <= 1024 && reason.ends_with('…'));
}

#[test]
fn other_programs_hooks_are_none() {
    for args in [
        &[][..],
        &["hook"],
        &["strict-groups"],
        &["/usr/bin/strict-groups", "hook"],
        &["strict-groups", "run"],
    ] {
        assert_eq!(Gate::parse(args), Ok(None));
    }
}

fn error(args: &[&str]) -> GateError {
    Gate::parse(&[&PROGRAM[..], args].concat()).unwrap_err()
}

#[test]
fn damaged_gates_are_errors() {
    use GateError::*;
    const P: &str = "--pod=default/web";
    const C: &str = "--container=app";
    const R: &str = "--gate=resolved";
    assert_eq!(error(&[]), Missing { flag: "--gate" });
    assert_eq!(error(&[C, "--gate=pending"]), Missing { flag: "--pod" });
    assert_eq!(error(&[P, "--gate=pending"]), Missing { flag: "--container" });
    assert_eq!(error(&["--pod=", C, "--gate=pending"]), Missing { flag: "--pod" });
    assert_eq!(error(&[P, C, R]), Missing { flag: "--groups" });
    assert_eq!(error(&[P, C, "--gate=refused"]), Missing { flag: "--reason" });
    assert_eq!(error(&[P, C, "--gate=Pending"]), Unknown { arg: "--gate=Pending".into() });
    assert_eq!(error(&[P, C, "--gate=pending", "--gate=pending"]), Repeated { flag: "--gate" });
    assert_eq!(error(&[P, P, C, "--gate=pending"]), Repeated { flag: "--pod" });
    assert_eq!(error(&[P, C, C, "--gate=pending"]), Repeated { flag: "--container" });
    assert_eq!(error(&[P, C, "--gate=pending", "--new=1"]), Unknown { arg: "--new=1".into() });
    assert_eq!(error(&[P, C, "--gate=pending", "more"]), Unknown { arg: "more".into() });
    assert_eq!(error(&[P, C, "--gate=pending", "--groups"]), Unknown { arg: "--groups".into() });
    assert_eq!(
        error(&[P, C, "--gate=pending", "--groups=1"]),
        Misplaced { flag: "--groups", state: "pending" }
    );
    assert_eq!(
        error(&[P, C, "--gate=pending", "--removed=1"]),
        Misplaced { flag: "--removed", state: "pending" }
    );
    assert_eq!(
        error(&[P, C, "--gate=pending", "--reason=x"]),
        Misplaced { flag: "--reason", state: "pending" }
    );
    assert_eq!(
        error(&[P, C, R, "--groups=1", "--reason=x"]),
        Misplaced { flag: "--reason", state: "resolved" }
    );
    assert_eq!(
        error(&[P, C, R, "--groups=1", "--declared=1"]),
        Misplaced { flag: "--declared", state: "resolved" }
    );
    assert_eq!(
        error(&[P, C, "--gate=refused", "--reason=x", "--declared="]),
        Misplaced { flag: "--declared", state: "refused" }
    );
    let refused = [P, C, "--gate=refused", "--reason=x", "--groups=1"];
    assert_eq!(error(&refused), Misplaced { flag: "--groups", state: "refused" });
    assert_eq!(error(&["--reason=x", P, C, "--gate=refused", "--reason=x"]), Repeated { flag: "--reason" });
    for bad in ["x", "-1", "+1", " 1", "1.0", "4294967296", "1,,2", "1,", ","] {
        let error = error(&[P, C, R, &format!("--groups={bad}")]);
        assert!(matches!(error, BadNumber { flag: "--groups", .. }), "{bad}: {error:?}");
    }
    let shown = error(&[P, C, R, "--groups=1", "--removed=1,\n"]).to_string();
    assert_eq!(shown, r#"--removed of the gate has "\n", which is no GID"#);
    assert!(error(&[&format!("--\n{}", "x".repeat(100_000))]).to_string().len() < 128);
}

#[test]
fn verify_allows_what_was_decided() {
    let gate = resolved(&[4000, 3000], &[50000]);
    assert_eq!(gate.verify(&user(3000, &[3000, 4000])), Ok(()));
    assert_eq!(gate.verify(&user(3000, &[4000, 4000])), Ok(()));
    assert_eq!(gate.verify(&user(3000, &[])), Ok(()));
}

#[test]
fn verify_refuses_everything_else() {
    let gate = resolved(&[3000, 4000], &[50000]);
    let refusal = gate.verify(&user(3000, &[3000, 50000, 4000, 7, 50000])).unwrap_err();
    assert_eq!(refusal.cause, Cause::NotAllowed { groups: vec![7, 50000] });
    let refusal = gate.verify(&user(0, &[3000])).unwrap_err();
    assert_eq!(refusal.cause, Cause::NotAllowed { groups: vec![0] });
    let refusal = resolved(&[], &[]).verify(&user(0, &[])).unwrap_err();
    assert_eq!(refusal.cause, Cause::NotAllowed { groups: vec![0] });
    assert_eq!(
        self::gate(State::Pending { declared: None }).verify(&user(3000, &[])).unwrap_err().cause,
        Cause::NeverEnforced
    );
}

#[test]
fn whole_spec_is_verified() {
    let made = user(3000, &[3000]);
    assert_eq!(resolved(&[3000], &[]).verify_spec(&made, false), Ok(()));
    let refusal = resolved(&[3000], &[]).verify_spec(&made, true).unwrap_err();
    assert_eq!(refusal.cause, Cause::KeepsOriginalGroups);
    assert_eq!(
        gate(State::Pending { declared: None }).verify_spec(&made, false).unwrap_err().cause,
        Cause::NeverEnforced
    );
    assert!(matches!(
        resolved(&[1], &[]).verify_spec(&made, false).unwrap_err().cause,
        Cause::NotAllowed { .. }
    ));
}

#[test]
fn refusals_say_what_to_do() {
    let text = |gate: &Gate, groups: &[u32]| gate.verify(&user(3000, groups)).unwrap_err().to_string();
    assert_eq!(
        text(&gate(State::Pending { declared: None }), &[]),
        "strict-groups: pod default/web, container app: supplementalGroupsPolicy Strict was never enforced (the \
         strict-groups plugin did not finish its work); see its log on the node; the kubelet tries again, unless \
         restartPolicy is Never"
    );
    assert_eq!(
        text(&refused("containerd did not answer"), &[]),
        "strict-groups: pod default/web, container app: supplementalGroupsPolicy Strict could not be enforced: \
         containerd did not answer; see the log of strict-groups on the node, then delete the pod to try again"
    );
    assert_eq!(
        text(&resolved(&[3000], &[]), &[50000, 4]),
        "strict-groups: pod default/web, container app: something on the node gave the process groups that Strict \
         does not allow (4, 50000); find the plugin or runtime that changes process.user, then delete the pod to \
         try again"
    );
    let many: Vec<u32> = (0..65536).collect();
    assert!(text(&resolved(&[3000], &[]), &many).contains("(0, 1, 2, 3, 4, 5, 6, 7 and 65527 more)"));
    assert_eq!(
        resolved(&[1], &[]).verify_spec(&user(1, &[]), true).unwrap_err().to_string(),
        "strict-groups: pod default/web, container app: annotation run.oci.keep_original_groups makes the runtime \
         keep its own groups, which Strict forbids; remove it from the pod"
    );
}

#[test]
fn refusals_are_one_line_whatever_stands_in_the_gate() {
    let gate = Gate {
        pod: format!("a\n{}", "p".repeat(100_000)),
        container: "\u{1b}[2J".into(),
        state: State::Refused { reason: "x\r\n".repeat(100_000) },
    };
    let text = gate.verify(&user(0, &[])).unwrap_err().to_string();
    assert!(!text.contains(char::is_control) && text.len() < 2048, "{text}");
}

/// Found by fuzzing: such a gate was written without a name, and not understood again.
#[test]
fn names_of_which_nothing_can_be_shown_are_written() {
    let args =
        Gate { pod: "\u{7f}\n".into(), container: String::new(), state: State::Pending { declared: None } }
            .args();
    let read = Gate::parse(&args).unwrap().unwrap();
    assert_eq!((&*read.pod, &*read.container), ("?", "?"));
    assert_eq!(read.args(), args);
}

fn any_state() -> impl Strategy<Value = State> {
    prop_oneof![
        any::<Option<Vec<u32>>>().prop_map(|declared| State::Pending { declared }),
        (any::<Vec<u32>>(), any::<Vec<u32>>())
            .prop_map(|(groups, removed)| State::Resolved { groups, removed }),
        "[!-~]{0,20}( [!-~]{1,20}){0,5}".prop_map(|reason| State::Refused { reason: reason.trim().into() }),
    ]
}

#[test]
fn groups_are_limited_and_removed_ones_cut() {
    let many: Vec<u32> = (0..65_537).collect();
    let gate = |groups: &[u32], removed: &[u32]| resolved(groups, removed).args();
    assert!(Gate::parse(&gate(&many[1..], &[])).is_ok());
    let error = Gate::parse(&gate(&many, &[])).unwrap_err();
    assert_eq!(error, GateError::TooMany { flag: "--groups" });
    let pending = Gate { state: State::Pending { declared: Some(many.clone()) }, ..resolved(&[], &[]) };
    assert_eq!(Gate::parse(&pending.args()), Err(GateError::TooMany { flag: "--declared" }));

    let args = gate(&[3000], &many);
    assert!(args.contains(&"--removed-count=65537".to_owned()), "{:?}", args.last());
    assert!(args.iter().map(String::len).sum::<usize>() < 16 * 1024);
    let State::Resolved { groups, removed } = Gate::parse(&args).unwrap().unwrap().state else { panic!() };
    assert_eq!((groups, removed), (vec![3000], many[..1024].to_vec()));
    assert!(!gate(&[3000], &many[..1024]).iter().any(|arg| arg.starts_with("--removed-count")));
    let wrong = [&gate(&[3000], &[])[..], &["--removed-count=x".to_owned()]].concat();
    assert!(matches!(Gate::parse(&wrong), Err(GateError::BadNumber { flag: "--removed-count", .. })));
}

proptest! {
    #[test]
    fn round_trip(pod in "[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}", container in "[a-z0-9-]{1,63}", state in any_state()) {
        let gate = Gate { pod, container, state };
        prop_assert_eq!(Gate::parse(&gate.args()), Ok(Some(gate)));
    }

    #[test]
    fn what_is_written_can_be_read(pod: String, container: String, reason: String) {
        let args = Gate { pod, container, state: State::Refused { reason } }.args();
        prop_assert_eq!(Gate::parse(&args).unwrap().unwrap().args(), args);
    }

    #[test]
    fn any_arguments_get_an_answer(args: Vec<String>, picks in proptest::collection::vec(
        prop_oneof!["--gate=pending", "--gate=resolved", "--pod=.{0,3}", "--container=.{0,3}", "--groups=[0-9,x]{0,5}"], 0..7,
    )) {
        let ours = PROGRAM.map(String::from).into_iter().chain(picks).chain(args.clone());
        for args in [args.clone(), ours.collect()] {
            if let Err(error) = Gate::parse(&args) {
                prop_assert!(!error.to_string().contains(char::is_control));
            }
        }
    }
}

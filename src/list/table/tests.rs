use insta::assert_snapshot;

use super::{
    columns::{cut_list, cut_name},
    *,
};
use crate::list::report::{CanChange, Group, LinuxUser, Policy, User};

fn group(gid: u32, name: &str) -> Group {
    Group { gid, name: (!name.is_empty()).then(|| name.to_owned()) }
}

fn item(pod: &str, verdict: Verdict) -> Item {
    Item {
        namespace: "default".to_owned(),
        pod: pod.to_owned(),
        pod_uid: "8b0e4f3c-0000-4000-8000-000000000001".to_owned(),
        container: "app".to_owned(),
        id: "b48352229a672b68f2d4506611f41680ffc9daf7c2f5866e22a0c88b7f4e8414".to_owned(),
        state: "Running",
        pid: Some(4711),
        user: Some(User { linux: LinuxUser { uid: 1000, gid: 3000, supplemental_groups: vec![3000, 4000] } }),
        declared_groups: Some(vec![4000]),
        image_groups: vec![group(50000, "group-in-image")],
        beyond_strict: vec![],
        policy: Policy {
            name: Some("Strict"),
            source: "Annotation",
            annotation: Some("supplemental-groups-policy.noderesource.dev/pod".to_owned()),
            rule: None,
            audit: false,
        },
        verdict,
        reason: None,
        note: None,
        can_change: Some(CanChange {
            groups: "No",
            user: "ByExec",
            no_new_privs: false,
            allow_privilege_escalation: true,
        }),
    }
}

/// One of each kind.
fn node() -> Vec<Item> {
    let violated = Item {
        beyond_strict: vec![group(50000, "group-in-image"), group(60000, "")],
        reason: Some(
            "it was started while nobody enforced Strict; delete the pod to have it enforced".to_owned(),
        ),
        can_change: Some(CanChange {
            groups: "AtWill",
            user: "AtWill",
            no_new_privs: false,
            allow_privilege_escalation: true,
        }),
        ..item("away-7d4f9c6b5-x2x9k", Verdict::Violated)
    };
    let merge =
        |policy: Policy| Policy { name: Some("Merge"), source: "Default", annotation: None, ..policy };
    let mut would = item("legacy", Verdict::WouldLoseGroups);
    would.beyond_strict = vec![group(50000, "group-in-image")];
    would.policy = Policy { rule: Some(2), source: "Rule", annotation: None, audit: true, ..would.policy };
    let mut merged = item("plain", Verdict::Merged);
    (merged.policy, merged.image_groups) = (merge(merged.policy), vec![]);
    let mut waiting = item("waiting", Verdict::NotStarted);
    (waiting.user, waiting.can_change, waiting.pid, waiting.state) = (None, None, None, "Created");
    let mut unknown = item("odd", Verdict::Unknown);
    (unknown.policy.name, unknown.declared_groups) = (None, None);
    unknown.reason = Some("cannot read /proc/4711: \u{1b}[31mno".to_owned());
    let ended =
        Item { state: "Exited", user: None, can_change: None, pid: None, ..item("job-1", Verdict::Ended) };
    let refused = Item {
        state: "Exited",
        user: None,
        can_change: None,
        pid: None,
        reason: Some("containerd's record has no spec".to_owned()),
        ..item("shut", Verdict::Refused)
    };
    let unseen = Item {
        pid: None,
        can_change: None,
        reason: Some("its process cannot be seen from the node".to_owned()),
        note: Some("an annotation was changed; delete the pod to apply it".to_owned()),
        ..item("gvisor", Verdict::NotVerified)
    };
    vec![violated, item("web", Verdict::Strict), would, merged, waiting, unknown, ended, refused, unseen]
}

const COLOUR: Style = Style { wide: false, colour: true };
const WIDE_STYLE: Style = Style { wide: true, colour: false };

#[test]
fn table_of_everything() {
    assert_snapshot!(render(&node(), Style::default()));
}

#[test]
fn wide_table_of_everything() {
    assert_snapshot!(render(&node(), WIDE_STYLE));
}

#[test]
fn without_containers_there_is_the_head() {
    assert_snapshot!(render(&[], Style::default()));
}

#[test]
fn verdict_is_coloured_and_nothing_moves() {
    let coloured = render(&node(), COLOUR);
    assert_snapshot!(coloured.escape_debug().to_string().replace("\\n", "\n"));
    let mut bare = coloured;
    for code in ["1;31", "31", "32", "33", "0"] {
        bare = bare.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(bare, render(&node(), Style::default()));
}

#[test]
fn long_cells_are_cut_to_100_characters() {
    let mut long = item(&format!("{}-x2x9k", "pod-with-a-long-name".repeat(12)), Verdict::NotStarted);
    long.namespace = "a-namespace-with-the-most-letters-that-are-allowed-in-kubernetes".to_owned();
    long.container = "container-with-a-long-name".repeat(2);
    long.beyond_strict = (0..40).map(|n| group(4_294_967_000 + n, "group")).collect();
    long.user = Some(User {
        linux: LinuxUser {
            uid: 4_294_967_294,
            gid: 4_294_967_294,
            supplemental_groups: (0..1000).map(|n| 4_294_960_000 + n).collect(),
        },
    });
    let table = render(&[long, item("web", Verdict::Strict)], Style::default());
    assert!(table.lines().all(|line| line.chars().count() <= WIDEST), "{table}");
    assert_snapshot!(table);
}

#[test]
fn lists_are_cut_between_their_entries() {
    assert_eq!(cut_list("3000,4000,50000", 14), "3000,4000,…");
    assert_eq!(cut_list("3000,4000,50000", 9), "3000,…");
    assert_eq!(cut_list("50000(video),7", 10), "50000…");
    assert_eq!(cut_list("4294967294,7", 6), "…");
    assert_eq!(cut_name("web-7d4f9c6b5-x2x9k", 9), "web-…2x9k");
}

#[test]
fn what_others_wrote_is_made_safe() {
    let mut evil = item("pod\u{1b}[2J\nforged  web", Verdict::Strict);
    evil.namespace = "\u{202e}gnp".to_owned();
    evil.container = String::new();
    evil.image_groups = vec![group(50000, "a),0(root"), group(50001, "r\u{43e}\u{43e}t")];
    evil.beyond_strict = vec![group(50000, "a b,c")];
    evil.reason = Some("says \u{9b}31m é".to_owned());
    let table = render(&[evil], WIDE_STYLE);
    assert!(table.chars().all(|c| c == '\n' || matches!(c, ' '..='~')), "{table}");
    assert_eq!(table.lines().count(), 2);
    assert_snapshot!(table);
}

use super::*;
use crate::json;

const CONTAINERD: &str = include_str!("../../../../tests/fixtures/containerd-1.7.24/config.json");
const CRIO: &str = include_str!("../../../../tests/fixtures/crio-1.30.14/config.container.json");

fn gate(state: State) -> Gate {
    Gate { pod: "default/web".into(), container: "app".into(), state }
}

fn pending() -> Gate {
    gate(State::Pending { declared: None })
}

fn resolved(groups: &[u32], removed: &[u32]) -> Gate {
    gate(State::Resolved { groups: groups.to_vec(), removed: removed.to_vec() })
}

fn refused(reason: &str) -> Gate {
    gate(State::Refused { reason: reason.into() })
}

/// The hook of a gate, with members of its own around the arguments.
fn hook(gate: &Gate) -> String {
    let args = json::array(gate.args().iter().map(|arg| json::string(arg)));
    format!(r#"{{"path": "/bin/x", "args" : {args} ,"timeout":1e400}}"#)
}

/// A spec with this user (raw JSON) and these gates among other hooks.
fn spec(user: &str, gates: &[Gate]) -> String {
    let hooks: String = gates.iter().flat_map(|gate| [", ".to_owned(), hook(gate)]).collect();
    format!(
        r#"{{ "a":1e400, "process" :{{"cwd":"/","user":{user}, "env":[ ]}},
        "hooks":{{"poststop":[ ],"createRuntime":[ {{"path":"/bin/true"}} {hooks} ]}}, "z":0.10 }}"#
    )
}

fn text(json: Option<Vec<u8>>) -> String {
    String::from_utf8(json.expect("something has changed")).unwrap()
}

const USER: &str = r#"{"uid":1000,"gid":3000,"umask":18,"additionalGids":[3000, 4000, 50000]}"#;

#[test]
fn reads_what_runtimes_write() {
    let view = read(CONTAINERD.as_bytes()).unwrap();
    assert_eq!(view.user, ProcessUser { uid: 1000, gid: 3000, additional_gids: vec![3000, 4000] });
    assert_eq!((view.gates, view.keeps_original_groups), (vec![], false));

    let view = read(CRIO.as_bytes()).unwrap();
    assert_eq!(view.user, ProcessUser { uid: 1000, gid: 3000, additional_gids: vec![3000, 50000, 4000] });
}

#[test]
fn resolves_the_example_pod() {
    let before = spec(USER, &[pending()]);
    let resolution = resolve(before.as_bytes(), &[4000]).unwrap();
    assert_eq!(resolution.user.additional_gids, [3000, 4000, 50000]);
    assert_eq!((&resolution.groups[..], &resolution.removed[..]), (&[3000, 4000][..], &[50000][..]));
    let gate = resolved(&[3000, 4000], &[50000]);
    assert_eq!(
        text(resolution.json),
        format!(
            r#"{{"a":1e400,"process":{{"cwd":"/","user":{{"uid":1000,"gid":3000,"umask":18,"additionalGids":[3000,4000]}},"env":[ ]}},"hooks":{{"poststop":[ ],"createRuntime":[{{"path":"/bin/true"}},{}]}},"z":0.10}}"#,
            hook(&gate)
                .replace(": \"/bin", ":\"/bin")
                .replace(" : ", ":")
                .replace(" ,", ",")
                .replace(", \"", ",\"")
        )
    );
}

#[test]
fn resolved_spec_passes_its_gate() {
    let after = text(resolve(spec(USER, &[pending()]).as_bytes(), &[4000]).unwrap().json);
    let view = read(after.as_bytes()).unwrap();
    assert_eq!(view.gates, [resolved(&[3000, 4000], &[50000])]);
    assert_eq!(view.gates[0].verify_spec(&view.user, view.keeps_original_groups), Ok(()));
}

#[test]
fn second_call_has_nothing_to_do() {
    let after = text(resolve(spec(USER, &[pending()]).as_bytes(), &[4000]).unwrap().json);
    let again = resolve(after.as_bytes(), &[4000]).unwrap();
    assert_eq!((again.json, again.groups, again.removed), (None, vec![3000, 4000], vec![]));
}

#[test]
fn groups_that_need_no_change_keep_their_text() {
    let user = r#"{"uid":1000,"gid":3000,"additionalGids":[ 3000 ,4000]}"#;
    let after = text(resolve(spec(user, &[pending()]).as_bytes(), &[4000]).unwrap().json);
    assert!(after.contains(user), "{after}");
}

#[test]
fn missing_user_is_root() {
    for (user, expected) in [
        ("null", r#""user":{"uid":0,"gid":0,"additionalGids":[0]}"#),
        ("{}", r#""user":{"additionalGids":[0]}"#),
        (r#"{"gid":7,"additionalGids":null}"#, r#""user":{"gid":7,"additionalGids":[7]}"#),
        (r#"{"gid":7,"additionalGids":[]}"#, r#""user":{"gid":7,"additionalGids":[7]}"#),
    ] {
        let resolution = resolve(spec(user, &[pending()]).as_bytes(), &[5]).unwrap();
        assert!(resolution.removed.is_empty());
        let after = text(resolution.json);
        assert!(after.contains(expected), "{after}");
        assert_eq!(resolve(after.as_bytes(), &[5]).unwrap().json, None);
    }
    let bare = spec("{}", &[pending()]).replace(r#""user":{},"#, "");
    assert!(text(resolve(bare.as_bytes(), &[]).unwrap().json).contains("[0]}"));
}

#[test]
fn container_that_is_not_strict_is_never_touched() {
    for json in [
        CONTAINERD,
        CRIO,
        &spec(USER, &[]),
        r#"{"process":{}}"#,
        r#"{"hooks":null}"#,
        r#"{"hooks":{}}"#,
        "{}",
    ] {
        assert_eq!(resolve(json.as_bytes(), &[]).unwrap_err(), SpecError::NoGate);
        assert_eq!(refuse(json.as_bytes(), "x"), Err(SpecError::NoGate));
    }
}

#[test]
fn second_resolver_never_widens() {
    let before = spec(USER, &[resolved(&[3000, 4000], &[7]), pending()]);
    let resolution = resolve(before.as_bytes(), &[4000, 50000]).unwrap();
    assert_eq!((&resolution.groups[..], &resolution.removed[..]), (&[3000, 4000][..], &[50000][..]));
    let after = text(resolution.json);
    assert_eq!(
        read(after.as_bytes()).unwrap().gates,
        [resolved(&[3000, 4000], &[7]), resolved(&[3000, 4000], &[50000])]
    );
}

#[test]
fn second_resolver_may_narrow() {
    let before = spec(USER, &[resolved(&[4000, 50000], &[7, 50000])]);
    let resolution = resolve(before.as_bytes(), &[4000]).unwrap();
    assert_eq!((&resolution.groups[..], &resolution.removed[..]), (&[3000, 4000][..], &[50000][..]));
    let after = text(resolution.json);
    assert_eq!(read(after.as_bytes()).unwrap().gates, [resolved(&[3000, 4000], &[7, 50000])]);
    assert_eq!(resolve(after.as_bytes(), &[4000]).unwrap().json, None);
}

#[test]
fn refused_gate_stays_refused() {
    let before = spec(USER, &[refused("why"), pending()]);
    let after = text(resolve(before.as_bytes(), &[4000]).unwrap().json);
    assert_eq!(read(after.as_bytes()).unwrap().gates, [refused("why"), resolved(&[3000, 4000], &[50000])]);
}

#[test]
fn refuse_says_why_in_pending_gates_only() {
    let before = spec(USER, &[pending(), resolved(&[1], &[])]);
    let after = text(refuse(before.as_bytes(), "no\nmetadata").unwrap());
    assert!(after.contains("3000, 4000, 50000"));
    assert_eq!(read(after.as_bytes()).unwrap().gates, [refused("no metadata"), resolved(&[1], &[])]);
    assert_eq!(refuse(after.as_bytes(), "again"), Ok(None));
}

#[test]
fn refuse_needs_the_hooks_only() {
    for user in [r#"{"gid":-1}"#, "7", r#"{"gid":1,"GID":2}"#] {
        let broken = spec(user, &[pending()]);
        assert!(resolve(broken.as_bytes(), &[]).is_err());
        assert!(text(refuse(broken.as_bytes(), "broken").unwrap()).contains("--reason=broken"));
    }
    let twice = spec(USER, &[pending()]).replacen('{', r#"{"Process":{},"#, 1);
    assert!(text(refuse(twice.as_bytes(), "broken").unwrap()).contains("--reason=broken"));
    let none = spec(USER, &[pending()]).replace(r#""process""#, r#""other""#);
    assert_eq!(resolve(none.as_bytes(), &[]), Err(OciError::Missing { field: "process" }.into()));
    assert!(text(refuse(none.as_bytes(), "broken").unwrap()).contains("--reason=broken"));
}

#[test]
fn numbers_are_ids_or_errors() {
    for bad in [
        "-1",
        "-0",
        "4294967296",
        "1.0",
        "1e3",
        "1e400",
        "123456789012345678901234567890",
        r#""1""#,
        "true",
        "null",
        "[]",
    ] {
        for (field, user) in [
            ("process.user.uid", format!(r#"{{"uid":{bad}}}"#)),
            ("process.user.gid", format!(r#"{{"gid":{bad}}}"#)),
            ("process.user.additionalGids", format!(r#"{{"additionalGids":[1,{bad}]}}"#)),
        ] {
            let spec = spec(&user, &[pending()]);
            assert_eq!(read(spec.as_bytes()), Err(OciError::BadValue { field }.into()), "{user}");
            assert_eq!(resolve(spec.as_bytes(), &[]), Err(OciError::BadValue { field }.into()), "{user}");
        }
    }
    for bad in ["1", "{}", r#""1""#, "false"] {
        let spec = spec(&format!(r#"{{"additionalGids":{bad}}}"#), &[]);
        assert_eq!(
            read(spec.as_bytes()),
            Err(OciError::BadValue { field: "process.user.additionalGids" }.into())
        );
    }
    let ends = spec(r#"{"uid":4294967295,"gid":0,"additionalGids":[4294967295]}"#, &[]);
    assert_eq!(read(ends.as_bytes()).unwrap().user.additional_gids, [u32::MAX]);
}

#[test]
fn ambiguous_keys_are_refused() {
    let good = spec(USER, &[pending()]);
    assert!(read(good.as_bytes()).is_ok());
    for (from, to, key) in [
        (r#""process""#, r#""Process""#, "Process"),
        (r#""user""#, r#""uſer""#, "uſer"),
        (r#""gid""#, r#""GID""#, "GID"),
        (r#""hooks""#, "\"hoo\u{212a}s\"", "hoo\u{212a}s"),
        (r#""createRuntime""#, r#""createruntime""#, "createruntime"),
        (r#""args""#, r#""arg\u0053""#, "argS"),
        (r#""a":1e400"#, r#""A":1,"a":2"#, "a"),
        (r#""a":1e400"#, r#""process":null"#, "process"),
        (r#""cwd":"/""#, r#""user":{}"#, "user"),
        (r#""cwd":"/""#, r#""Cwd":1,"cwd":2"#, "cwd"),
        (r#""umask":18"#, r#""additionalgids":[]"#, "additionalgids"),
        (r#""umask":18"#, r#""additionalGids\u0000":[]"#, "additionalGids\0"),
        (r#""poststop":[ ]"#, r#""CreateRuntime":[]"#, "CreateRuntime"),
        (r#""path": "/bin/x""#, r#""Args":[]"#, "Args"),
        (r#""a":1e400"#, r#""Annotations":{}"#, "Annotations"),
    ] {
        let bad = good.replace(from, to);
        match read(bad.as_bytes()) {
            // The one that is found first may be either of the two.
            Err(SpecError::Oci(OciError::Ambiguous { key: found })) => {
                assert!(json::folds_to(&found, key.trim_end_matches('\0')) || found == key);
            }
            other => panic!("{to}: {other:?}"),
        }
        if key != "Annotations" {
            assert!(
                matches!(resolve(bad.as_bytes(), &[]), Err(SpecError::Oci(OciError::Ambiguous { .. }))),
                "{to}"
            );
        }
    }
}

#[test]
fn keys_may_be_written_with_escapes() {
    let spec = spec(USER, &[pending()]).replace(r#""gid""#, r#""\u0067id""#);
    let after = text(resolve(spec.as_bytes(), &[]).unwrap().json);
    assert_eq!(read(after.as_bytes()).unwrap().user.additional_gids, [3000]);
}

#[test]
fn sees_the_annotation_that_keeps_groups() {
    let with = |annotations: &str| {
        let spec = spec(USER, &[]).replacen('{', &format!(r#"{{"annotations":{annotations},"#), 1);
        read(spec.as_bytes()).map(|view| view.keeps_original_groups)
    };
    assert_eq!(with(r#"{"a":"","run.oci.keep_original_groups":"1"}"#), Ok(true));
    assert_eq!(with(r#"{"run.oci.keep_original_groups":"0"}"#), Ok(true));
    assert_eq!(with(r#"{"run.oci.keep\u005foriginal_groups":null}"#), Ok(true));
    assert_eq!(with(r#"{"run.oci.keep_original_groups\u0000x":""}"#), Ok(true));
    assert_eq!(with(r#"{"Run.oci.keep_original_groups":"1","run.oci":""}"#), Ok(false));
    assert_eq!(with("{}"), Ok(false));
    assert_eq!(with("null"), Ok(false));
    assert_eq!(with("[]"), Err(OciError::BadValue { field: "annotations" }.into()));
}

#[test]
fn hooks_of_another_shape_are_errors() {
    for (hooks, field) in [
        ("[]", "hooks"),
        (r#"{"createRuntime":{}}"#, "hooks.createRuntime"),
        (r#"{"createRuntime":[null]}"#, "hooks.createRuntime"),
        (r#"{"createRuntime":["x"]}"#, "hooks.createRuntime"),
        (r#"{"createRuntime":[{"args":"x"}]}"#, "args of hooks.createRuntime"),
        (r#"{"createRuntime":[{"args":[null]}]}"#, "args of hooks.createRuntime"),
    ] {
        let spec = format!(r#"{{"process":{{}},"hooks":{hooks}}}"#);
        assert_eq!(read(spec.as_bytes()), Err(OciError::BadValue { field }.into()), "{hooks}");
        assert_eq!(refuse(spec.as_bytes(), ""), Err(OciError::BadValue { field }.into()), "{hooks}");
    }
    let damaged =
        r#"{"process":{},"hooks":{"createRuntime":[{"args":["strict-groups","hook","--gate=pending"]}]}}"#;
    let error = SpecError::Gate(GateError::Missing { flag: "--pod" });
    assert_eq!(read(damaged.as_bytes()), Err(error.clone()));
    assert_eq!(resolve(damaged.as_bytes(), &[]), Err(error));
}

#[test]
fn what_is_no_json_object_says_where() {
    let at = |line, column| Err(OciError::NotJson { line, column }.into());
    assert_eq!(read(b"{\n \"a\": \xff}"), at(2, 7));
    assert_eq!(read(b"\xff"), at(1, 1));
    assert_eq!(read(b"{}\n {}"), at(2, 2));
    assert_eq!(read(b""), at(1, 0));
    for json in
        [&b"[]"[..], b"null", b"7", b"\xef\xbb\xbf{}", b"{\"\\ud800\":1}", b"{\"a\":01}", b"{\"a\":1,}"]
    {
        assert!(matches!(read(json), Err(SpecError::Oci(OciError::NotJson { .. }))), "{json:?}");
    }
    let whole = spec(USER, &[pending()]);
    for end in 0..whole.len() {
        assert!(resolve(&whole.as_bytes()[..end], &[]).is_err());
        assert!(refuse(&whole.as_bytes()[..end], "").is_err());
    }
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    assert!(read(&vec![b'['; 10_000_000]).is_err());
    let depth = 500_000;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(depth), close.repeat(depth));
    for json in [
        r#"{"process":"#.repeat(depth),
        format!(r#"{{"process":{}"#, "[".repeat(depth)),
        format!(r#"{{"process":{{"user":{{"additionalGids":{}}}}}}}"#, deep("[", "]")),
        format!(r#"{{"hooks":{{"createRuntime":[{{"args":{}}}]}},"process":{{}}}}"#, deep("[", "]")),
    ] {
        assert!(read(json.as_bytes()).is_err());
        assert!(refuse(json.as_bytes(), "").is_err());
    }
    // Where nobody looks it is copied like anything else.
    let harmless = spec(USER, &[pending()]).replace("1e400", &deep("[", "]"));
    assert!(resolve(harmless.as_bytes(), &[]).is_ok());
}

#[test]
fn undecided_container_gets_a_gate_behind_other_hooks() {
    let before = spec(USER, &[]);
    let shut = text(super::shut(before.as_bytes(), "/opt/a \"b", &pending()).unwrap());
    let view = read(shut.as_bytes()).unwrap();
    assert_eq!(view.gates, [pending()]);
    let value: serde_json::Value = serde_json::from_str(&shut.replace("1e400", "1")).unwrap();
    let hooks = value["hooks"]["createRuntime"].as_array().unwrap();
    assert_eq!(
        (hooks[0]["path"].as_str(), hooks[1]["path"].as_str()),
        (Some("/bin/true"), Some("/opt/a \"b"))
    );
    // All else stays, and it is done once.
    assert!(shut.contains(r#""z":0.10"#) && shut.contains(r#""poststop":[ ]"#), "{shut}");
    assert_eq!(super::shut(shut.as_bytes(), "/opt/x", &pending()), Ok(None));
    // What follows is the ordinary way.
    assert_eq!(resolve(shut.as_bytes(), &[4000]).unwrap().groups, [3000, 4000]);
}

#[test]
fn spec_without_hooks_gets_them() {
    for before in [r#"{"process":{}}"#, r#"{"process":{},"hooks":null}"#, r#"{"process":{},"hooks":{}}"#] {
        let shut = text(super::shut(before.as_bytes(), "/x", &refused("no")).unwrap());
        assert_eq!(read(shut.as_bytes()).unwrap().gates, [refused("no")], "{before}");
    }
    assert!(super::shut(b"[]", "/x", &pending()).is_err());
}

#[test]
fn mark_is_put_in_once_and_is_no_decision() {
    let before = spec(r#"{"gid":1}"#, &[]);
    let marked = text(super::mark(before.as_bytes(), "/opt/a \"b").unwrap());
    assert_eq!(super::mark(marked.as_bytes(), "/opt/x"), Ok(None));
    let view = read(marked.as_bytes()).unwrap();
    assert!(view.seen_as_merge && view.gates.is_empty());
    assert!(!read(before.as_bytes()).unwrap().seen_as_merge);
    // Nothing but the hook is new.
    let hook = format!(
        r#",{{"path":"/opt/a \"b","args":{}}}"#,
        json::array(merge_marker::args().iter().map(|arg| json::string(arg)))
    );
    assert!(marked.contains(&hook), "{marked}");
    let values = |json: &str| serde_json::from_str::<serde_json::Value>(&json.replace("1e400", "1")).unwrap();
    assert_eq!(values(&marked.replace(&hook, "")), values(&before));

    assert_eq!(resolve(marked.as_bytes(), &[]), Err(SpecError::NoGate));
    assert_eq!(refuse(marked.as_bytes(), "why"), Err(SpecError::NoGate));
    // Another instance may see it otherwise.
    let shut = text(super::shut(marked.as_bytes(), "/opt/x", &pending()).unwrap());
    let view = read(text(resolve(shut.as_bytes(), &[]).unwrap().json).as_bytes()).unwrap();
    assert!(view.seen_as_merge);
    assert!(matches!(&view.gates[..], [Gate { state: State::Resolved { .. }, .. }]));
}

fn knows(declared: &[u32]) -> Gate {
    gate(State::Pending { declared: Some(declared.to_vec()) })
}

/// The example pod's user, with these supplementary groups.
fn user(groups: &[u32]) -> String {
    format!(r#"{{"uid":1000,"gid":3000,"additionalGids":{}}}"#, json::array(groups))
}

#[test]
fn spec_that_its_gate_lets_pass_stays_as_it_is() {
    for (groups, gates) in [
        (&[3000, 4000][..], &[knows(&[4000])][..]),
        (&[3000, 3000], &[knows(&[4000, 5000])]),
        (&[3000], &[knows(&[])]),
        (&[3000, 4000], &[knows(&[4000]), resolved(&[3000, 4000], &[])]),
    ] {
        let before = spec(&user(groups), gates);
        let resolution = resolve_if_needed(before.as_bytes(), &[4000]).unwrap();
        assert_eq!((resolution.json, resolution.removed), (None, vec![]), "{before}");
    }
}

#[test]
fn spec_that_its_gate_refuses_is_resolved() {
    for (groups, gates) in [
        // The gate does not know, or knows less than the container's own record.
        (&[3000, 4000][..], &[pending()][..]),
        (&[3000, 4000], &[knows(&[])]),
        (&[3000, 4000], &[knows(&[4000]), pending()]),
        // What the gate allows, the record does not.
        (&[3000, 4000, 50000], &[knows(&[4000, 50000])]),
        // The primary group is missing (CVE-2023-25173).
        (&[4000], &[knows(&[4000])]),
        (&[], &[knows(&[])]),
    ] {
        let before = spec(&user(groups), gates);
        let lazy = resolve_if_needed(before.as_bytes(), &[4000]).unwrap();
        assert!(lazy.json.is_some(), "{before}");
        assert_eq!(Ok(lazy), resolve(before.as_bytes(), &[4000]), "{before}");
    }
    assert_eq!(resolve_if_needed(spec(USER, &[]).as_bytes(), &[]), Err(SpecError::NoGate));
}

#[test]
fn groups_that_were_removed_earlier_are_told() {
    let before = spec(USER, &[resolved(&[3000, 4000], &[7, 8]), resolved(&[3000, 4000], &[8, 9])]);
    let resolution = resolve(before.as_bytes(), &[4000]).unwrap();
    assert_eq!((resolution.removed, resolution.removed_before), (vec![50000], vec![7, 8, 9]));
}

#[test]
fn mending_needs_no_gate() {
    let before = spec(USER, &[]);
    let mended = mend(before.as_bytes(), &[4000]).unwrap();
    assert_eq!((&mended.groups[..], &mended.removed[..]), (&[3000, 4000][..], &[50000][..]));
    let after = text(mended.json);
    assert_eq!(read(after.as_bytes()).unwrap().user.additional_gids, [3000, 4000]);
    assert_eq!(mend(after.as_bytes(), &[4000]).unwrap().json, None);
}

#[test]
fn mending_leaves_a_spec_without_excess() {
    for gates in [&[][..], &[pending()], &[knows(&[])], &[refused("why")], &[resolved(&[3000, 4000], &[])]] {
        let before = spec(&user(&[3000, 4000]), gates);
        assert_eq!(mend(before.as_bytes(), &[4000]).unwrap().json, None, "{before}");
    }
    // Without its primary group it is mended, whatever else there is.
    assert!(mend(spec(&user(&[]), &[]).as_bytes(), &[]).unwrap().json.is_some());
}

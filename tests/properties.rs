//! What must hold for every spec, whatever else stands in it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;
use strict_groups_core::gate::{Gate, State};
use strict_groups_core::spec::{self, SpecError};
use strict_groups_core::{declared, groups};

const FIXTURES: [&str; 2] = [
    include_str!("fixtures/containerd-1.7.24/config.json"),
    include_str!("fixtures/crio-1.30.14/config.container.json"),
];

type Members = BTreeMap<String, String>;

/// Raw JSON that a parser into numbers and maps would not give back as it was.
fn raw_value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("1e400".to_owned()),
        Just("123456789012345678901234567890".to_owned()),
        Just("-0.0".to_owned()),
        Just("1.50".to_owned()),
        Just("null".to_owned()),
        Just(r#""\u0041\/\ud83d\ude00""#.to_owned()),
        Just(r#"{"b":1,"a":2,"a":3,"A":4}"#.to_owned()),
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|items| format!("[ {} ]", items.join(" , "))),
            vec(("[a-c]", inner), 0..4).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(key, value)| format!("\"{key}\" :\t{value}")).collect();
                format!("{{{}\n}}", members.join(","))
            }),
        ]
    })
}

/// Members that no version of the spec knows. Keys differ also without regard to case.
fn extra() -> impl Strategy<Value = Members> {
    btree_map(prop_oneof!["x-[a-z]{0,4}", "x/\"[0-9é\\\\\n]{0,3}"], raw_value(), 0..3)
}

fn object(extra: &Members, own: &[(&str, String)], own_first: bool) -> String {
    let extra = extra.iter().map(|(key, value)| format!("{} : {value}", serde_json::to_string(key).unwrap()));
    let own = own.iter().map(|(key, value)| format!("\"{key}\":{value}"));
    let members: Vec<String> =
        if own_first { own.chain(extra).collect() } else { extra.chain(own).collect() };
    format!("{{ {} }}", members.join(" ,"))
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        3 => proptest::option::of(vec(0..12_u32, 0..6)).prop_map(|declared| State::Pending { declared }),
        1 => (vec(0..12_u32, 0..6), vec(0..12_u32, 0..3))
            .prop_map(|(groups, removed)| State::Resolved { groups, removed }),
        1 => Just(State::Refused { reason: "why".into() }),
    ]
}

/// A spec and everything in it that has to survive.
#[derive(Debug, Clone)]
struct Spec {
    gid: u32,
    made: Vec<u32>,
    gates: Vec<Gate>,
    extra: [Members; 5],
    json: String,
}

fn any_spec(gates: std::ops::Range<usize>) -> impl Strategy<Value = Spec> {
    (
        0..12_u32,
        vec(0..12_u32, 0..8),
        vec(state(), gates),
        [extra(), extra(), extra(), extra(), extra()],
        any::<bool>(),
    )
        .prop_map(|(gid, made, states, extra, own_first)| {
            let gates: Vec<Gate> = states
                .into_iter()
                .map(|state| Gate { pod: "default/web".into(), container: "app".into(), state })
                .collect();
            let [in_root, in_process, in_user, in_hooks, in_hook] = &extra;
            let list = |groups: &[u32]| serde_json::to_string(groups).unwrap();
            let user = object(
                in_user,
                &[("uid", "1".into()), ("gid", gid.to_string()), ("additionalGids", list(&made))],
                own_first,
            );
            let hooks: Vec<String> = gates
                .iter()
                .map(|gate| {
                    object(in_hook, &[("args", serde_json::to_string(&gate.args()).unwrap())], own_first)
                })
                .collect();
            let process = object(in_process, &[("user", user)], own_first);
            let hooks = object(in_hooks, &[("createRuntime", format!("[{}]", hooks.join(",")))], own_first);
            let json = object(in_root, &[("process", process), ("hooks", hooks)], own_first);
            Spec { gid, made, gates, extra, json }
        })
}

fn members(json: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(json).unwrap()
}

/// The members of `json` that are not ours, as they are written.
fn strangers(json: &str) -> Members {
    let own = ["process", "user", "uid", "gid", "additionalGids", "hooks", "createRuntime", "args"];
    members(json)
        .into_iter()
        .filter(|(key, _)| !own.contains(&key.as_str()))
        .map(|(key, value)| (key, value.get().to_owned()))
        .collect()
}

/// Checks that everything that is not ours is in `json` byte for byte.
fn assert_survived(spec: &Spec, json: &str) {
    let root = members(json);
    let process = members(root["process"].get());
    let hooks = members(root["hooks"].get());
    let list: Vec<Box<RawValue>> = serde_json::from_str(hooks["createRuntime"].get()).unwrap();
    assert_eq!(strangers(json), spec.extra[0]);
    assert_eq!(strangers(root["process"].get()), spec.extra[1]);
    assert_eq!(strangers(process["user"].get()), spec.extra[2]);
    assert_eq!(strangers(root["hooks"].get()), spec.extra[3]);
    assert_eq!(list.len(), spec.gates.len());
    for hook in &list {
        assert_eq!(strangers(hook.get()), spec.extra[4]);
    }
}

/// A fixture as a runtime would have left it after our adjustment.
fn decided(fixture: &str) -> String {
    let gate =
        Gate { pod: "default/web".into(), container: "app".into(), state: State::Pending { declared: None } };
    let mut value: Value = serde_json::from_str(fixture).unwrap();
    let hook = serde_json::json!({"path": "/usr/bin/strict-groups", "args": gate.args()});
    value["hooks"]["createRuntime"].as_array_mut().unwrap().push(hook);
    value.to_string()
}

#[test]
fn nothing_else_in_a_real_spec_changes() {
    for fixture in FIXTURES {
        let before = decided(fixture);
        let resolution = spec::resolve(before.as_bytes(), &[]).unwrap();
        let mut after: Value = serde_json::from_slice(&resolution.json.unwrap()).unwrap();
        assert_eq!(after["process"]["user"]["additionalGids"], serde_json::json!([3000]));

        let before: Value = serde_json::from_str(&before).unwrap();
        after["process"]["user"]["additionalGids"] = before["process"]["user"]["additionalGids"].clone();
        after["hooks"]["createRuntime"][1]["args"] = before["hooks"]["createRuntime"][1]["args"].clone();
        assert_eq!(after, before);
    }
}

proptest! {
    #[test]
    fn resolve_only_removes(spec in any_spec(1..4), declared in vec(0..12_u32, 0..8)) {
        let resolution = spec::resolve(spec.json.as_bytes(), &declared).unwrap();
        let json = resolution.json.map_or_else(|| spec.json.clone(), |json| String::from_utf8(json).unwrap());
        let view = spec::read(json.as_bytes()).unwrap();

        prop_assert_eq!(&view.user.additional_gids, &resolution.groups);
        prop_assert_eq!(view.user.gid, spec.gid);
        prop_assert!(resolution.groups.contains(&spec.gid));
        for group in &resolution.groups {
            let allowed = spec.gates.iter().all(|gate| match &gate.state {
                State::Resolved { groups, .. } => groups.contains(group),
                State::Pending { .. } | State::Refused { .. } => true,
            });
            prop_assert!(
                *group == spec.gid || (spec.made.contains(group) && declared.contains(group) && allowed)
            );
        }
        prop_assert_eq!(&resolution.removed, &groups::strict(spec.gid, &spec.made, &resolution.groups).removed);

        // Every gate now says the same as the process, or refuses.
        for (gate, before) in view.gates.iter().zip(&spec.gates) {
            prop_assert_eq!(gate.verify(&view.user).is_err(), matches!(before.state, State::Refused { .. }));
        }
        assert_survived(&spec, &json);

        let again = spec::resolve(json.as_bytes(), &declared).unwrap();
        prop_assert_eq!((again.json, again.groups, again.removed), (None, resolution.groups, vec![]));
    }

    #[test]
    fn refuse_touches_pending_gates_only(spec in any_spec(1..4), reason: String) {
        let json = spec::refuse(spec.json.as_bytes(), &reason).unwrap();
        let any_pending = spec.gates.iter().any(|gate| matches!(gate.state, State::Pending { .. }));
        prop_assert_eq!(json.is_some(), any_pending);
        if let Some(json) = json {
            let json = String::from_utf8(json).unwrap();
            assert_survived(&spec, &json);
            let view = spec::read(json.as_bytes()).unwrap();
            prop_assert_eq!(&view.user.additional_gids, &spec.made);
            for (gate, before) in view.gates.iter().zip(&spec.gates) {
                if matches!(before.state, State::Pending { .. }) {
                    let refused = matches!(gate.state, State::Refused { .. });
                    prop_assert!(refused, "{:?}", gate);
                } else {
                    prop_assert_eq!(gate, before);
                }
            }
            prop_assert_eq!(spec::refuse(json.as_bytes(), &reason), Ok(None));
        }
    }

    #[test]
    fn without_a_gate_nothing_happens(spec in any_spec(0..1), declared: Vec<u32>) {
        prop_assert_eq!(spec::resolve(spec.json.as_bytes(), &declared), Err(SpecError::NoGate));
        prop_assert_eq!(spec::refuse(spec.json.as_bytes(), ""), Err(SpecError::NoGate));
    }

    #[test]
    fn damaged_specs_get_an_answer(fixture in 0..2_usize, at: prop::sample::Index, with in vec(any::<u8>(), 0..3), cut: bool) {
        let mut json = decided(FIXTURES[fixture]).into_bytes();
        let at = at.index(json.len());
        if cut {
            json.truncate(at);
        } else {
            json.splice(at..=at, with);
        }
        parse_all(&json);
    }

    #[test]
    fn any_bytes_get_an_answer(bytes: Vec<u8>, text in "[\\[\\]{}\",:0-9a\\\\u]{0,40}") {
        parse_all(&bytes);
        parse_all(text.as_bytes());
    }
}

/// Gives `bytes` to every parser. What comes out must still hold: errors are one line, and a spec
/// that was resolved is one that can be read and has no group more than before.
fn parse_all(bytes: &[u8]) {
    if let Err(error) = spec::read(bytes) {
        assert!(!error.to_string().contains(char::is_control));
    }
    if let Ok(resolution) = spec::resolve(bytes, &[4000])
        && let Some(json) = resolution.json
    {
        let user = spec::read(&json).map(|view| view.user);
        // The annotations are the one thing that only `read` looks at.
        if let Ok(user) = user {
            let before = resolution.user;
            let known = |group: &u32| *group == before.gid || before.additional_gids.contains(group);
            assert!(user.additional_gids.iter().all(known));
        }
    }
    if let Ok(Some(json)) = spec::refuse(bytes, "why") {
        assert_eq!(spec::refuse(&json, "why"), Ok(None));
    }
    let _ = declared::from_extension(declared::TYPE_URL, bytes);
    let _ = groups::names(bytes, &[0, 1]);
}

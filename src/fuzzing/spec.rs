//! config.json to edited config.json.

use serde_json::value::RawValue;

use super::readers::{agree, members};
use super::{numbers, split};
use strict_groups_core::fuzzing::presentable;
use strict_groups_core::{
    gate::{Gate, State},
    spec,
};

/// Every edit of a spec parses, keeps what is not ours byte for byte, and does nothing the second time. No edit gives
/// a process a group that it did not have, but its primary one; all readers of the result agree on the groups.
///
/// The first line has the declared groups with commas between them, the rest is config.json.
pub(super) fn spec(data: &[u8]) {
    let (declared, json) = split(data, b'\n');
    let declared = numbers(declared);
    let before = spec::read(json);
    if let Err(error) = &before {
        presentable(error);
    }
    resolve(json, &declared, before.ok().as_ref());
    refuse(json);
    shut(json);
}

fn resolve(json: &[u8], declared: &[u32], before: Option<&spec::View>) {
    let resolution = match spec::resolve(json, declared) {
        Ok(resolution) => resolution,
        Err(error) => return presentable(&error),
    };
    let spec::Resolution { user, groups, removed, .. } = &resolution;
    let after = resolution.json.as_deref().unwrap_or(json);

    assert!(groups.contains(&user.gid));
    let allowed = |group: &u32| {
        *group == user.gid || (declared.contains(group) && user.additional_gids.contains(group))
    };
    assert!(groups.iter().all(allowed));
    assert!(removed.iter().all(|group| user.additional_gids.contains(group) && !groups.contains(group)));
    assert!(user.additional_gids.iter().all(|group| groups.contains(group) || removed.contains(group)));

    kept(json, after, true);
    agree(std::str::from_utf8(after).unwrap(), user.gid, groups);
    let again = spec::resolve(after, declared).unwrap();
    assert_eq!((&again.json, &again.groups, &*again.removed), (&None, groups, &[][..]));

    // Only the annotations can make `read` refuse what was resolved.
    if let Some(before) = before {
        let view = spec::read(after).unwrap();
        assert_eq!((view.user.gid, &view.user.additional_gids), (user.gid, groups));
        assert_eq!(view.gates.len(), before.gates.len());
        assert_eq!(view.keeps_original_groups, before.keeps_original_groups);
        for gate in &view.gates {
            let refused = matches!(gate.state, State::Refused { .. });
            assert_eq!(gate.verify(&view.user).is_err(), refused, "{gate:?}");
        }
    }
}

fn refuse(json: &[u8]) {
    match spec::refuse(json, "why\nnot") {
        Ok(Some(after)) => {
            kept(json, &after, false);
            assert_eq!(spec::refuse(&after, "why"), Ok(None));
        }
        Ok(None) => {}
        Err(error) => presentable(&error),
    }
}

fn shut(json: &[u8]) {
    let gate =
        Gate { pod: "default/web".into(), container: "app".into(), state: State::Pending { declared: None } };
    match spec::shut(json, "/usr/bin/strict-groups", &gate) {
        Ok(Some(after)) => {
            kept(json, &after, false);
            assert_eq!(spec::shut(&after, "/usr/bin/strict-groups", &gate), Ok(None));
            if let Ok(view) = spec::read(&after) {
                assert_eq!(view.gates, [gate]);
            }
        }
        Ok(None) => {}
        Err(error) => presentable(&error),
    }
}

/// The values of all members but `ours`, as they stand, by their keys.
fn strangers<'a>(json: Option<&'a str>, ours: &[&str]) -> Vec<(String, &'a str)> {
    let all = json.and_then(members).map_or_else(Vec::new, |members| members.0);
    all.into_iter()
        .filter(|(key, _)| !ours.contains(&key.as_str()))
        .map(|(key, raw)| (key, raw.get()))
        .collect()
}

fn member<'a>(json: Option<&'a str>, name: &str) -> Option<&'a str> {
    let found = members(json?)?.0.into_iter().find(|(key, _)| key == name);
    found.map(|(_, raw)| raw.get()).filter(|raw| *raw != "null")
}

/// Asserts that everything that is not ours stands in `after` as it stood in `before`; without `user`, all of the
/// process does.
fn kept(before: &[u8], after: &[u8], user: bool) {
    let both = [before, after].map(|json| Some(std::str::from_utf8(json).unwrap()));
    let same = |both: [Option<&str>; 2], ours: &[&str]| {
        let [before, after] = both.map(|json| strangers(json, ours));
        assert_eq!(before, after);
    };
    let process = both.map(|json| member(json, "process"));
    if user {
        same(both, &["process", "hooks"]);
        same(process, &["user"]);
        let user = process.map(|json| member(json, "user"));
        // A process without a user gets a whole one.
        same(user, if user[0].is_some() { &["additionalGids"] } else { &["uid", "gid", "additionalGids"] });
    } else {
        same(both, &["hooks"]);
    }

    let hooks = both.map(|json| member(json, "hooks"));
    same(hooks, &["createRuntime"]);
    let [before, after] = hooks.map(|json| {
        let list = member(json, "createRuntime");
        list.map_or_else(Vec::new, |raw| serde_json::from_str::<Vec<&RawValue>>(raw).unwrap())
    });
    for (before, after) in before.iter().zip(&after) {
        let args = member(Some(before.get()), "args")
            .map_or_else(Vec::new, |raw| serde_json::from_str::<Vec<String>>(raw).unwrap());
        if Gate::parse(&args).unwrap().is_some() {
            same([Some(before.get()), Some(after.get())], &["args"]);
        } else {
            assert_eq!(before.get(), after.get());
        }
    }
    // A gate may come to the end; no hook goes.
    assert!((before.len()..=before.len() + 1).contains(&after.len()));
}

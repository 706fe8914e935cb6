use proptest::prelude::*;

use super::*;
use crate::policy::{ANNOTATION, Source};

const STRICT: Setting = Setting { policy: Policy::Strict, pods_may_override: false };

/// A configuration as it is written.
fn node(text: &str) -> NodePolicy {
    let config = crate::config::Config::parse(text, std::path::Path::new("/x")).unwrap();
    config.node_policy()
}

fn map(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

const RULES: &str = r#"
default_policy = "Strict"
[[rule]]
namespaces = ["team-a"]
labels = { app = "legacy" }
policy = "Merge"
[[rule]]
namespaces = ["team-*"]
policy = "Strict"
pods_may_override = true
[[rule]]
namespaces = ["team-b", "open"]
policy = "Merge"
"#;

#[test]
fn the_first_rule_for_a_pod_speaks() {
    let node = node(RULES);
    let applied = |namespace: &str, pairs: &[(&str, &str)]| {
        let Applied { setting, rule } = node.applied(namespace, &map(pairs));
        (setting.policy, setting.pods_may_override, rule)
    };
    assert_eq!(applied("team-a", &[("app", "legacy")]), (Policy::Merge, false, Some(1)));
    assert_eq!(applied("team-a", &[("app", "web")]), (Policy::Strict, true, Some(2)));
    assert_eq!(applied("team-b", &[("app", "legacy")]), (Policy::Strict, true, Some(2)), "not the third one");
    assert_eq!(applied("open", &[]), (Policy::Merge, false, Some(3)));
    assert_eq!(applied("default", &[]), (Policy::Strict, false, None));
}

#[test]
fn in_audit_nothing_of_the_configuration_counts() {
    let node = node(&format!("mode = \"audit\"{RULES}"));
    assert_eq!(node.applied("default", &Labels::new()).setting, STRICT);
    assert_eq!(node.setting("default", &Labels::new()), Setting::default());
    let blind = |annotations: &[(&str, &str)]| node.decide_blind(&map(annotations), "app", Some("default"));
    let decided = |policy, source| Blind::Decided(Ok(Decision { policy, source }));
    assert_eq!(blind(&[]), decided(Policy::Merge, Source::Node));
    assert_eq!(blind(&[(ANNOTATION, "Merge")]), decided(Policy::Merge, Source::Annotation));
    assert_eq!(blind(&[(ANNOTATION, "Strict")]), decided(Policy::Strict, Source::Annotation));
    assert!(matches!(blind(&[(ANNOTATION, "strict")]), Blind::Decided(Err(_))));
}

#[test]
fn blind_is_only_who_needs_to_see() {
    let node = node(RULES);
    let blind = |namespace, value: Option<&str>| {
        let annotations: Vec<_> = value.iter().map(|value| (ANNOTATION, *value)).collect();
        node.decide_blind(&map(&annotations), "app", namespace)
    };
    let decided = |policy, source| Blind::Decided(Ok(Decision { policy, source }));
    assert_eq!(blind(Some("default"), None), decided(Policy::Strict, Source::Node));
    assert_eq!(blind(Some("open"), None), decided(Policy::Merge, Source::Node));
    assert_eq!(blind(Some("team-b"), None), decided(Policy::Strict, Source::Node));
    assert_eq!(blind(Some("team-a"), None), Blind::HangsOnLabels);
    assert_eq!(blind(None, None), Blind::HangsOnLabels);
    for namespace in [Some("default"), Some("open"), Some("team-a"), None] {
        assert_eq!(blind(namespace, Some("Strict")), decided(Policy::Strict, Source::Annotation));
        assert!(matches!(blind(namespace, Some("strict")), Blind::Decided(Err(_))));
    }
    // Both rules allow it.
    assert_eq!(blind(Some("team-a"), Some("Merge")), decided(Policy::Merge, Source::Annotation));
    assert!(matches!(blind(Some("default"), Some("Merge")), Blind::Decided(Err(_))));
}

fn rule() -> impl Strategy<Value = String> {
    let namespaces =
        prop_oneof![Just(""), Just("namespaces = [\"a\"]"), Just("namespaces = [\"a*\", \"b\"]")];
    let labels = prop_oneof![Just("labels = { x = \"1\" }"), Just("labels = { x = \"*\", y = \"2\" }")];
    (namespaces, labels, any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(namespaces, labels, without, strict, pods_may_override)| {
            let labels = if without && !namespaces.is_empty() { "" } else { labels };
            let policy = if strict { "Strict" } else { "Merge" };
            format!(
                "[[rule]]\n{namespaces}\n{labels}\npolicy = \"{policy}\"\npods_may_override = {pods_may_override}\n"
            )
        },
    )
}

proptest! {
    /// Who is blind never takes for Merge what somebody who sees takes for Strict, and the other way round.
    #[test]
    fn the_blind_never_contradict_those_who_see(
        rules in proptest::collection::vec(rule(), 0..5),
        audit: bool,
        strict: bool,
        namespace in prop_oneof![Just("a"), Just("ab"), Just("b"), Just("c")],
        known: bool,
        pairs in proptest::collection::vec((prop_oneof![Just("x"), Just("y")], prop_oneof![Just("1"), Just("2")]), 0..3),
        value in prop_oneof![Just(None), Just(Some("Strict")), Just(Some("Merge")), Just(Some("merge"))],
    ) {
        let (mode, policy) = (if audit { "audit" } else { "enforce" }, if strict { "Strict" } else { "Merge" });
        let node = node(&format!("mode = \"{mode}\"\ndefault_policy = \"{policy}\"\n{}", rules.concat()));
        let annotations = map(&value.iter().map(|value| (ANNOTATION, *value)).collect::<Vec<_>>());
        let sees = decide(&annotations, "app", &node.setting(namespace, &map(&pairs)));
        match node.decide_blind(&annotations, "app", known.then_some(namespace)) {
            Blind::Decided(Ok(decision)) if decision.policy == Policy::Merge => prop_assert_eq!(sees, Ok(decision)),
            Blind::Decided(_) => {
                prop_assert!(!matches!(sees, Ok(Decision { policy: Policy::Merge, .. })), "{:?}", sees);
            }
            Blind::HangsOnLabels => {
                let unknown = |rule: &Rule| rule.matches(Some(namespace), None) == Match::Unknown;
                prop_assert!(!known || node.rules.iter().any(unknown));
            }
        }
    }
}

use proptest::prelude::*;

use super::*;
use crate::policy::ANNOTATION;

/// The part of a node's configuration that says what holds for pods.
#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    mode: Mode,
    default_policy: Policy,
    pods_may_override: bool,
    rule: Vec<Rule>,
}

fn node(text: &str) -> NodePolicy {
    let Written { mode, default_policy, pods_may_override, rule } = toml::from_str(text).unwrap();
    NodePolicy { mode, rules: rule, default: Setting { policy: default_policy, pods_may_override } }
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

/// What the node decides for the container `app`.
fn decided(
    node: &NodePolicy,
    annotations: &[(&str, &str)],
    namespace: Option<&str>,
    labels: Option<&[(&str, &str)]>,
) -> Result<Decision, PolicyError> {
    let (annotations, labels) = (map(annotations), labels.map(map));
    let labels = labels.as_ref();
    node.decide(&Facts { annotations: &annotations, container: "app", namespace, labels, field: None })
}

#[allow(clippy::unnecessary_wraps, reason = "stands beside what decide gives")]
fn is(policy: Policy, origin: Origin) -> Result<Decision, PolicyError> {
    Ok(Decision { policy, origin })
}

#[test]
fn first_rule_for_a_pod_speaks() {
    let node = node(RULES);
    let says = |namespace: &str, pairs: &[(&str, &str)]| decided(&node, &[], Some(namespace), Some(pairs));
    let merge = |namespace: &str, pairs: &[(&str, &str)]| {
        decided(&node, &[(ANNOTATION, "Merge")], Some(namespace), Some(pairs)).is_ok()
    };
    assert_eq!(says("team-a", &[("app", "legacy")]), is(Policy::Merge, Origin::Rule(1)));
    assert_eq!(says("team-a", &[("app", "web")]), is(Policy::Strict, Origin::Rule(2)));
    assert_eq!(
        says("team-b", &[("app", "legacy")]),
        is(Policy::Strict, Origin::Rule(2)),
        "not the third one"
    );
    assert_eq!(says("open", &[]), is(Policy::Merge, Origin::Rule(3)));
    assert_eq!(says("default", &[]), is(Policy::Strict, Origin::Default));
    assert!(merge("team-a", &[]) && merge("team-b", &[]) && !merge("default", &[]), "pods_may_override");
}

#[test]
fn in_audit_nothing_of_the_configuration_counts() {
    let node = node(&format!("mode = \"audit\"{RULES}"));
    let empty = Labels::new();
    let annotations = &empty;
    let facts = Facts {
        annotations,
        container: "app",
        namespace: Some("default"),
        labels: Some(&empty),
        field: None,
    };
    assert_eq!(node.decide_in(Mode::Enforce, &facts), is(Policy::Strict, Origin::Default));
    for labels in [None, Some(&[][..])] {
        let says = |annotations: &[(&str, &str)]| decided(&node, annotations, Some("default"), labels);
        assert_eq!(says(&[]), is(Policy::Merge, Origin::Default));
        assert_eq!(says(&[(ANNOTATION, "Merge")]), is(Policy::Merge, Origin::Annotation));
        assert_eq!(says(&[(ANNOTATION, "Strict")]), is(Policy::Strict, Origin::Annotation));
        assert!(says(&[(ANNOTATION, "strict")]).is_err());
    }
}

#[test]
fn without_labels_only_who_needs_them_is_undecided() {
    let node = node(RULES);
    let says = |namespace, value: Option<&str>| {
        let annotations: Vec<_> = value.iter().map(|value| (ANNOTATION, *value)).collect();
        decided(&node, &annotations, namespace, None)
    };
    assert_eq!(says(Some("default"), None), is(Policy::Strict, Origin::Default));
    assert_eq!(says(Some("open"), None), is(Policy::Merge, Origin::Rule(3)));
    assert_eq!(says(Some("team-b"), None), is(Policy::Strict, Origin::Rule(2)));
    assert_eq!(says(Some("team-a"), None), Err(PolicyError::DependsOnLabels));
    assert_eq!(says(None, None), Err(PolicyError::DependsOnLabels));
    for namespace in [Some("default"), Some("open"), Some("team-a"), None] {
        assert_eq!(says(namespace, Some("Strict")), is(Policy::Strict, Origin::Annotation));
        assert!(matches!(says(namespace, Some("strict")), Err(PolicyError::BadValue { .. })));
    }
    // Both rules allow it.
    assert_eq!(says(Some("team-a"), Some("Merge")), is(Policy::Merge, Origin::Annotation));
    assert!(matches!(says(Some("default"), Some("Merge")), Err(PolicyError::MergeForbidden { .. })));
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
    fn blind_never_contradict_those_who_see(
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
        let labels = map(&pairs);
        let facts = Facts {
            annotations: &annotations,
            container: "app",
            namespace: Some(namespace),
            labels: Some(&labels),
            field: None,
        };
        let sees = node.decide(&facts);
        match node.decide(&Facts { namespace: known.then_some(namespace), labels: None, ..facts }) {
            Ok(decision) if decision.policy == Policy::Merge => {
                prop_assert!(matches!(sees, Ok(Decision { policy: Policy::Merge, .. })), "{:?}", sees);
            }
            Err(PolicyError::DependsOnLabels) => {
                let unknown = |rule: &Rule| rule.matches(Some(namespace), None) == Match::Unknown;
                prop_assert!(!known || node.rules.iter().any(unknown));
            }
            _ => prop_assert!(!matches!(sees, Ok(Decision { policy: Policy::Merge, .. })), "{:?}", sees),
        }
    }
}

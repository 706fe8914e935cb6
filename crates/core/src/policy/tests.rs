use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const STRICT_NODE: Setting = Setting { policy: Policy::Strict, pods_may_override: false };

/// Annotations in the order in which they are given.
#[derive(Clone, Copy)]
struct Pairs<'a>(&'a [(String, String)]);

impl<'a> IntoIterator for Pairs<'a> {
    type Item = (&'a String, &'a String);
    type IntoIter =
        std::iter::Map<std::slice::Iter<'a, (String, String)>, fn(&'a (String, String)) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

/// What a node with this default decides.
fn decide<K: AsRef<str>, V: AsRef<str>>(
    annotations: impl IntoIterator<Item = (K, V)>,
    container: &str,
    node: Setting,
) -> Result<Decision, PolicyError> {
    with_field(annotations, container, node, None)
}

/// The same where the pod's field is known.
fn with_field<K: AsRef<str>, V: AsRef<str>>(
    annotations: impl IntoIterator<Item = (K, V)>,
    container: &str,
    node: Setting,
    field: Option<&str>,
) -> Result<Decision, PolicyError> {
    let pairs: Vec<(String, String)> = annotations
        .into_iter()
        .map(|(key, value)| (key.as_ref().to_owned(), value.as_ref().to_owned()))
        .collect();
    let labels = Labels::new();
    let annotations = Pairs(&pairs);
    let facts = Facts { annotations, container, namespace: Some("default"), labels: Some(&labels), field };
    NodePolicy { default: node, ..NodePolicy::default() }.decide(&facts)
}

fn key(form: &str) -> String {
    format!("{ANNOTATION}{form}")
}

/// Decides for the container `app` of a pod whose annotations are ours with these endings.
fn decided(annotations: &[(&str, &str)], node: Setting) -> Result<Decision, PolicyError> {
    let annotations: HashMap<String, String> =
        annotations.iter().map(|(form, value)| (key(form), (*value).to_owned())).collect();
    decide(&annotations, "app", node)
}

fn merge_node(annotations: &[(&str, &str)]) -> Result<Decision, PolicyError> {
    decided(annotations, Setting::default())
}

#[allow(clippy::unnecessary_wraps, reason = "stands beside what decide gives")]
fn is(policy: Policy, origin: Origin) -> Result<Decision, PolicyError> {
    Ok(Decision { policy, origin })
}

#[test]
fn no_annotation_is_the_nodes_business() {
    assert_eq!(merge_node(&[]), is(Policy::Merge, Origin::Default));
    assert_eq!(decided(&[], STRICT_NODE), is(Policy::Strict, Origin::Default));
    let foreign = [("a", "Strict"), ("supplemental-groups-policy.noderesource", "Strict"), ("", "")];
    assert_eq!(
        decide(foreign.map(|(k, v)| (k, v)), "app", Setting::default()),
        is(Policy::Merge, Origin::Default)
    );
    assert_eq!(merge_node(&[(".example.com", "Strict"), ("-2", "?")]), is(Policy::Merge, Origin::Default));
}

#[test]
fn every_form_works() {
    assert_eq!(merge_node(&[("", "Strict")]), is(Policy::Strict, Origin::Annotation));
    assert_eq!(merge_node(&[("/pod", "Strict")]), is(Policy::Strict, Origin::PodAnnotation));
    assert_eq!(merge_node(&[("/container.app", "Strict")]), is(Policy::Strict, Origin::ContainerAnnotation));
    assert_eq!(merge_node(&[("", "Merge")]), is(Policy::Merge, Origin::Annotation));
}

#[test]
fn more_specific_one_wins() {
    let all = [("/container.app", "Strict"), ("/pod", "Merge"), ("", "Strict")];
    assert_eq!(merge_node(&all), is(Policy::Strict, Origin::ContainerAnnotation));
    assert_eq!(merge_node(&all[1..]), is(Policy::Merge, Origin::PodAnnotation));
    assert_eq!(merge_node(&all[2..]), is(Policy::Strict, Origin::Annotation));
    assert_eq!(
        merge_node(&[("/container.app", "Merge"), ("/pod", "Strict")]),
        is(Policy::Merge, Origin::ContainerAnnotation)
    );
}

#[test]
fn other_containers_are_not_looked_at() {
    let others = [("/container.other", "strict"), ("/container.app2", ""), ("/container.appX", "x")];
    assert_eq!(merge_node(&others), is(Policy::Merge, Origin::Default));
}

#[test]
fn name_with_the_separators_in_it_is_only_that_name() {
    let annotations = [(key("/container.a/pod"), "Strict"), (key("/container.a.b"), "Strict")];
    let pairs = || annotations.iter().map(|(k, v)| (k, v));
    assert_eq!(decide(pairs(), "a", Setting::default()), is(Policy::Merge, Origin::Default));
    assert_eq!(decide(pairs(), "a.b", Setting::default()), is(Policy::Strict, Origin::ContainerAnnotation));
}

#[test]
fn only_the_two_values_are_legal() {
    for value in ["", " ", "strict", "STRICT", "Strict ", " Strict", "Strict\n", "merge", "true", "Ｓtrict"]
    {
        for form in ["", "/pod", "/container.app"] {
            let error = merge_node(&[(form, value)]).unwrap_err();
            let PolicyError::BadValue { key: ref bad, .. } = error else { panic!("{error:?}") };
            assert_eq!(bad, &key(form));
        }
    }
}

#[test]
fn overruled_annotation_is_checked_too() {
    let error = merge_node(&[("/container.app", "Strict"), ("", "strict")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "annotation supplemental-groups-policy.noderesource.dev has the value \"strict\"; write Strict or Merge"
    );
}

#[test]
fn bad_values_are_shown_short_and_harmless() {
    let error = merge_node(&[("/pod", &"S".repeat(100_000))]).unwrap_err();
    let shown = format!("\"{}…\" (cut, 100000 bytes in full)", "S".repeat(32));
    assert_eq!(
        error.to_string(),
        format!("annotation {ANNOTATION}/pod has the value {shown}; write Strict or Merge")
    );

    let error = merge_node(&[("", "Strict\n\u{1b}[2JMerge\u{202e}")]).unwrap_err().to_string();
    assert!(error.contains(r#""Strict\n\u{1b}[2JMerge\u{202e}""#), "{error}");
    assert!(!error.contains(char::is_control));
}

#[test]
fn misspelled_keys_are_refused() {
    for form in
        ["/Pod", "/pods", "/", "/container", "/container.", "/containers.app", "/app", "/pod/", "//pod"]
    {
        let error = merge_node(&[(form, "Strict")]).unwrap_err();
        assert_eq!(error, PolicyError::UnknownKey { key: key(form) });
    }
    assert_eq!(
        merge_node(&[("/Pod", "Strict"), ("/pod", "Strict")]).unwrap_err().to_string(),
        "annotation key \"supplemental-groups-policy.noderesource.dev/Pod\" is not understood; \
         write supplemental-groups-policy.noderesource.dev, supplemental-groups-policy.noderesource.dev/pod \
         or supplemental-groups-policy.noderesource.dev/container.<name>"
    );
}

#[test]
fn key_in_another_case_is_refused() {
    let upper = "Supplemental-Groups-Policy.NodeResource.dev";
    for form in ["", "/pod", "/container.app", "/container.other"] {
        let wrong = format!("{upper}{form}");
        for value in ["Strict", "Merge", "x"] {
            let error = decide([(&*wrong, value)], "app", Setting::default()).unwrap_err();
            assert_eq!(error, PolicyError::UnknownKey { key: wrong.clone() });
        }
    }
    let dotted = "supplemental-groups-pol\u{130}cy.noderesource.dev/pod";
    let error = decide([(dotted, "Strict")], "app", Setting::default()).unwrap_err();
    assert_eq!(error, PolicyError::UnknownKey { key: dotted.to_owned() });
    for form in ["/POD", "/Container.app", "/container.App"] {
        assert_eq!(merge_node(&[(form, "Strict")]).unwrap_err(), PolicyError::UnknownKey { key: key(form) });
    }
    let foreign = format!("{upper}.example.com/x");
    assert_eq!(decide([(&*foreign, "x")], "app", Setting::default()), is(Policy::Merge, Origin::Default));
}

#[test]
fn strict_node_refuses_merge() {
    let error = decided(&[("/pod", "Merge")], STRICT_NODE).unwrap_err();
    assert_eq!(error, PolicyError::MergeForbidden { key: key("/pod") });
    assert_eq!(
        error.to_string(),
        "annotation supplemental-groups-policy.noderesource.dev/pod says Merge, but the configuration of this node \
         demands Strict; remove the annotation or ask the cluster administrator"
    );
    assert_eq!(
        decided(&[("/pod", "Merge"), ("/container.app", "Strict")], STRICT_NODE),
        is(Policy::Strict, Origin::ContainerAnnotation)
    );
    let lenient = Setting { pods_may_override: true, ..STRICT_NODE };
    assert_eq!(decided(&[("/pod", "Merge")], lenient), is(Policy::Merge, Origin::PodAnnotation));
    assert_eq!(decided(&[], lenient), is(Policy::Strict, Origin::Default));
}

#[test]
fn of_several_errors_it_is_always_the_same() {
    let wrong = [("/pod", "x"), ("/Pod", "x"), ("", "x"), ("/container.app", "x"), ("/zzz", "x")];
    for first in 0..wrong.len() {
        let mut rotated: Vec<_> = wrong.iter().map(|(form, value)| (key(form), *value)).collect();
        rotated.rotate_left(first);
        let error = decide(rotated.iter().map(|(k, v)| (k, v)), "app", STRICT_NODE).unwrap_err();
        assert_eq!(error.key(), Some(ANNOTATION));
    }
}

#[test]
fn policies_are_written_as_they_are_read() {
    for policy in [Policy::Merge, Policy::Strict] {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
}

proptest! {
    /// The order of a HashMap is random; the answer must not be.
    #[test]
    fn order_changes_nothing(
        pairs in proptest::collection::hash_map(
            prop_oneof![Just(""), Just("/pod"), Just("/container.app"), Just("/container.b"), Just("/Pod"), Just("x")],
            prop_oneof![3 => Just("Strict"), 3 => Just("Merge"), 1 => Just("strict")],
            0..6,
        ),
        strict: bool,
        pods_may_override: bool,
    ) {
        let node = Setting { policy: if strict { Policy::Strict } else { Policy::Merge }, pods_may_override };
        let mut pairs: Vec<_> = pairs.into_iter().map(|(form, value)| (key(form), value)).collect();
        let forward = decide(pairs.iter().map(|(k, v)| (k, v)), "app", node);
        pairs.reverse();
        let backward = decide(pairs.iter().map(|(k, v)| (k, v)), "app", node);
        prop_assert_eq!(&forward, &backward);
        if node == STRICT_NODE && let Ok(decision) = forward {
            prop_assert_eq!(decision.policy, Policy::Strict);
        }
    }

    #[test]
    fn any_text_gets_a_one_line_answer(form: String, value: String, container: String) {
        for form in [form.clone(), format!("/{form}"), format!("/container.{container}")] {
            if let Err(error) = decide([(&key(&form), &value)], &container, Setting::default()) {
                let text = error.to_string();
                prop_assert!(!text.contains(char::is_control) && text.len() < 2048, "{}", text);
            }
        }
    }
}

#[test]
fn spec_decides_where_no_annotation_does() {
    let spec = |policy, value, pods_may_override| {
        with_field([("", ""); 0], "app", Setting { policy, pods_may_override }, value)
    };
    for policy in [Policy::Merge, Policy::Strict] {
        assert_eq!(spec(policy, None, false), is(policy, Origin::Default));
        assert_eq!(spec(policy, Some("Strict"), false), is(Policy::Strict, Origin::PodField));
        assert_eq!(spec(policy, Some("Merge"), true), is(Policy::Merge, Origin::PodField));
    }
    assert_eq!(spec(Policy::Merge, Some("Merge"), false), is(Policy::Merge, Origin::PodField));
    assert_eq!(spec(Policy::Strict, Some("Merge"), false), Err(PolicyError::SpecMergeForbidden));
}

#[test]
fn annotation_must_not_contradict_the_spec() {
    for (origin, form) in [
        (Origin::Annotation, ""),
        (Origin::PodAnnotation, "/pod"),
        (Origin::ContainerAnnotation, "/container.app"),
    ] {
        for (policy, other) in [(Policy::Merge, Policy::Strict), (Policy::Strict, Policy::Merge)] {
            let said = |field| with_field([(key(form), policy.as_str())], "app", Setting::default(), field);
            assert_eq!(said(Some(policy.as_str())), is(policy, origin));
            assert_eq!(said(None), is(policy, origin));
            let error = said(Some(other.as_str())).unwrap_err();
            assert_eq!(error.key(), Some(&*key(form)));
            let text = format!("says {policy}, but supplementalGroupsPolicy in the pod's spec says {other};");
            assert!(error.to_string().contains(&text), "{error}");
        }
    }
}

#[test]
fn policy_of_the_spec_that_is_none_is_refused() {
    for value in ["", "strict", "Strict ", "None\n"] {
        let error = with_field([(ANNOTATION, "Strict")], "app", STRICT_NODE, Some(value)).unwrap_err();
        assert!(matches!(error, PolicyError::BadSpec { .. }) && error.key().is_none());
        let text = error.to_string();
        assert!(text.contains("write Strict or Merge") && !text.contains('\n'), "{text}");
    }
}

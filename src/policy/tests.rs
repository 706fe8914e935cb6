use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const STRICT_NODE: Setting = Setting { policy: Policy::Strict, pods_may_override: false };

fn key(form: &str) -> String {
    format!("{ANNOTATION}{form}")
}

/// Decides for the container `app` of a pod whose annotations are ours with these endings.
fn decided(annotations: &[(&str, &str)], node: Setting) -> Result<Decision, PolicyError> {
    let annotations: HashMap<String, String> =
        annotations.iter().map(|(form, value)| (key(form), (*value).to_owned())).collect();
    decide(&annotations, "app", &node)
}

fn merge_node(annotations: &[(&str, &str)]) -> Result<Decision, PolicyError> {
    decided(annotations, Setting::default())
}

#[allow(clippy::unnecessary_wraps, reason = "stands beside what decide gives")]
fn is(policy: Policy, source: Source) -> Result<Decision, PolicyError> {
    Ok(Decision { policy, source })
}

#[test]
fn no_annotation_is_the_nodes_business() {
    assert_eq!(merge_node(&[]), is(Policy::Merge, Source::Node));
    assert_eq!(decided(&[], STRICT_NODE), is(Policy::Strict, Source::Node));
    let foreign = [("a", "Strict"), ("supplemental-groups-policy.noderesource", "Strict"), ("", "")];
    assert_eq!(
        decide(foreign.map(|(k, v)| (k, v)), "app", &Setting::default()),
        is(Policy::Merge, Source::Node)
    );
    assert_eq!(merge_node(&[(".example.com", "Strict"), ("-2", "?")]), is(Policy::Merge, Source::Node));
}

#[test]
fn every_form_works() {
    assert_eq!(merge_node(&[("", "Strict")]), is(Policy::Strict, Source::Annotation));
    assert_eq!(merge_node(&[("/pod", "Strict")]), is(Policy::Strict, Source::PodAnnotation));
    assert_eq!(merge_node(&[("/container.app", "Strict")]), is(Policy::Strict, Source::ContainerAnnotation));
    assert_eq!(merge_node(&[("", "Merge")]), is(Policy::Merge, Source::Annotation));
}

#[test]
fn the_more_specific_one_wins() {
    let all = [("/container.app", "Strict"), ("/pod", "Merge"), ("", "Strict")];
    assert_eq!(merge_node(&all), is(Policy::Strict, Source::ContainerAnnotation));
    assert_eq!(merge_node(&all[1..]), is(Policy::Merge, Source::PodAnnotation));
    assert_eq!(merge_node(&all[2..]), is(Policy::Strict, Source::Annotation));
    assert_eq!(
        merge_node(&[("/container.app", "Merge"), ("/pod", "Strict")]),
        is(Policy::Merge, Source::ContainerAnnotation)
    );
}

#[test]
fn other_containers_are_not_looked_at() {
    let others = [("/container.other", "strict"), ("/container.app2", ""), ("/container.App", "x")];
    assert_eq!(merge_node(&others), is(Policy::Merge, Source::Node));
}

#[test]
fn a_name_with_the_separators_in_it_is_only_that_name() {
    let annotations = [(key("/container.a/pod"), "Strict"), (key("/container.a.b"), "Strict")];
    let pairs = || annotations.iter().map(|(k, v)| (k, v));
    assert_eq!(decide(pairs(), "a", &Setting::default()), is(Policy::Merge, Source::Node));
    assert_eq!(decide(pairs(), "a.b", &Setting::default()), is(Policy::Strict, Source::ContainerAnnotation));
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
fn an_overruled_annotation_is_checked_too() {
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
fn a_strict_node_refuses_merge() {
    let error = decided(&[("/pod", "Merge")], STRICT_NODE).unwrap_err();
    assert_eq!(error, PolicyError::MergeForbidden { key: key("/pod") });
    assert_eq!(
        error.to_string(),
        "annotation supplemental-groups-policy.noderesource.dev/pod says Merge, but the configuration of this node \
         demands Strict; remove the annotation or ask who runs the node"
    );
    assert_eq!(
        decided(&[("/pod", "Merge"), ("/container.app", "Strict")], STRICT_NODE),
        is(Policy::Strict, Source::ContainerAnnotation)
    );
    let lenient = Setting { pods_may_override: true, ..STRICT_NODE };
    assert_eq!(decided(&[("/pod", "Merge")], lenient), is(Policy::Merge, Source::PodAnnotation));
    assert_eq!(decided(&[], lenient), is(Policy::Strict, Source::Node));
}

#[test]
fn of_several_errors_it_is_always_the_same() {
    let wrong = [("/pod", "x"), ("/Pod", "x"), ("", "x"), ("/container.app", "x"), ("/zzz", "x")];
    for first in 0..wrong.len() {
        let mut rotated: Vec<_> = wrong.iter().map(|(form, value)| (key(form), *value)).collect();
        rotated.rotate_left(first);
        let error = decide(rotated.iter().map(|(k, v)| (k, v)), "app", &STRICT_NODE).unwrap_err();
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
        let forward = decide(pairs.iter().map(|(k, v)| (k, v)), "app", &node);
        pairs.reverse();
        let backward = decide(pairs.iter().map(|(k, v)| (k, v)), "app", &node);
        prop_assert_eq!(&forward, &backward);
        if node == STRICT_NODE && let Ok(decision) = forward {
            prop_assert_eq!(decision.policy, Policy::Strict);
        }
    }

    #[test]
    fn any_text_gets_a_one_line_answer(form: String, value: String, container: String) {
        for form in [form.clone(), format!("/{form}"), format!("/container.{container}")] {
            if let Err(error) = decide([(&key(&form), &value)], &container, &Setting::default()) {
                let text = error.to_string();
                prop_assert!(!text.contains(char::is_control) && text.len() < 2048, "{}", text);
            }
        }
    }
}

#[test]
fn the_spec_decides_where_no_annotation_does() {
    let node = |policy| Decision { policy, source: Source::Node };
    let spec = |decision, value, may| with_spec(decision, value, "app", may);
    for policy in [Policy::Merge, Policy::Strict] {
        assert_eq!(spec(node(policy), None, false), Ok(node(policy)));
        assert_eq!(spec(node(policy), Some("Strict"), false), is(Policy::Strict, Source::PodSpec));
        assert_eq!(spec(node(policy), Some("Merge"), true), is(Policy::Merge, Source::PodSpec));
    }
    assert_eq!(spec(node(Policy::Merge), Some("Merge"), false), is(Policy::Merge, Source::PodSpec));
    assert_eq!(spec(node(Policy::Strict), Some("Merge"), false), Err(PolicyError::SpecMergeForbidden));
}

#[test]
fn an_annotation_must_not_contradict_the_spec() {
    for (source, form) in [
        (Source::Annotation, ""),
        (Source::PodAnnotation, "/pod"),
        (Source::ContainerAnnotation, "/container.app"),
    ] {
        for (policy, other) in [(Policy::Merge, Policy::Strict), (Policy::Strict, Policy::Merge)] {
            let decision = Decision { policy, source };
            assert_eq!(with_spec(decision, Some(policy.as_str()), "app", false), Ok(decision));
            assert_eq!(with_spec(decision, None, "app", false), Ok(decision));
            let error = with_spec(decision, Some(other.as_str()), "app", true).unwrap_err();
            assert_eq!(error.key(), Some(&*key(form)));
            let said = format!("says {policy}, but supplementalGroupsPolicy in the pod's spec says {other};");
            assert!(error.to_string().contains(&said), "{error}");
        }
    }
}

#[test]
fn a_policy_of_the_spec_that_is_none_is_refused() {
    for value in ["", "strict", "Strict ", "None\n"] {
        let decision = Decision { policy: Policy::Strict, source: Source::Annotation };
        let error = with_spec(decision, Some(value), "app", true).unwrap_err();
        assert!(matches!(error, PolicyError::BadSpec { .. }) && error.key().is_none());
        let text = error.to_string();
        assert!(text.contains("write Strict or Merge") && !text.contains('\n'), "{text}");
    }
}

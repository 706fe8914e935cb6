use super::*;

fn rule(text: &str) -> Result<Rule, String> {
    toml::from_str(text).map_err(|error| error.message().to_owned())
}

#[track_caller]
fn covers(rule: &Rule, namespace: &str, labels: &[(&str, &str)]) -> bool {
    let labels: Labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    match rule.matches(Some(namespace), Some(&labels)) {
        Match::Yes => true,
        Match::No => false,
        Match::Unknown => panic!("everything is known"),
    }
}

#[test]
fn any_of_the_namespaces() {
    let rule = rule("namespaces = [\"prod\", \"team-*\"]\npolicy = \"Strict\"").unwrap();
    for namespace in ["prod", "team-", "team-a"] {
        assert!(covers(&rule, namespace, &[("any", "label")]), "{namespace}");
    }
    for namespace in ["", "prod2", "pro", "team", "a-team-b"] {
        assert!(!covers(&rule, namespace, &[]), "{namespace}");
    }
    assert_eq!(rule.setting(), Setting { policy: Policy::Strict, pods_may_override: false });
}

#[test]
fn all_of_the_labels() {
    let rule = rule(
        "labels = { app = \"web\", \"a.b/tier\" = \"*\", note = \"\" }\npolicy = \"Merge\"\npods_may_override = true",
    );
    let rule = rule.unwrap();
    let all = [("app", "web"), ("a.b/tier", "x"), ("note", ""), ("more", "1")];
    assert!(covers(&rule, "any", &all));
    for missing in 0..3 {
        let mut some = all.to_vec();
        some.remove(missing);
        assert!(!covers(&rule, "any", &some), "{some:?}");
    }
    assert!(!covers(&rule, "any", &[("app", "web2"), ("a.b/tier", "x"), ("note", "")]));
    assert_eq!(rule.setting(), Setting { policy: Policy::Merge, pods_may_override: true });
}

#[test]
fn both_must_match() {
    let rule = rule("namespaces = [\"a\"]\nlabels = { app = \"web\" }\npolicy = \"Strict\"").unwrap();
    assert!(covers(&rule, "a", &[("app", "web")]));
    assert!(!covers(&rule, "b", &[("app", "web")]) && !covers(&rule, "a", &[]));
    // What is not known makes no difference where the rest says no.
    assert_eq!(rule.matches(Some("b"), None), Match::No);
    assert_eq!(rule.matches(None, Some(&Labels::new())), Match::No);
    assert_eq!(rule.matches(Some("a"), None), Match::Unknown);
    assert_eq!(rule.matches(None, None), Match::Unknown);
}

#[test]
fn rule_for_everybody_or_nobody_is_an_error() {
    for text in ["", "namespaces = []\n", "labels = {}\n", "namespaces = []\nlabels = { a = \"b\" }\n"] {
        let error = rule(&format!("{text}policy = \"Strict\"")).unwrap_err();
        assert_eq!(error, RuleError::ForNobody.to_string(), "{text}");
    }
    assert!(rule("namespaces = [\"a\"]").unwrap_err().contains("policy"));
    assert!(rule("namespace = \"a\"\npolicy = \"Strict\"").unwrap_err().contains("`namespaces`"));
}

#[test]
fn entries_that_could_never_match_are_errors() {
    for entry in ["", "*", "a/b", "A", "a b", "a*b", "**", "kube_system", "a.b"] {
        let error = NamespacePattern::try_from(entry.to_owned()).unwrap_err();
        assert_eq!(error, RuleError::Namespace { entry: entry.to_owned() });
    }
    for entry in ["", "/", "a/", "/a", "a/b/c", "a b", "ä", "a*"] {
        let error = LabelKey::try_from(entry.to_owned()).unwrap_err();
        assert_eq!(error, RuleError::LabelKey { entry: entry.to_owned() });
    }
    for entry in ["a*", "**", "a b", "a/b", "ä", "!a"] {
        let error = LabelPattern::try_from(entry.to_owned()).unwrap_err();
        assert_eq!(error, RuleError::LabelValue { entry: entry.to_owned() });
    }
}

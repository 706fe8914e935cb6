use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/strict-groups/config.toml"))
}

/// The message as an operator sees it: the error and its sources.
fn message(error: ConfigError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

#[test]
fn empty_file_is_the_default() {
    let config = parse("").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.node_policy(), NodePolicy::default());
    assert_eq!(config.hook_path(), None);
}

#[test]
fn every_key_is_read() {
    let config =
        parse("default_policy = \"Strict\"\npods_may_override = true\nhook_path = \"/opt/sg\"\n").unwrap();
    assert_eq!(config.node_policy().default, Setting { policy: Policy::Strict, pods_may_override: true });
    assert_eq!(config.hook_path(), Some(Path::new("/opt/sg")));
}

#[test]
fn exemptions_are_read_and_checked() {
    let config = parse("[exempt]\nnamespaces = [\"kube-system\"]\npods = [\"infra/proxy-*\"]\n").unwrap();
    assert!(config.exempt().covers("kube-system", "any"));
    assert!(config.exempt().covers("infra", "proxy-node1"));
    assert!(!config.exempt().covers("infra", "web"));
    let text = message(parse("\n[exempt]\npods = [\"*\"]\n").unwrap_err());
    assert!(text.contains("line 3") && text.contains("namespace/name"), "{text}");
    let text = message(parse("[exempt]\nnamespace = \"a\"\n").unwrap_err());
    assert!(text.contains("line 2") && text.contains("namespaces"), "{text}");
}

const EXAMPLE: &str = include_str!("../../../../packaging/config.toml");

/// The example's lines that stand behind a `#` and are no prose.
fn commented_out() -> impl Iterator<Item = &'static str> {
    EXAMPLE.lines().filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
}

/// The keys that a configuration may have, as the message about another one lists them.
fn keys() -> Vec<String> {
    let text = message(parse("no_such_key = 1").unwrap_err());
    let (_, list) = text.split_once("expected one of ").unwrap();
    list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn packaged_example_is_legal_also_with_everything_on() {
    assert_eq!(parse(EXAMPLE).unwrap(), Config::default());
    let config = parse(&commented_out().collect::<Vec<_>>().join("\n")).unwrap();
    assert_eq!(config.hook_path(), Some(Path::new("/usr/local/bin/strict-groups")));
    assert!(config.exempt().covers("infra", "etcd-node1"));
    assert_eq!(config.rules.len(), 3);
    assert!(config.kubernetes().enabled && config.kubernetes().kubeconfig.is_some());
}

#[test]
fn what_the_packaged_example_calls_a_default_is_one() {
    let defaults: Vec<&str> = commented_out().take_while(|line| !line.starts_with("hook_path")).collect();
    let keys: Vec<&str> = defaults.iter().filter_map(|line| Some(line.split_once(" = ")?.0)).collect();
    assert_eq!(
        keys,
        ["mode", "default_policy", "pods_may_override", "old_runc_exec", "nri_that_can_deadlock"]
    );
    assert_eq!(parse(&defaults.join("\n")).unwrap(), Config::default());
}

#[test]
fn every_key_stands_in_the_example_and_in_the_manual() {
    let manual = include_str!("../../../../packaging/man/strict-groups.toml.5");
    let keys = keys();
    assert!(keys.len() >= 6 && keys.contains(&"exempt".to_owned()), "{keys:?}");
    for key in keys {
        let is_it =
            |line: &str| line.trim_matches(['[', ']']) == key || line.starts_with(&format!("{key} ="));
        assert!(commented_out().any(is_it), "the example lacks {key}");
        assert!(manual.contains(&format!(".B {}\n", key.replace('-', "\\-"))), "the manual lacks {key}");
    }
}

#[test]
fn wrong_rules_are_named_with_line_key_and_what_is_legal() {
    for (text, line, wanted) in [
        ("\n[[rule]]\npolicy = \"Strict\"\n", "line 2", "a rule needs namespaces"),
        ("\n[[rule]]\nnamespaces = [\"a\"]\n", "line 2", "missing field `policy`"),
        (
            "[[rule]]\nnamespaces = [\"a\"]\npolicy = \"Strict\"\n\n[[rule]]\npolicy = \"Merge\"\n",
            "line 5",
            "[[rule]]",
        ),
        ("[[rule]]\npolicy = \"Strict\"\nnamespace = \"a\"\n", "line 3", "`namespaces`"),
        ("[[rule]]\npolicy = \"Strict\"\nnamespaces = \"a\"\n", "line 3", "expected a sequence"),
        ("[[rule]]\npolicy = \"Strict\"\nnamespaces = [\"a\", \"*\"]\n", "line 3", "\"prefix*\""),
        (
            "[[rule]]\npolicy = \"Strict\"\nlabels = { \"a b\" = \"c\" }\n",
            "line 3",
            "is not the key of a label",
        ),
        ("[[rule]]\npolicy = \"Strict\"\nlabels = { a = \"c*\" }\n", "line 3", "write the whole value"),
        ("[[rule]]\nlabels = { a = \"c\" }\npolicy = \"strict\"\n", "line 3", "`Merge` or `Strict`"),
        ("[rule]\npolicy = \"Strict\"\n", "line 1", "rule"),
    ] {
        let error = parse(text).unwrap_err();
        let one_line = error.one_line(1000);
        for said in [message(error), one_line] {
            assert!(said.contains(line) && said.contains(wanted), "{text} gives: {said}");
            assert!(said.contains("/etc/strict-groups/config.toml"), "{said}");
        }
    }
}

#[test]
fn differences_are_told_by_key() {
    let one = parse("").unwrap();
    assert_eq!(one.differences(&one), Vec::<&str>::new());
    let two = parse(
        "mode = \"audit\"\ndefault_policy = \"Strict\"\npods_may_override = true\nhook_path = \"/x\"\n\
         old_runc_exec = \"allow\"\nnri_that_can_deadlock = true\n[[rule]]\nnamespaces = [\"a\"]\npolicy = \"Merge\"\n[exempt]\nnamespaces = [\"b\"]\n\
         [runtime]\nungated = \"refuse\"\n[kubernetes]\nenabled = true\n",
    );
    assert_eq!(
        one.differences(&two.unwrap()),
        [
            "mode",
            "default_policy",
            "pods_may_override",
            "rule",
            "hook_path",
            "old_runc_exec",
            "nri_that_can_deadlock",
            "exempt",
            "kubernetes",
            "runtime"
        ]
    );
}

#[test]
fn kubernetes_api_is_off_unless_it_is_turned_on() {
    for text in ["", "[kubernetes]\n", "[kubernetes]\nkubeconfig = \"/k\"\n"] {
        assert!(!parse(text).unwrap().kubernetes().enabled, "{text}");
    }
    assert!(parse("[kubernetes]\nenabled = true\n").unwrap().kubernetes().enabled);
    let text = message(parse("[kubernetes]\nenable = true\n").unwrap_err());
    assert!(text.contains("line 2") && text.contains("`enabled`"), "{text}");
}

#[test]
fn execs_under_old_runc_are_refused_unless_allowed() {
    for (text, wanted) in [
        ("", OldRuncExec::Refuse),
        ("old_runc_exec = \"refuse\"\n", OldRuncExec::Refuse),
        ("old_runc_exec = \"allow\"\n", OldRuncExec::Allow),
    ] {
        assert_eq!(parse(text).unwrap().old_runc_exec(), wanted, "{text}");
    }
    let text = message(parse("old_runc_exec = \"Allow\"\n").unwrap_err());
    assert!(text.contains("line 1") && text.contains("`refuse` or `allow`"), "{text}");
}

#[test]
fn unknown_key_is_named_with_its_line() {
    let text = message(parse("pods_may_override = true\ndefault_polcy = \"Strict\"\n").unwrap_err());
    assert!(text.contains("/etc/strict-groups/config.toml"), "{text}");
    assert!(text.contains("line 2"), "{text}");
    assert!(text.contains("default_polcy"), "{text}");
    assert!(text.contains("default_policy"), "legal keys: {text}");
}

#[test]
fn wrong_value_is_named_with_what_is_legal() {
    let text = message(parse("\ndefault_policy = \"strict\"\n").unwrap_err());
    assert!(text.contains("line 2"), "{text}");
    assert!(text.contains("`Merge` or `Strict`"), "{text}");
    let text = message(parse("\nhook_path = \"strict-groups\"").unwrap_err());
    assert!(text.contains("line 2") && text.contains("hook_path") && text.contains("absolute"), "{text}");
    let text = message(parse("\n\nmode = \"Audit\"").unwrap_err());
    assert!(text.contains("line 3") && text.contains("`enforce` or `audit`"), "{text}");
    let text = message(parse("default_policy = ").unwrap_err());
    assert!(text.contains("line 1"), "{text}");
}

#[test]
fn only_the_default_file_may_be_missing() {
    let missing = Path::new("/nonexistent/strict-groups.toml");
    let text = message(Config::load(Some(missing)).unwrap_err());
    assert!(text.contains("/nonexistent/strict-groups.toml"), "{text}");
}

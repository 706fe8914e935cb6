use super::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/strict-groups/config.toml"))
}

/// The message as an operator sees it: the error and its sources.
fn message(error: ConfigError) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

#[test]
fn an_empty_file_is_the_default() {
    let config = parse("").unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.node_policy(), NodePolicy { default: Policy::Merge, pods_may_override: false });
    assert_eq!(config.hook_path(), None);
}

#[test]
fn every_key_is_read() {
    let config =
        parse("default_policy = \"Strict\"\npods_may_override = true\nhook_path = \"/opt/sg\"\n").unwrap();
    assert_eq!(config.node_policy(), NodePolicy { default: Policy::Strict, pods_may_override: true });
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

#[test]
fn the_packaged_example_is_legal_as_it_is_and_with_everything_on() {
    let example = include_str!("../../packaging/config.toml");
    assert_eq!(parse(example).unwrap(), Config::default());
    let on = |line: &str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).map(str::to_owned);
    let lines: Vec<String> = example.lines().filter_map(on).collect();
    assert_eq!(lines.len(), 6);
    let config = parse(&lines.join("\n")).unwrap();
    assert_eq!(config.hook_path(), Some(Path::new("/usr/local/bin/strict-groups")));
    assert!(config.exempt().covers("infra", "etcd-node1"));
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let text = message(parse("pods_may_override = true\ndefault_polcy = \"Strict\"\n").unwrap_err());
    assert!(text.contains("/etc/strict-groups/config.toml"), "{text}");
    assert!(text.contains("line 2"), "{text}");
    assert!(text.contains("default_polcy"), "{text}");
    assert!(text.contains("default_policy"), "legal keys: {text}");
}

#[test]
fn a_wrong_value_is_named_with_what_is_legal() {
    let text = message(parse("\ndefault_policy = \"strict\"\n").unwrap_err());
    assert!(text.contains("line 2"), "{text}");
    assert!(text.contains("`Merge` or `Strict`"), "{text}");
    let text = message(parse("hook_path = \"strict-groups\"").unwrap_err());
    assert!(text.contains("absolute"), "{text}");
    let text = message(parse("default_policy = ").unwrap_err());
    assert!(text.contains("line 1"), "{text}");
}

#[test]
fn only_the_default_file_may_be_missing() {
    let missing = Path::new("/nonexistent/strict-groups.toml");
    let text = message(Config::load(Some(missing)).unwrap_err());
    assert!(text.contains("/nonexistent/strict-groups.toml"), "{text}");
}

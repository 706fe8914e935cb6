//! The dashboard, the alert rules and the table in packaging/monitoring: well formed, and about metrics that the
//! plugin has. What Prometheus makes of the expressions is not checked.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::collections::BTreeSet;

use serde_json::Value;
use strict_groups::ops::metrics::Metrics;

const DASHBOARD: &str = include_str!("../packaging/monitoring/dashboard.json");
const ALERTS: &str = include_str!("../packaging/monitoring/alerts.yaml");
const TABLE: &str = include_str!("../packaging/monitoring/README.md");

/// Names of series, and `name="value"` of labels, as the plugin exports them.
fn exported() -> (BTreeSet<String>, BTreeSet<String>) {
    let text = Metrics::default().text();
    let series = text.lines().filter(|line| !line.starts_with('#'));
    let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for line in series {
        names.extend(names_in(line));
        labels.extend(labels_in(line).map(|(name, _, value)| format!("{name}={value}")));
    }
    (names, labels)
}

fn is_name(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

fn names_in(text: &str) -> impl Iterator<Item = String> {
    text.split(|char| !is_name(char)).filter(|word| word.starts_with("strict_groups_")).map(str::to_owned)
}

/// Each `name`, operator and value between the braces of `text`.
fn labels_in(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let selectors = text.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    selectors.flat_map(|selector| selector.split(',')).filter_map(|matcher| {
        let name = matcher.split(|char| !is_name(char)).next()?;
        let (operator, rest) = matcher.strip_prefix(name)?.split_once('"')?;
        Some((name, operator, rest.strip_suffix('"')?))
    })
}

/// That an expression speaks of nothing that the plugin does not have.
fn check(expression: &str) {
    let (names, labels) = exported();
    let used: Vec<String> = names_in(expression).collect();
    assert!(!used.is_empty(), "no metric: {expression}");
    for name in used {
        assert!(names.contains(&name), "there is no {name}: {expression}");
    }
    for (name, operator, value) in labels_in(expression) {
        // Prometheus' own.
        if name == "instance" {
            continue;
        }
        assert!(["=", "!=", "=~"].contains(&operator), "{expression}");
        for value in value.split('|') {
            assert!(labels.contains(&format!("{name}={value}")), "there is no {name}={value}: {expression}");
        }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().filter(|text| !text.is_empty()).ok_or_else(|| format!("no {key}: {value}")).unwrap()
}

#[test]
fn alert_rules_are_rules() {
    let rules: Value = serde_saphyr::from_str(ALERTS).unwrap();
    assert_eq!(rules.as_object().unwrap().keys().collect::<Vec<_>>(), ["groups"]);
    let mut names = BTreeSet::new();
    for group in rules["groups"].as_array().unwrap() {
        text(group, "name");
        for rule in group["rules"].as_array().unwrap() {
            for key in rule.as_object().unwrap().keys() {
                assert!(["alert", "expr", "for", "labels", "annotations"].contains(&key.as_str()), "{key}");
            }
            assert!(names.insert(text(rule, "alert").to_owned()), "twice: {rule}");
            assert!(["critical", "warning"].contains(&text(&rule["labels"], "severity")), "{rule}");
            text(&rule["annotations"], "summary");
            text(&rule["annotations"], "description");
            if let Some(wait) = rule.get("for") {
                let minutes = wait.as_str().unwrap().strip_suffix('m').unwrap();
                assert!(minutes.parse::<u32>().is_ok(), "{rule}");
            }
            check(text(rule, "expr"));
        }
    }
    assert!(names.contains("StrictGroupsViolated") && names.len() > 5, "{names:?}");
}

#[test]
fn dashboard_is_one() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    text(&dashboard, "title");
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    let variables: BTreeSet<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|variable| text(variable, "name"))
        .collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "instance"]));
    check(text(&dashboard["templating"]["list"][1], "definition"));
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "twice: {panel}");
        text(panel, "title");
        text(panel, "description");
        assert!(
            panel["gridPos"]["x"].as_u64().unwrap() + panel["gridPos"]["w"].as_u64().unwrap() <= 24,
            "{panel}"
        );
        for target in panel["targets"].as_array().unwrap() {
            assert_eq!(text(&target["datasource"], "uid"), "${datasource}");
            check(text(target, "expr"));
        }
    }
    assert!(ids.len() > 8);
}

#[test]
fn table_has_every_metric_and_no_other() {
    let rows = TABLE.lines().filter(|line| line.starts_with("| `strict_groups_"));
    let told: BTreeSet<String> = rows.filter_map(|row| names_in(row).next()).collect();
    let text = Metrics::default().text();
    let heads = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    assert_eq!(told, heads.map(str::to_owned).collect());
}

#[test]
#[should_panic(expected = "there is no strict_groups_nothing_total")]
fn metric_that_does_not_exist_is_found_out() {
    check("rate(strict_groups_nothing_total[5m])");
}

#[test]
#[should_panic(expected = "there is no reason=whim")]
fn label_that_does_not_exist_is_found_out() {
    check(r#"strict_groups_refusals_total{instance=~"a",reason=~"record|whim"}"#);
}

use super::*;

/// The value of a line.
fn value(text: &str, series: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[test]
fn what_is_counted_is_told() {
    let metrics = Metrics::default();
    metrics.created(Created::MergeAccepted);
    metrics.created(Created::StrictAccepted);
    metrics.created(Created::StrictAccepted);
    metrics.started(Started::Enforced);
    metrics.started(Started::Violated);
    metrics.refused(Refusal::Annotation);
    metrics.groups_removed(3);
    metrics.found_at_registration(4);
    metrics.found_at_registration(1);
    metrics.set_registered(true);
    metrics.set_registered(false);
    metrics.set_registered(true);
    metrics.set_audit(true);
    metrics.reloaded(Reload::Failure);
    drop(metrics.time(Event::CreateContainer));
    let text = metrics.text();
    for (series, wanted) in [
        (r#"strict_groups_created_containers_total{policy="merge",result="accepted"}"#, 1),
        (r#"strict_groups_created_containers_total{policy="strict",result="accepted"}"#, 2),
        (r#"strict_groups_created_containers_total{policy="strict",result="refused"}"#, 0),
        (r#"strict_groups_started_containers_total{result="enforced"}"#, 1),
        (r#"strict_groups_started_containers_total{result="violated"}"#, 1),
        (r#"strict_groups_violations_total{found="at_start"}"#, 1),
        (r#"strict_groups_violations_total{found="at_registration"}"#, 5),
        ("strict_groups_violations_at_registration", 1),
        (r#"strict_groups_refusals_total{reason="annotation"}"#, 1),
        ("strict_groups_removed_groups_total", 3),
        ("strict_groups_registered", 1),
        ("strict_groups_registrations_total", 2),
        ("strict_groups_audit_mode", 1),
        (r#"strict_groups_config_reloads_total{result="failure"}"#, 1),
        (r#"strict_groups_handler_duration_seconds_count{event="create_container"}"#, 1),
        (r#"strict_groups_handler_duration_seconds_bucket{event="create_container",le="+Inf"}"#, 1),
        (r#"strict_groups_handler_duration_seconds_count{event="synchronize"}"#, 0),
    ] {
        assert_eq!(value(&text, series), Some(wanted), "{series}: {text}");
    }
}

#[test]
fn every_series_is_there_once_and_has_a_head_before_it() {
    let text = Metrics::default().text();
    let mut seen = std::collections::BTreeSet::new();
    let mut head = String::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            head = kind.split(' ').next().unwrap().to_owned();
        } else if !line.starts_with("# HELP ") {
            let (series, number) = line.rsplit_once(' ').unwrap();
            assert!(number.parse::<f64>().is_ok(), "{line}");
            assert!(series.starts_with(&head) && head.starts_with("strict_groups_"), "{line}");
            assert!(seen.insert(series.to_owned()), "twice: {line}");
        }
    }
    assert!(text.ends_with('\n'));
    assert!(seen.len() > 100, "{text}");
}

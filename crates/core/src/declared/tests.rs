use proptest::prelude::*;

use super::*;

const FIXTURE: &[u8] =
    include_bytes!("../../../../tests/fixtures/containerd-1.7.24/container-metadata-extension.json");

fn declared(value: &str) -> Result<Vec<u32>, DeclaredError> {
    from_extension(TYPE_URL, value.as_bytes())
}

/// An extension whose Config is this JSON.
fn config(json: &str) -> Result<Vec<u32>, DeclaredError> {
    declared(&format!(r#"{{"Version":"v1","Metadata":{{"ID":"x","Config":{json},"ImageRef":""}}}}"#))
}

fn groups(json: &str) -> Result<Vec<u32>, DeclaredError> {
    config(&format!(
        r#"{{"linux":{{"security_context":{{"run_as_user":{{"value":1}},"supplemental_groups":{json}}}}}}}"#
    ))
}

#[test]
fn reads_what_containerd_wrote() {
    assert_eq!(from_extension(TYPE_URL, FIXTURE), Ok(vec![4000]));
}

#[test]
fn sandbox_extension_has_what_the_pod_declares() {
    let sandbox =
        include_bytes!("../../../../tests/fixtures/containerd-1.7.24/sandbox-metadata-extension.json");
    assert_eq!(from_sandbox_extension(SANDBOX_TYPE_URL, sandbox), Ok(vec![4000]));
    // Each record has an extension of its own type.
    assert!(matches!(from_sandbox_extension(TYPE_URL, sandbox), Err(DeclaredError::UnknownType { .. })));
    assert!(matches!(from_extension(SANDBOX_TYPE_URL, sandbox), Err(DeclaredError::UnknownType { .. })));
}

#[test]
fn sandbox_extension_has_labels_and_annotations_of_the_pod() {
    let sandbox =
        include_bytes!("../../../../tests/fixtures/containerd-1.7.24/sandbox-metadata-extension.json");
    let (_, annotations) = pod_of_sandbox(SANDBOX_TYPE_URL, sandbox).unwrap();
    assert!(annotations.contains_key("supplemental-groups-policy.noderesource.dev"), "{annotations:?}");
    let pod = |config: &str| {
        let json = format!(r#"{{"Version":"v1","Metadata":{{"Config":{config}}}}}"#);
        pod_of_sandbox(SANDBOX_TYPE_URL, json.as_bytes())
    };
    let (labels, annotations) =
        pod(r#"{"labels":{"app":"web","x":""},"annotations":{"a\u0062":"\u00e4"}}"#).unwrap();
    assert_eq!(labels, [("app".to_owned(), "web".to_owned()), ("x".to_owned(), String::new())].into());
    assert_eq!(annotations, [("ab".to_owned(), "ä".to_owned())].into());
    assert_eq!(pod("{}"), Ok(Default::default()), "Go leaves out what is empty");
    for wrong in
        [r#"{"labels":7}"#, r#"{"labels":{"a":7}}"#, r#"{"Labels":{"a":"b"}}"#, r#"{"annotations":[]}"#]
    {
        assert!(pod(wrong).is_err(), "{wrong}");
    }
    assert!(pod_of_sandbox(TYPE_URL, sandbox).is_err());
}

#[test]
fn pods_own_field_is_seen() {
    let asks = |context: &str| {
        let json = format!(
            r#"{{"Version":"v1","Metadata":{{"Config":{{"linux":{{"security_context":{context}}}}}}}}}"#
        );
        asks_for_strict(TYPE_URL, json.as_bytes())
    };
    assert_eq!(asks(r#"{"supplemental_groups_policy":1}"#), Ok(true));
    assert_eq!(asks(r#"{"supplemental_groups_policy":0}"#), Ok(false));
    assert_eq!(asks("{}"), Ok(false));
    assert_eq!(asks_for_strict(TYPE_URL, FIXTURE), Ok(false), "the field was not set");
    assert!(asks(r#"{"supplementalGroupsPolicy":1}"#).is_err());
    assert!(asks_for_strict("x", FIXTURE).is_err());
}

#[test]
fn keeps_the_order() {
    assert_eq!(groups("[4000, 0, 4294967295, 4000]"), Ok(vec![4000, 0, 4_294_967_295, 4000]));
}

#[test]
fn go_leaves_out_what_is_empty() {
    for json in [
        "{}",
        r#"{"linux":{}}"#,
        r#"{"linux":null}"#,
        r#"{"linux":{"security_context":{}}}"#,
        r#"{"linux":{"security_context":null}}"#,
    ] {
        assert_eq!(config(json), Ok(vec![]), "{json}");
    }
    assert_eq!(groups("[]"), Ok(vec![]));
    assert_eq!(groups("null"), Ok(vec![]));
}

#[test]
fn groups_that_are_none_are_errors() {
    for json in [
        r#""4000""#,
        "4000",
        "{}",
        "true",
        "[null]",
        r#"["4000"]"#,
        "[-1]",
        "[4294967296]",
        "[1.0]",
        "[1e3]",
        "[[1]]",
        "[123456789012345678901234567890]",
        "[1e400]",
    ] {
        assert_eq!(groups(json), Err(DeclaredError::BadValue { field: "supplemental_groups" }), "{json}");
    }
}

#[test]
fn parts_of_another_type_are_errors() {
    for (json, field) in [
        ("[]", "Metadata.Config"),
        (r#""""#, "Metadata.Config"),
        (r#"{"linux":[]}"#, "Metadata.Config.linux"),
        (r#"{"linux":{"security_context":7}}"#, "Metadata.Config.linux.security_context"),
    ] {
        assert_eq!(config(json), Err(DeclaredError::BadValue { field }), "{json}");
    }
}

#[test]
fn missing_parts_are_errors() {
    assert_eq!(config("null"), Err(DeclaredError::Missing { field: "Metadata.Config" }));
    assert_eq!(
        declared(r#"{"Version":"v1","Metadata":{}}"#),
        Err(DeclaredError::Missing { field: "Metadata.Config" })
    );
    assert_eq!(declared(r#"{"Version":"v1"}"#), Err(DeclaredError::Missing { field: "Metadata" }));
    assert_eq!(declared("{}"), Err(DeclaredError::Missing { field: "Version" }));
}

#[test]
fn other_versions_and_types_are_errors() {
    let unknown = |version: &str| Err(DeclaredError::UnknownVersion { version: version.into() });
    assert_eq!(declared(r#"{"Version":"v2","Metadata":{"Config":{}}}"#), unknown("v2"));
    assert_eq!(declared(r#"{"Version":"","Metadata":{"Config":{}}}"#), unknown(""));
    assert_eq!(declared(r#"{"Version":1}"#), Err(DeclaredError::BadValue { field: "Version" }));
    for type_url in ["", "github.com/containerd/cri/pkg/store/sandbox/Metadata", "type.googleapis.com/x"] {
        let error = from_extension(type_url, FIXTURE).unwrap_err();
        assert_eq!(error, DeclaredError::UnknownType { type_url: type_url.into() });
    }
}

#[test]
fn another_spelling_is_not_an_empty_list() {
    for (json, key) in [
        (r#"{"Linux":{"security_context":{"supplemental_groups":[1]}}}"#, "Linux"),
        (r#"{"linux":{"securityContext":{"supplementalGroups":["1"]}}}"#, "securityContext"),
        (r#"{"linux":{"security_context":{"supplementalGroups":["1"]}}}"#, "supplementalGroups"),
        (
            r#"{"linux":{"security_context":{"supplemental_groups":[],"supplemental_groups":[1]}}}"#,
            "supplemental_groups",
        ),
    ] {
        assert_eq!(config(json), Err(DeclaredError::Ambiguous { key: key.into() }), "{json}");
    }
}

#[test]
fn what_is_no_json_is_an_error() {
    for value in [&b""[..], b"[]", b"null", b"\xff", b"{", &FIXTURE[..FIXTURE.len() - 2], b"{} {}"] {
        assert_eq!(from_extension(TYPE_URL, value), Err(DeclaredError::NotJson));
    }
    assert_eq!(from_extension(TYPE_URL, &vec![b'['; 10_000_000]), Err(DeclaredError::NotJson));
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes: Vec<u8>, at in 0..FIXTURE.len(), with: u8) {
        let _ = from_extension(TYPE_URL, &bytes);
        let mut fixture = FIXTURE.to_vec();
        fixture[at] = with;
        if let Err(error) = from_extension(TYPE_URL, &fixture) {
            prop_assert!(!error.to_string().contains(char::is_control));
        }
    }

    #[test]
    fn any_list_is_read(list: Vec<u32>) {
        prop_assert_eq!(groups(&format!("{list:?}")), Ok(list));
    }
}

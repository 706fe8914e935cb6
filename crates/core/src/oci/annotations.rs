//! `annotations` of a spec (OCI runtime-spec, "Annotations").

use std::collections::HashMap;

use super::{ANNOTATIONS, OciError, object, root};
use crate::json::{self, Object};

/// The annotations of a spec, by name.
pub type Annotations = HashMap<String, String>;

/// The annotation that makes crun skip `setgroups`: the process then keeps the groups of the
/// runtime itself, whatever the spec says. Kubernetes never needs it.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";

/// Reads the annotations of a spec.
///
/// # Errors
/// The spec is not understood, two annotations have the same name, or a value is no string.
pub fn read_annotations(json: &[u8]) -> Result<Annotations, OciError> {
    read(&root(json)?)
}

/// The same of a spec that was read already.
///
/// # Errors
/// Two annotations have the same name, or a value is no string.
pub fn read(root: &Object<'_>) -> Result<Annotations, OciError> {
    let mut found = Annotations::new();
    let Some(raw) = root.get(ANNOTATIONS)? else { return Ok(found) };
    for (key, value) in object(ANNOTATIONS, raw)?.members() {
        let value: String =
            serde_json::from_str(value).map_err(|_| OciError::BadValue { field: ANNOTATIONS })?;
        if found.insert(key.to_owned(), value).is_some() {
            return Err(OciError::Ambiguous { key: key.to_owned() });
        }
    }
    Ok(found)
}

/// Whether the spec has the annotation [`KEEP_GROUPS`]. Annotations are a map, so their names have
/// a case.
///
/// # Errors
/// The annotations are not an object.
pub fn keeps_original_groups(root: &Object<'_>) -> Result<bool, OciError> {
    match root.get(ANNOTATIONS)? {
        Some(raw) => Ok(object(ANNOTATIONS, raw)?.keys().any(|key| json::until_nul(key) == KEEP_GROUPS)),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_annotation_of_a_real_spec() {
        let spec = include_bytes!("../../../../tests/fixtures/containerd-1.7.24/config.json");
        let annotations = read_annotations(spec).unwrap();
        assert_eq!(annotations["io.kubernetes.cri.sandbox-namespace"], "default");
        assert_eq!(annotations.len(), 8);
    }

    #[test]
    fn none_are_none() {
        for spec in [r#"{"process":{}}"#, r#"{"process":{},"annotations":null}"#] {
            let annotations = read_annotations(spec.as_bytes()).unwrap();
            assert!(annotations.is_empty(), "{spec}");
        }
    }

    #[test]
    fn names_have_a_case_and_stand_once() {
        let spec = |annotations| format!(r#"{{"process":{{}},"annotations":{annotations}}}"#);
        let annotations = read_annotations(spec(r#"{"a":"1","A":"2"}"#).as_bytes()).unwrap();
        assert_eq!((annotations["a"].as_str(), annotations["A"].as_str()), ("1", "2"));
        let twice = read_annotations(spec(r#"{"a":"1","\u0061":"2"}"#).as_bytes());
        assert_eq!(twice, Err(OciError::Ambiguous { key: "a".into() }));
        for wrong in [r#"{"a":1}"#, r#"{"a":null}"#, "[]", "7"] {
            let error = read_annotations(spec(wrong).as_bytes());
            assert_eq!(error, Err(OciError::BadValue { field: "annotations" }), "{wrong}");
        }
    }
}

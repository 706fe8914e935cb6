//! Whether a pod's annotations for us were changed after its sandbox was made. Pure.
//!
//! What counts are the sandbox's annotations, as of its creation. With each later container the kubelet sends the pod's
//! annotations as they are then, and containerd copies those into the container's spec that `pod_annotations` lets
//! through. So the newest container shows them.

use std::collections::BTreeMap;

use super::observed::Seen;
use container_start::static_gate::CONFIG_SOURCE;
use strict_groups_core::{oci::Annotations, policy, text};

/// How much of a key and of a value is shown, in bytes.
const KEY_SHOWN: usize = 128;
const VALUE_SHOWN: usize = 32;

/// The pod's annotations for us in a container's spec. None: nobody can tell, since they were not let through.
pub(super) fn in_spec(annotations: &Annotations) -> Option<BTreeMap<String, String>> {
    let ours: BTreeMap<String, String> = annotations
        .iter()
        .filter(|(key, _)| policy::form(key).is_some())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // The kubelet sets it on every pod.
    (!ours.is_empty() || annotations.contains_key(CONFIG_SOURCE)).then_some(ours)
}

/// What there is to say about each of `seen`, in their order.
pub(super) fn notes(seen: &[Seen]) -> Vec<Option<String>> {
    let mut newest: BTreeMap<&str, (i64, &BTreeMap<String, String>)> = BTreeMap::new();
    for container in seen {
        let annotations = container.made.as_ref().ok().and_then(|made| made.annotations.as_ref());
        let Some(annotations) = annotations else { continue };
        let entry = newest.entry(&container.owner.sandbox).or_insert((container.created_at, annotations));
        if entry.0 < container.created_at {
            *entry = (container.created_at, annotations);
        }
    }
    let note = |container: &Seen| {
        let (_, now) = newest.get(container.owner.sandbox.as_str())?;
        difference(&container.owner.annotations, now)
    };
    seen.iter().map(note).collect()
}

/// The first difference between the sandbox's annotations and those of the pod `now`.
fn difference(sandbox: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> Option<String> {
    let ours = sandbox.keys().filter(|key| policy::form(key).is_some());
    let key = ours.chain(now.keys()).filter(|key| sandbox.get(*key) != now.get(*key)).min()?;
    let what = match now.get(key) {
        Some(value) => format!("changed to {}", text::quoted(value, VALUE_SHOWN)),
        None => "removed".to_owned(),
    };
    Some(format!(
        "annotation {} was {what} after the pod's sandbox was made, whose annotations count; delete the pod to apply it",
        text::one_line(key, KEY_SHOWN)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use strict_groups_core::policy::ANNOTATION;

    fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn annotation_that_was_changed_added_or_removed_is_named() {
        let pod = format!("{ANNOTATION}/pod");
        for (sandbox, now, wanted) in [
            (&[(ANNOTATION, "Strict")][..], &[(ANNOTATION, "Merge")][..], Some("changed to \"Merge\"")),
            (&[(ANNOTATION, "Strict"), ("x", "1")], &[], Some("removed")),
            (&[], &[(&pod, "Strict")], Some("changed to \"Strict\"")),
            (&[(ANNOTATION, "Strict"), ("x", "1")], &[(ANNOTATION, "Strict")], None),
            (&[("x", "1")], &[], None),
        ] {
            let note = difference(&map(sandbox), &map(now));
            assert_eq!(note.is_some(), wanted.is_some(), "{note:?}");
            assert!(note.unwrap_or_default().contains(wanted.unwrap_or_default()));
        }
    }

    #[test]
    fn annotations_that_are_not_let_through_tell_nothing() {
        let spec = |entries: &[(&str, &str)]| in_spec(&map(entries).into_iter().collect());
        assert_eq!(spec(&[("io.kubernetes.cri.container-name", "app")]), None);
        assert_eq!(spec(&[(CONFIG_SOURCE, "api")]), Some(map(&[])));
        assert_eq!(spec(&[(ANNOTATION, "Merge"), ("x", "1")]), Some(map(&[(ANNOTATION, "Merge")])));
    }
}

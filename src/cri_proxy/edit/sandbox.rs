//! `RunPodSandbox`: the policy of the pod's spec goes on as the annotation that the plugin reads.

use super::{Refused, is_strict, pod_of};
use crate::cri_proxy::wire::{self, NotAMessage};
use strict_groups_core::policy::{self, ANNOTATION};

/// `RunPodSandboxRequest.config.metadata`
const METADATA: &[u32] = &[1, 1];
/// `RunPodSandboxRequest.config.annotations`
const ANNOTATIONS: &[u32] = &[1, 7];
/// `RunPodSandboxRequest.config.linux.security_context.supplemental_groups_policy`
const POLICY: &[u32] = &[1, 8, 2, 11];

/// The request with the annotation; None where the pod's spec does not say Strict.
///
/// # Errors
/// The policy is not known, or an annotation of the pod says something else.
pub(in crate::cri_proxy) fn annotate(request: &[u8]) -> Result<Option<Vec<u8>>, Refused> {
    let pod = pod_name(request)?;
    if !is_strict(&pod, wire::number(request, POLICY)?)? {
        return Ok(None);
    }
    for (key, value) in wire::map(request, ANNOTATIONS)? {
        if policy::form(key).is_some() && value != "Strict" {
            return Err(Refused::Contradiction { pod, key: key.to_owned(), value: value.to_owned() });
        }
    }
    let key = format!("{ANNOTATION}/pod");
    let [config @ .., annotations] = ANNOTATIONS else { return Err(NotAMessage.into()) };
    Ok(Some(wire::append(request, config, &wire::entry_field(*annotations, &key, "Strict"))?))
}

fn pod_name(request: &[u8]) -> Result<String, NotAMessage> {
    pod_of(wire::all(request, METADATA)?.last().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri_proxy::wire::{bytes_field, entry_field, number_field};

    fn request(policy: u64, annotations: &[(&str, &str)]) -> Vec<u8> {
        let metadata = [bytes_field(1, b"web"), bytes_field(2, b"uid"), bytes_field(3, b"default")].concat();
        let entry = |(key, value): &(&str, &str)| entry_field(7, key, value);
        let linux = bytes_field(2, &[number_field(6, 0), number_field(11, policy)].concat());
        let config = [
            bytes_field(1, &metadata),
            annotations.iter().flat_map(entry).collect(),
            bytes_field(8, &linux),
            bytes_field(200, b"unknown"),
        ];
        [bytes_field(1, &config.concat()), bytes_field(2, b"runc"), bytes_field(100, b"unknown")].concat()
    }

    #[test]
    fn strict_becomes_the_annotation_and_the_rest_stays() {
        let old = request(1, &[("other", "x")]);
        let new = annotate(&old).unwrap().unwrap();
        let key = format!("{ANNOTATION}/pod");
        assert_eq!(wire::map(&new, ANNOTATIONS).unwrap(), [("other", "x"), (&key, "Strict")]);
        assert_eq!(wire::number(&new, POLICY), Ok(1));
        assert_eq!(wire::text(&new, &[1, 200]), Ok("unknown"));
        assert_eq!(wire::without(&new, 1), wire::without(&old, 1));
    }

    #[test]
    fn merge_is_not_touched() {
        assert_eq!(annotate(&request(0, &[(ANNOTATION, "Strict")])), Ok(None));
        assert_eq!(annotate(&[]), Ok(None));
    }

    #[test]
    fn what_contradicts_is_refused() {
        for (key, value) in
            [("", "Merge"), ("/pod", "strict"), ("/container.a", "Merge"), ("/pods", "Strict ")]
        {
            let key = format!("{ANNOTATION}{key}");
            let error = annotate(&request(1, &[(&key, value)])).unwrap_err().to_string();
            assert!(
                error.contains("default/web") && error.contains(&key) && error.contains("Strict"),
                "{error}"
            );
        }
        assert!(annotate(&request(1, &[(ANNOTATION, "Strict")])).unwrap().is_some());
        let foreign = format!("{ANNOTATION}.example/x");
        assert!(annotate(&request(1, &[(&foreign, "Merge")])).unwrap().is_some(), "somebody else's key");
    }

    #[test]
    fn unknown_policy_is_refused() {
        let error = annotate(&request(2, &[])).unwrap_err().to_string();
        assert!(error.contains("default/web") && error.contains("supplementalGroupsPolicy 2"), "{error}");
        assert!(matches!(annotate(&[0x0a]), Err(Refused::NotUnderstood)));
    }
}

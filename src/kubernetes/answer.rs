//! The API server's answer to what a pod declares. Pure.

use std::collections::HashSet;

use serde::{Deserialize, de::IgnoredAny};
use thiserror::Error;

use strict_groups_core::text;

/// What a pod declares about supplementary groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Declared {
    /// `fsGroup` and `supplementalGroups`, each once, in the kubelet's order. None: there may be
    /// more, since the pod has persistent volumes, whose groups are not in it.
    pub groups: Option<Vec<u32>>,
    /// `supplementalGroupsPolicy`, as it stands there.
    pub policy: Option<String>,
}

/// Why an answer is of no use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AnswerError {
    /// It is not the JSON of a pod (`v1.Pod` of the Kubernetes API).
    #[error("the answer is not a pod that is understood: {0}")]
    NotAPod(String),
    /// The pod of that name is another one by now.
    #[error("the pod of that name has the uid {} there, this one has {}", text::quoted(.found, 48), text::quoted(.wanted, 48))]
    OtherPod {
        /// The uid in the answer.
        found: String,
        /// The sandbox's.
        wanted: String,
    },
}

/// The part of `v1.Pod` that is read.
#[derive(Deserialize)]
struct Pod {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    uid: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    security_context: Option<SecurityContext>,
    volumes: Option<Vec<Volume>>,
}

/// The part of `v1.Volume` that tells whether a `PersistentVolume` is behind it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    persistent_volume_claim: Option<IgnoredAny>,
    ephemeral: Option<IgnoredAny>,
}

/// The part of `v1.PodSecurityContext` that is read.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct SecurityContext {
    fs_group: Option<u32>,
    supplemental_groups: Option<Vec<u32>>,
    supplemental_groups_policy: Option<String>,
}

/// Reads the answer for the pod with this `uid`.
///
/// # Errors
/// It is not a pod, has a group that is no GID, or is another pod.
pub fn read(json: &[u8], uid: &str) -> Result<Declared, AnswerError> {
    let pod: Pod = serde_json::from_slice(json)
        .map_err(|error| AnswerError::NotAPod(text::one_line(&error.to_string(), 160)))?;
    if pod.metadata.uid != uid {
        return Err(AnswerError::OtherPod { found: pod.metadata.uid, wanted: uid.to_owned() });
    }
    let context = pod.spec.security_context.unwrap_or_default();
    let persistent = |volume: &Volume| volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some();
    let complete = !pod.spec.volumes.unwrap_or_default().iter().any(persistent);
    let mut seen = HashSet::new();
    let all = context.fs_group.into_iter().chain(context.supplemental_groups.unwrap_or_default());
    let groups: Vec<u32> = all.filter(|gid| seen.insert(*gid)).collect();
    Ok(Declared { groups: complete.then_some(groups), policy: context.supplemental_groups_policy })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> Result<Declared, AnswerError> {
        let json = format!(r#"{{"kind":"Pod","metadata":{{"name":"web","uid":"u-1"}},"spec":{spec}}}"#);
        read(json.as_bytes(), "u-1")
    }

    #[test]
    fn groups_and_policy_are_read() {
        let spec = r#"{"nodeName":"n","securityContext":{"runAsUser":1000,"fsGroup":5000,
            "supplementalGroups":[4000,5000,4294967294,4000],"supplementalGroupsPolicy":"Strict"}}"#;
        let groups = vec![5000, 4000, 4_294_967_294];
        assert_eq!(pod(spec), Ok(Declared { groups: Some(groups), policy: Some("Strict".into()) }));
    }

    /// As many as etcd takes in one object, and half as many: the time grows with their number, not with its square.
    #[test]
    fn many_groups_are_read_in_linear_time() {
        let time = |count: u32| {
            let list = (0..count).map(|gid| gid.to_string()).collect::<Vec<_>>().join(",");
            let spec = format!(r#"{{"securityContext":{{"supplementalGroups":[{list}]}}}}"#);
            let once = || {
                let begin = std::time::Instant::now();
                assert_eq!(pod(&spec).unwrap().groups.map(|groups| groups.len()), Some(count as usize));
                begin.elapsed()
            };
            (0..5).map(|_| once()).min().unwrap_or_default()
        };
        // Sixteen times as much; a square would be 256 times.
        let (few, many) = (time(12_500), time(200_000));
        assert!(many < few * 80, "{few:?}, {many:?}");
    }

    /// The kubelet adds the gid in a persistent volume's annotation.
    #[test]
    fn groups_beside_a_persistent_volume_may_not_be_all() {
        for (volume, known) in [
            (r#"{"name":"a","persistentVolumeClaim":{"claimName":"c"}}"#, false),
            (r#"{"name":"a","ephemeral":{"volumeClaimTemplate":{}}}"#, false),
            (r#"{"name":"a","emptyDir":{}}"#, true),
        ] {
            let spec = format!(
                r#"{{"volumes":[{{"name":"t","projected":{{}}}},{volume}],
                "securityContext":{{"fsGroup":5,"supplementalGroupsPolicy":"Strict"}}}}"#
            );
            let policy = Some("Strict".into());
            assert_eq!(pod(&spec), Ok(Declared { groups: known.then(|| vec![5]), policy }), "{volume}");
        }
    }

    #[test]
    fn nothing_declared_is_an_answer() {
        for spec in ["{}", r#"{"securityContext":{}}"#, r#"{"securityContext":{"fsGroup":null}}"#] {
            assert_eq!(pod(spec), Ok(Declared { groups: Some(Vec::new()), policy: None }), "{spec}");
        }
    }

    #[test]
    fn what_is_no_gid_is_no_answer() {
        for value in ["-1", "4294967296", "1.5", "\"5\"", "[]"] {
            let error = pod(&format!(r#"{{"securityContext":{{"fsGroup":{value}}}}}"#)).unwrap_err();
            assert!(matches!(error, AnswerError::NotAPod(_)), "{value}: {error}");
        }
    }

    #[test]
    fn pod_of_the_same_name_is_another_one() {
        let error = read(br#"{"metadata":{"uid":"u-2"},"spec":{}}"#, "u-1").unwrap_err();
        assert_eq!(error.to_string(), r#"the pod of that name has the uid "u-2" there, this one has "u-1""#);
    }

    #[test]
    fn what_is_no_pod_is_no_answer() {
        for json in
            ["", "null", "[]", "{", r#"{"kind":"Status","metadata":{}}"#, r#"{"metadata":{"uid":"u-1"}}"#]
        {
            let error = read(json.as_bytes(), "u-1").unwrap_err();
            assert!(matches!(error, AnswerError::NotAPod(_)), "{json}: {error}");
        }
    }
}

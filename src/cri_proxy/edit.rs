//! What the proxy changes in messages of the CRI. Pure: bytes in, bytes out.
//!
//! The numbers are those of `runtime.v1` (CRI, `api.proto`).

pub(super) mod container;
pub(super) mod sandbox;
pub(super) mod status;
pub(super) mod user;

use thiserror::Error;

use super::wire::NotAMessage;
use strict_groups_core::text;

/// `SupplementalGroupsPolicy`
const MERGE: u64 = 0;
const STRICT: u64 = 1;

/// Why a request is not passed on. The text is what `kubectl describe pod` shows.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Refused {
    #[error(
        "strict-groups: pod {pod}: supplementalGroupsPolicy {number} is not known; it is 0 (Merge) or 1 (Strict)"
    )]
    UnknownPolicy { pod: String, number: u64 },
    #[error(
        "strict-groups: pod {pod}: annotation {} says {}, but the pod's spec says supplementalGroupsPolicy: Strict; \
         remove the annotation", text::one_line(.key, 128), text::quoted(.value, 32)
    )]
    Contradiction { pod: String, key: String, value: String },
    #[error(
        "strict-groups: pod {pod}: supplementalGroupsPolicy Strict cannot be enforced at the moment, because {reason}; \
         the kubelet tries again"
    )]
    NotEnforced { pod: String, reason: String },
    #[error(
        "strict-groups: pod {pod}, container {container}: the pod's spec says supplementalGroupsPolicy: Strict, and the \
         strict-groups plugin did not process this container (it was not running, answered too late, or has another \
         --requests-dir than the CRI proxy); run `strict-groups check` on the node; the kubelet tries again"
    )]
    NotSeen { pod: String, container: String },
    #[error(
        "strict-groups: the request is no protobuf message, so its supplementalGroupsPolicy cannot be told"
    )]
    NotUnderstood,
}

impl From<NotAMessage> for Refused {
    fn from(_: NotAMessage) -> Self {
        Self::NotUnderstood
    }
}

/// What a request says about the policy.
fn is_strict(pod: &str, number: u64) -> Result<bool, Refused> {
    match number {
        MERGE => Ok(false),
        STRICT => Ok(true),
        number => Err(Refused::UnknownPolicy { pod: pod.to_owned(), number }),
    }
}

/// A pod as `namespace/name`, from its sandbox's `PodSandboxConfig.metadata` (name 1, namespace 3).
fn pod_of(metadata: &[u8]) -> Result<String, NotAMessage> {
    use super::wire::text as field;
    let name = format!("{}/{}", field(metadata, &[3])?, field(metadata, &[1])?);
    Ok(text::one_line(&name, strict_groups_core::text::NAME_MAX))
}

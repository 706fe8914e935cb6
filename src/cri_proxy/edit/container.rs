//! `CreateContainer`: which policy it asks for, and what it says to the plugin. The request itself is passed on as it is.

use super::{Refused, is_strict, pod_of};
use crate::{
    cri_proxy::wire::{self, NotAMessage},
    handover,
};

/// `CreateContainerRequest.pod_sandbox_id`
const SANDBOX: &[u32] = &[1];
/// `CreateContainerRequest.config.metadata.name`
const NAME: &[u32] = &[2, 1, 1];
/// `CreateContainerRequest.config.metadata.attempt`
const ATTEMPT: &[u32] = &[2, 1, 2];
/// `CreateContainerRequest.config.linux.security_context.supplemental_groups`
const GROUPS: &[u32] = &[2, 15, 2, 8];
/// `CreateContainerRequest.config.linux.security_context.supplemental_groups_policy`
const POLICY: &[u32] = &[2, 15, 2, 17];
/// `CreateContainerRequest.sandbox_config.metadata`
const POD: &[u32] = &[3, 1];
/// `CreateContainerRequest.sandbox_config.metadata.uid`
const POD_UID: &[u32] = &[3, 1, 2];
/// `CreateContainerRequest.sandbox_config.linux.security_context.supplemental_groups_policy`
const SANDBOX_POLICY: &[u32] = &[3, 8, 2, 11];

/// `CreateContainerResponse.container_id`
const CREATED: &[u32] = &[1];

/// A container whose pod's spec says Strict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cri_proxy) struct Strict {
    /// The pod, as `namespace/name`.
    pub(in crate::cri_proxy) pod: String,
    /// The container's name within the pod.
    pub(in crate::cri_proxy) container: String,
}

/// Reads the request. None: neither the container's part nor the sandbox's says Strict.
///
/// # Errors
/// A policy is not known.
pub(in crate::cri_proxy) fn read(request: &[u8]) -> Result<Option<Strict>, Refused> {
    let pod = pod_of(wire::all(request, POD)?.last().copied().unwrap_or_default())?;
    let own = is_strict(&pod, wire::number(request, POLICY)?)?;
    let sandbox = is_strict(&pod, wire::number(request, SANDBOX_POLICY)?)?;
    if !own && !sandbox {
        return Ok(None);
    }
    Ok(Some(Strict { container: wire::text(request, NAME)?.to_owned(), pod }))
}

/// What the plugin reads of a request that is `strict`, or is not.
pub(in crate::cri_proxy) fn to_hand_on(
    request: &[u8],
    strict: bool,
) -> Result<handover::Request, NotAMessage> {
    let text = |path| wire::text(request, path).map(str::to_owned);
    let groups = wire::numbers(request, GROUPS)?.into_iter().map(gid).collect();
    Ok(handover::Request {
        sandbox: text(SANDBOX)?,
        pod_uid: text(POD_UID)?,
        container: text(NAME)?,
        attempt: u32::try_from(wire::number(request, ATTEMPT)?).map_err(|_| NotAMessage)?,
        strict,
        groups,
    })
}

/// The CRI has them as `int64`; 4294967295 means "none" to the kernel.
fn gid(number: u64) -> Option<u32> {
    u32::try_from(number).ok().filter(|gid| *gid != u32::MAX)
}

/// The id of the container that was created.
pub(in crate::cri_proxy) fn created(response: &[u8]) -> Result<&str, NotAMessage> {
    wire::text(response, CREATED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri_proxy::wire::{bytes_field, number_field};

    fn request(policy: u64, sandbox: u64) -> Vec<u8> {
        let groups = bytes_field(8, &[0xa0, 0x1f, 0]);
        let security = bytes_field(2, &[groups, number_field(11, 1), number_field(17, policy)].concat());
        let metadata = bytes_field(1, &[bytes_field(1, b"app"), number_field(2, 3)].concat());
        let config = [metadata, bytes_field(15, &security)].concat();
        let metadata = [bytes_field(1, b"web"), bytes_field(2, b"u1"), bytes_field(3, b"default")].concat();
        let linux = bytes_field(8, &bytes_field(2, &number_field(11, sandbox)));
        let pod = [bytes_field(1, &metadata), linux].concat();
        [bytes_field(1, b"s1"), bytes_field(2, &config), bytes_field(3, &pod)].concat()
    }

    #[test]
    fn strict_is_what_the_container_or_its_sandbox_asks_for() {
        assert_eq!(read(&request(0, 0)), Ok(None));
        assert_eq!(read(&[]), Ok(None));
        let strict = Strict { pod: "default/web".into(), container: "app".into() };
        for (own, sandbox) in [(1, 0), (0, 1), (1, 1)] {
            assert_eq!(read(&request(own, sandbox)), Ok(Some(strict.clone())), "{own} {sandbox}");
        }
        for (own, sandbox) in [(7, 0), (0, 7), (1, 7), (7, 1)] {
            let unknown = Refused::UnknownPolicy { pod: "default/web".into(), number: 7 };
            assert_eq!(read(&request(own, sandbox)), Err(unknown), "{own} {sandbox}");
        }
        assert!(matches!(read(&[0x12, 9]), Err(Refused::NotUnderstood)));
    }

    #[test]
    fn request_is_handed_on_with_its_groups() {
        let handed = handover::Request {
            sandbox: "s1".into(),
            pod_uid: "u1".into(),
            container: "app".into(),
            attempt: 3,
            strict: true,
            groups: Some(vec![4000, 0]),
        };
        assert_eq!(to_hand_on(&request(1, 0), true), Ok(handed.clone()));
        let merge = handover::Request { strict: false, ..handed };
        assert_eq!(to_hand_on(&request(0, 0), false), Ok(merge));
    }

    #[test]
    fn group_that_is_no_gid_makes_all_of_them_unknown() {
        for group in [-1, i64::from(u32::MAX), i64::from(u32::MAX) + 1, i64::MIN] {
            let security = bytes_field(2, &number_field(8, group.cast_unsigned()));
            let request = [request(1, 0), bytes_field(2, &bytes_field(15, &security))].concat();
            assert_eq!(to_hand_on(&request, true).unwrap().groups, None, "{group}");
        }
        assert_eq!(gid(4_294_967_294), Some(4_294_967_294));
    }
}

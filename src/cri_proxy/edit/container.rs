//! `CreateContainer`: which policy it asks for. The request itself is passed on as it is.

use super::{Refused, is_strict, pod_of};
use crate::cri_proxy::wire::{self, NotAMessage};

/// `CreateContainerRequest.pod_sandbox_id`
const SANDBOX: &[u32] = &[1];
/// `CreateContainerRequest.config.metadata.name`
const NAME: &[u32] = &[2, 1, 1];
/// `CreateContainerRequest.config.linux.security_context.supplemental_groups_policy`
const POLICY: &[u32] = &[2, 15, 2, 17];
/// `CreateContainerRequest.sandbox_config.metadata`
const POD: &[u32] = &[3, 1];

/// `CreateContainerResponse.container_id`
const CREATED: &[u32] = &[1];

/// A container whose pod's spec says Strict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cri_proxy) struct Strict {
    /// The sandbox's id.
    pub(in crate::cri_proxy) sandbox: String,
    /// The pod, as `namespace/name`.
    pub(in crate::cri_proxy) pod: String,
    /// The container's name within the pod.
    pub(in crate::cri_proxy) container: String,
}

/// Reads the request. None: the pod's spec does not say Strict.
///
/// # Errors
/// The policy is not known.
pub(in crate::cri_proxy) fn read(request: &[u8]) -> Result<Option<Strict>, Refused> {
    let pod = pod_of(wire::all(request, POD)?.last().copied().unwrap_or_default())?;
    if !is_strict(&pod, wire::number(request, POLICY)?)? {
        return Ok(None);
    }
    let text = |path| wire::text(request, path).map(str::to_owned);
    Ok(Some(Strict { sandbox: text(SANDBOX)?, container: text(NAME)?, pod }))
}

/// The id of the container that was created.
pub(in crate::cri_proxy) fn created(response: &[u8]) -> Result<&str, NotAMessage> {
    wire::text(response, CREATED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri_proxy::wire::{bytes_field, number_field};

    fn request(policy: u64) -> Vec<u8> {
        let security = bytes_field(2, &[number_field(11, 1), number_field(17, policy)].concat());
        let config = [bytes_field(1, &bytes_field(1, b"app")), bytes_field(15, &security)].concat();
        let metadata = [bytes_field(1, b"web"), bytes_field(3, b"default")].concat();
        [bytes_field(1, b"s1"), bytes_field(2, &config), bytes_field(3, &bytes_field(1, &metadata))].concat()
    }

    #[test]
    fn only_strict_is_of_interest() {
        assert_eq!(read(&request(0)), Ok(None));
        assert_eq!(read(&[]), Ok(None));
        let strict = Strict { sandbox: "s1".into(), pod: "default/web".into(), container: "app".into() };
        assert_eq!(read(&request(1)), Ok(Some(strict)));
        assert_eq!(read(&request(7)), Err(Refused::UnknownPolicy { pod: "default/web".into(), number: 7 }));
        assert!(matches!(read(&[0x12, 9]), Err(Refused::NotUnderstood)));
    }
}

//! `Status`: says that the feature is there.

use crate::{
    cri_proxy::wire::{self, NotAMessage},
    runtimes::cri::PROXY,
};

/// `StatusResponse.info`, there in a verbose one
const INFO: u32 = 2;
/// `StatusResponse.features`
const FEATURES: u32 = 4;
/// `RuntimeFeatures.supplemental_groups_policy`
const POLICY: u32 = 1;

/// The response with the feature, if it is `enforced`. The verbose part says that it came through here.
pub(in crate::cri_proxy) fn through_proxy(response: &[u8], enforced: bool) -> Result<Vec<u8>, NotAMessage> {
    let mut new = response.to_vec();
    if enforced {
        new = wire::append(&new, &[FEATURES], &wire::number_field(POLICY, 1))?;
    }
    if !wire::map(response, &[INFO])?.is_empty() {
        new = wire::append(&new, &[], &wire::entry_field(INFO, PROXY, "{}"))?;
    }
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri_proxy::wire::{bytes_field, entry_field, number_field};

    fn has_feature(response: &[u8]) -> bool {
        wire::number(response, &[FEATURES, POLICY]) == Ok(1)
    }

    #[test]
    fn feature_joins_others() {
        let old = [bytes_field(1, b""), bytes_field(FEATURES, &number_field(2, 1))].concat();
        assert!(!has_feature(&old));
        let new = through_proxy(&old, true).unwrap();
        assert!(has_feature(&new));
        assert_eq!(wire::number(&new, &[FEATURES, 2]), Ok(1));
        assert!(has_feature(&through_proxy(&[], true).unwrap()));
        assert_eq!(through_proxy(&old, false), Ok(old));
    }

    #[test]
    fn verbose_one_says_where_it_came_through() {
        let old = entry_field(INFO, "config", "{}");
        for enforced in [false, true] {
            let new = through_proxy(&old, enforced).unwrap();
            assert_eq!(wire::map(&new, &[INFO]).unwrap(), [("config", "{}"), (PROXY, "{}")]);
            assert_eq!(has_feature(&new), enforced);
        }
    }
}

//! `Status`: says that the feature is there.

use crate::cri_proxy::wire::{self, NotAMessage};

/// `StatusResponse.features`
const FEATURES: u32 = 4;
/// `RuntimeFeatures.supplemental_groups_policy`
const POLICY: u32 = 1;

/// The response with the feature.
pub(in crate::cri_proxy) fn with_feature(response: &[u8]) -> Result<Vec<u8>, NotAMessage> {
    wire::append(response, &[FEATURES], &wire::number_field(POLICY, 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cri_proxy::wire::{bytes_field, number_field};

    fn has_feature(response: &[u8]) -> bool {
        wire::number(response, &[FEATURES, POLICY]) == Ok(1)
    }

    #[test]
    fn the_feature_joins_others() {
        let old = [bytes_field(1, b""), bytes_field(FEATURES, &number_field(2, 1))].concat();
        assert!(!has_feature(&old));
        let new = with_feature(&old).unwrap();
        assert!(has_feature(&new));
        assert_eq!(wire::number(&new, &[FEATURES, 2]), Ok(1));
        assert!(has_feature(&with_feature(&[]).unwrap()));
    }
}

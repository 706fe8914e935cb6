//! Annotations to a policy.

use std::collections::BTreeMap;

use strict_groups_core::fuzzing::presentable;
use strict_groups_core::policy::{ANNOTATION, Facts, NodePolicy, Policy, Setting};

/// The annotations in the opposite order.
#[derive(Clone, Copy)]
struct Reversed<'a>(&'a BTreeMap<String, String>);

impl<'a> IntoIterator for Reversed<'a> {
    type Item = (&'a String, &'a String);
    type IntoIter = std::iter::Rev<std::collections::btree_map::Iter<'a, String, String>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().rev()
    }
}

/// What the node says, by two bits.
pub(super) fn node(bits: u8) -> Setting {
    Setting {
        policy: if bits & 1 == 0 { Policy::Merge } else { Policy::Strict },
        pods_may_override: bits & 2 != 0,
    }
}

/// The policy by the documentation's words: the most specific annotation wins, any wrong one is an error (`Err`), and
/// so is a Merge on a Strict node.
pub(super) fn expected(
    annotations: &BTreeMap<String, String>,
    container: &str,
    node: Setting,
) -> Result<Policy, ()> {
    let miscased = |key: &str| {
        let lower = key.to_ascii_lowercase();
        let ours = lower == ANNOTATION || lower.starts_with(&format!("{ANNOTATION}/"));
        let for_container = format!("{ANNOTATION}/container.{container}");
        ours && (!key.starts_with(ANNOTATION)
            || (key != for_container && lower == for_container.to_ascii_lowercase()))
    };
    let ours = |key: &str| annotations.get(key).map(|value| value.parse::<Policy>().map_err(drop));
    let for_pod = format!("{ANNOTATION}/pod");
    let prefix = format!("{ANNOTATION}/container.");
    let unknown = |key: &&String| {
        key.starts_with(&format!("{ANNOTATION}/"))
            && **key != for_pod
            && (!key.starts_with(&prefix) || **key == prefix)
    };
    if annotations.keys().any(|key| unknown(&key) || miscased(key)) {
        return Err(());
    }
    let for_container = Some(format!("{prefix}{container}")).filter(|key| *key != prefix);
    let levels = [for_container.as_deref(), Some(&*for_pod), Some(ANNOTATION)];
    let said: Vec<Policy> = levels.into_iter().flatten().filter_map(ours).collect::<Result<_, _>>()?;
    match said.first() {
        Some(Policy::Merge) if node.policy == Policy::Strict && !node.pods_may_override => Err(()),
        Some(policy) => Ok(*policy),
        None => Ok(node.policy),
    }
}

/// The policy is what [`expected`] says, in whatever order the annotations come: never a Merge by mistake.
///
/// The first byte is the node's policy; then, with a NUL byte between each: the container's name, a key, its value,
/// the next key, ...
pub(super) fn annotation(data: &[u8]) {
    let Some((bits, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let mut fields = text.split('\0');
    let container = fields.next().unwrap_or_default();
    let mut annotations = BTreeMap::new();
    while let (Some(key), Some(value)) = (fields.next(), fields.next()) {
        annotations.insert(key.to_owned(), value.to_owned());
    }
    let node = node(*bits);

    let policy = NodePolicy { default: node, ..NodePolicy::default() };
    let namespace = Some("default");
    let result =
        policy.decide(&Facts { annotations: &annotations, container, namespace, labels: None, field: None });
    let reversed = Reversed(&annotations);
    assert_eq!(
        result,
        policy.decide(&Facts { annotations: reversed, container, namespace, labels: None, field: None })
    );
    assert_eq!(
        result.as_ref().map(|decision| decision.policy).map_err(drop),
        expected(&annotations, container, node)
    );
    if let Err(error) = result {
        presentable(&error);
        assert!(error.key().is_some_and(|key| annotations.contains_key(key)));
    }
}

//! The rules of strict-groups, without input or output: bytes in, decision out.
//!
//! | module | what it knows |
//! |---|---|
//! | [`policy`] | annotations, the pod's field and the node's rules to `Strict` or `Merge` |
//! | [`groups`], [`membership`] | which groups stay; which ones an image's files give a user |
//! | [`oci`] | config.json as text, of which it changes what it is asked to and keeps every other byte |
//! | [`gate`], [`merge_marker`] | decisions in a hook's arguments |
//! | [`spec`] | a config.json with gates in it: read, resolved, refused |
//! | [`declared`] | the groups that the kubelet sent, in a container runtime's records |

pub mod declared;
pub mod engine;
pub mod exempt;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod gate;
pub mod groups;
pub mod hook_args;
pub mod json;
pub mod membership;
pub mod merge_marker;
pub mod oci;
pub mod policy;
pub mod runtime_type;
pub mod spec;
pub mod text;

//! One of each message of the plugin that `kubectl describe pod` can show.

use super::{events::Refused, resolver::ResolveError, subject::Subject};
use crate::{
    declared::DeclaredError,
    troubleshooting::{detail, every, samples},
};

/// Without the part that names the pod and the container.
pub(crate) fn all() -> Vec<String> {
    let subject = || Subject { pod: samples::POD.to_owned(), container: samples::CONTAINER.to_owned() };
    let mut found = Vec::new();
    for source in samples::policy() {
        for refused in every!(Refused;
            Refused::Policy { .. } => Refused::Policy { subject: subject(), source: source.clone() },
            Refused::NotEnforceable { .. } => Refused::NotEnforceable {
                subject: subject(),
                source: crate::containerd::ContainerdError::NotTrusted { reason: String::new() },
            },
        ) {
            found.push(detail(&refused.to_string(), "containerd's API: "));
        }
    }
    found.extend(samples::containerd());
    let declared = DeclaredError::NotJson;
    let spec = crate::spec::SpecError::NoGate;
    let (declared_text, spec_text) = (declared.to_string(), spec.to_string());
    let resolve = every!(ResolveError;
        ResolveError::Containerd(_) => crate::containerd::ContainerdError::NotTrusted { reason: String::new() }.into(),
        ResolveError::SpecType { .. } => ResolveError::SpecType { found: String::new() },
        ResolveError::NoExtension => ResolveError::NoExtension,
        ResolveError::Declared(_) => declared.into(),
        ResolveError::Spec(_) => spec.into(),
    );
    // The first two leave the gate pending and are in the plugin's log alone; the rest is in the gate.
    let told = resolve.into_iter().skip(2).map(|error| error.to_string());
    found.extend(told.map(|text| detail(&detail(&text, &declared_text), &spec_text)));
    found
}

//! One of each message of the plugin that `kubectl describe pod` can show.

use super::{
    events::Refused, limit::TooManyGroups, resolver::ResolveError, start::NotStarted, subject::Subject,
};
use crate::{
    handover::{self, HandoverError},
    runtimes::containerd::ContainerdError,
    troubleshooting::{detail, every, samples},
};
use container_start::start_check::StartError;
use strict_groups_core::{declared::DeclaredError, gate::Cause, spec::SpecError};

fn subject() -> Subject {
    Subject { pod: samples::POD.to_owned(), container: samples::CONTAINER.to_owned() }
}

fn not_ours() -> HandoverError {
    HandoverError::Untrusted(hostfs::ownership::Untrusted::TooManyLinks { path: "/FILE".into() })
}

fn too_many() -> TooManyGroups {
    TooManyGroups { groups: 70_000 }
}

fn no_process() -> NotStarted {
    NotStarted::NoProcess
}

/// Without the part that names the pod and the container.
pub(crate) fn all() -> Vec<String> {
    let mut found = Vec::new();
    for source in samples::policy() {
        for refused in every!(Refused;
            Refused::Policy { .. } => Refused::Policy { subject: subject(), source: source.clone() },
            Refused::NotEnforceable { .. } => Refused::NotEnforceable {
                subject: subject(),
                source: ContainerdError::NotTrusted { reason: String::new() },
            },
            Refused::HandedOn { .. } => Refused::HandedOn { subject: subject(), source: not_ours() },
            Refused::TooManyGroups { .. } => Refused::TooManyGroups { subject: subject(), source: too_many() },
            Refused::Start { .. } => Refused::Start { subject: subject(), source: no_process() },
        ) {
            let text = detail(&refused.to_string(), &source.to_string());
            let text = detail(&text, &not_ours().to_string());
            found.push(detail(&detail(&text, &no_process().to_string()), "containerd's API: "));
        }
    }
    found.extend(handover::messages().into_iter().map(|text| text.to_string()));
    // One of them has nothing to add.
    found.retain(|text| *text != format!("strict-groups: {}: DETAIL", subject()));
    found.extend(samples::containerd());
    let declared = DeclaredError::NotJson;
    let spec = SpecError::NoGate;
    let (declared_text, spec_text) = (declared.to_string(), spec.to_string());
    let resolve = every!(ResolveError;
        ResolveError::Containerd(_) => ContainerdError::NotTrusted { reason: String::new() }.into(),
        ResolveError::SpecType { .. } => ResolveError::SpecType { found: "TYPE".to_owned() },
        ResolveError::NoExtension => ResolveError::NoExtension,
        ResolveError::Declared(_) => declared.into(),
        ResolveError::Spec(_) => spec.into(),
        ResolveError::TooManyGroups(_) => too_many().into(),
    );
    // The first one has its rows already.
    let texts = resolve.into_iter().skip(1).map(|error| error.to_string());
    found.extend(texts.map(|text| detail(&detail(&text, &declared_text), &spec_text)));
    found.extend(not_started());
    found
}

/// What follows "refused before its start".
fn not_started() -> Vec<String> {
    let gone = hostfs::identity::IdentityError::Gone { pid: 1 };
    let inner = [
        gone.to_string(),
        Cause::NoWrapper.to_string(),
        ResolveError::NoExtension.to_string(),
        samples::policy().pop().map(|error| error.to_string()).unwrap_or_default(),
    ];
    let process = every!(StartError;
        StartError::NotAllowed { .. } => StartError::NotAllowed { groups: vec![50000] },
        StartError::Unreadable(_) => gone.into(),
    );
    let mut found: Vec<String> = process.iter().map(ToString::to_string).collect();
    let reasons = every!(NotStarted;
        NotStarted::Gate(_) => NotStarted::Gate(Cause::NoWrapper),
        NotStarted::Record(_) => ResolveError::NoExtension.into(),
        NotStarted::NoProcess => no_process(),
        NotStarted::NotVisible { .. } => NotStarted::NotVisible { groups: vec![50000], shim: "SHIM".to_owned() },
        NotStarted::Process(_) => StartError::NotAllowed { groups: vec![50000] }.into(),
        NotStarted::Policy(_) => samples::policy().pop().map_or_else(no_process, NotStarted::Policy),
    );
    found.extend(reasons.iter().map(ToString::to_string));
    // What is only passed on has its own rows.
    found.retain(|text| !inner.contains(text));
    found.iter().map(|text| inner.iter().fold(text.clone(), |text, inner| detail(&text, inner))).collect()
}

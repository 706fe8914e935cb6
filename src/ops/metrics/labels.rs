//! The labels: every value that there is.

use strict_groups_core::policy::PolicyError;

/// A set of labels that one number has.
pub(super) trait Label: Copy + PartialEq + 'static {
    /// Each one.
    const ALL: &'static [Self];

    /// As the text format has it, `name="value"` with commas between.
    fn text(self) -> &'static str;
}

macro_rules! labels {
    ($(#[$about:meta])* $name:ident { $($(#[$each:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$each])* $variant,)+ }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

labels! {
    /// What became of a container at its creation.
    Created {
        /// Strict, and it got the gate.
        StrictAccepted = r#"policy="strict",result="accepted""#,
        /// Strict, and it cannot be enforced at the moment.
        StrictRefused = r#"policy="strict",result="refused""#,
        /// Merge: left alone.
        MergeAccepted = r#"policy="merge",result="accepted""#,
        /// What its pod says is not understood, or not allowed.
        InvalidRefused = r#"policy="invalid",result="refused""#,
    }
}

labels! {
    /// What a Strict container's process has when it is about to start.
    Started {
        /// No group beyond those of the decision.
        Enforced = r#"result="enforced""#,
        /// More; it was refused.
        Violated = r#"result="violated""#,
        /// Nobody could look; it was refused.
        Unseen = r#"result="unseen""#,
        /// Its record has no group beyond those of the decision; its process cannot be seen from the node, since it is in
        /// a virtual machine or a sandbox.
        NotVerified = r#"result="not_verified""#,
    }
}

labels! {
    /// What Strict would do to a container that is left alone in audit mode.
    Audited {
        /// It would lose groups.
        WouldLose = r#"result="would_lose_groups""#,
        /// Nothing.
        Unchanged = r#"result="unchanged""#,
        /// Nobody can tell.
        Unknown = r#"result="unknown""#,
    }
}

labels! {
    /// Why a container does not start, as far as the plugin knows: what the hook refuses by itself, it does not see.
    Refusal {
        /// The value of an annotation, or a key like ours.
        Annotation = r#"reason="annotation""#,
        /// A policy in the pod's spec that is none.
        Spec = r#"reason="spec""#,
        /// Merge where the node demands Strict.
        MergeForbidden = r#"reason="merge_forbidden""#,
        /// Annotation and spec disagree.
        Contradiction = r#"reason="contradiction""#,
        /// containerd's API did not answer, or not as it should.
        RuntimeApi = r#"reason="runtime_api""#,
        /// The container's record cannot be worked with.
        Record = r#"reason="record""#,
        /// The created process has a group too many, or cannot be looked at.
        Process = r#"reason="process""#,
    }
}

labels! {
    /// When a violation was found.
    Found {
        /// At the start, which was refused.
        AtStart = r#"found="at_start""#,
        /// Among the containers that were there already.
        AtRegistration = r#"found="at_registration""#,
    }
}

labels! {
    /// How the configuration was read again.
    Reload {
        /// It counts.
        Success = r#"result="success""#,
        /// It cannot be used.
        Failure = r#"result="failure""#,
    }
}

labels! {
    /// A call of the runtime's.
    Event {
        /// Everything that is there.
        Synchronize = r#"event="synchronize""#,
        /// A pod begins.
        RunPodSandbox = r#"event="run_pod_sandbox""#,
        /// A pod is gone.
        RemovePodSandbox = r#"event="remove_pod_sandbox""#,
        /// A container is decided over.
        CreateContainer = r#"event="create_container""#,
        /// It is resolved.
        PostCreateContainer = r#"event="post_create_container""#,
        /// It is about to start.
        StartContainer = r#"event="start_container""#,
    }
}

impl From<&PolicyError> for Refusal {
    fn from(error: &PolicyError) -> Self {
        match error {
            PolicyError::BadValue { .. }
            | PolicyError::UnknownKey { .. }
            // The plugin knows the labels.
            | PolicyError::DependsOnLabels => Self::Annotation,
            PolicyError::BadSpec { .. } => Self::Spec,
            PolicyError::MergeForbidden { .. } | PolicyError::SpecMergeForbidden => Self::MergeForbidden,
            PolicyError::Contradiction { .. } => Self::Contradiction,
        }
    }
}

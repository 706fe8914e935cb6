//! Which policy a container was meant to have, and who said so. Pure.

use super::observed::{Made, Owner};
use strict_groups_core::policy::{Decision, Facts, Mode, NodePolicy, Policy, PolicyError};

pub use strict_groups_core::policy::Origin;

/// The policy of a container that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// It is known.
    Known {
        /// The policy.
        policy: Policy,
        /// Who decided.
        origin: Origin,
        /// Whether it is only reported on: `mode = "audit"`, and nobody but the node wants it.
        audit: bool,
    },
    /// It was asked for in a way that is refused.
    Wrong(PolicyError),
}

impl Wanted {
    /// Decides as the plugin would, for a container that was `made` already.
    #[must_use]
    pub fn new(node: &NodePolicy, owner: &Owner, container: &str, made: Option<&Made>) -> Self {
        let facts = Facts {
            annotations: &owner.annotations,
            container,
            namespace: Some(&owner.namespace),
            labels: Some(&owner.labels),
            field: None,
        };
        let known = |Decision { policy, origin }, audit| Self::Known { policy, origin, audit };
        let strict = |origin| Self::Known { policy: Policy::Strict, origin, audit: false };

        // Whatever is said now: the gate is in its spec.
        let gated = made.is_some_and(|made| !made.spec.gates.is_empty());
        let field = made.is_some_and(|made| made.field_strict && (gated || made.native));
        match node.decide(&facts) {
            Ok(decision) if decision.policy == Policy::Strict => known(decision, false),
            _ if field => strict(Origin::PodField),
            _ if gated => strict(Origin::Creation),
            Err(error) => Self::Wrong(error),
            Ok(decision) => match node.decide_in(Mode::Enforce, &facts) {
                Ok(applied) if applied.policy == Policy::Strict => known(applied, node.mode == Mode::Audit),
                Ok(_) | Err(_) => known(decision, false),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use container_start::config::Config;
    use strict_groups_core::{
        gate::{Gate, State},
        oci::ProcessUser,
        policy::ANNOTATION,
        spec::View,
    };

    fn node(toml: &str) -> NodePolicy {
        Config::parse(toml, std::path::Path::new("/x")).unwrap().node_policy()
    }

    fn owner(annotations: &[(&str, &str)]) -> Owner {
        Owner {
            namespace: "prod".to_owned(),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            annotations: annotations
                .iter()
                .map(|(form, value)| (format!("{ANNOTATION}{form}"), (*value).to_owned()))
                .collect(),
            ..Owner::default()
        }
    }

    fn made(gated: bool, field_strict: bool, native: bool) -> Made {
        let state = State::Resolved { groups: vec![1], removed: vec![] };
        let gate = Gate { pod: "a/b".to_owned(), container: "c".to_owned(), state };
        Made {
            spec: View {
                user: ProcessUser::default(),
                gates: if gated { vec![gate] } else { Vec::new() },
                seen_as_merge: false,
                keeps_original_groups: false,
                root_path: None,
            },
            declared: None,
            of_devices: Vec::new(),
            field_strict,
            native,
            annotations: None,
            is_final: true,
        }
    }

    fn known(policy: Policy, origin: Origin, audit: bool) -> Wanted {
        Wanted::Known { policy, origin, audit }
    }

    const RULES: &str = "[[rule]]\nnamespaces = [\"test\"]\npolicy = \"Merge\"\n\
                         [[rule]]\nlabels = { app = \"web\" }\npolicy = \"Strict\"\n";

    #[test]
    fn who_decided_is_named() {
        use Policy::{Merge, Strict};
        for (config, annotations, wanted) in [
            ("", &[][..], known(Merge, Origin::Default, false)),
            ("default_policy = \"Strict\"", &[], known(Strict, Origin::Default, false)),
            (RULES, &[], known(Strict, Origin::Rule(2), false)),
            ("", &[("", "Strict")], known(Strict, Origin::Annotation, false)),
            (RULES, &[("/pod", "Strict")], known(Strict, Origin::PodAnnotation, false)),
            (
                "",
                &[("", "Strict"), ("/container.app", "Merge")],
                known(Merge, Origin::ContainerAnnotation, false),
            ),
        ] {
            assert_eq!(Wanted::new(&node(config), &owner(annotations), "app", None), wanted, "{config}");
        }
    }

    #[test]
    fn audit_is_told_from_what_counts() {
        let audit = node(&format!("mode = \"audit\"\n{RULES}"));
        let wanted = |annotations| Wanted::new(&audit, &owner(annotations), "app", None);
        assert_eq!(wanted(&[]), known(Policy::Strict, Origin::Rule(2), true));
        assert_eq!(wanted(&[("", "Strict")]), known(Policy::Strict, Origin::Annotation, false));
        assert_eq!(wanted(&[("", "Merge")]), known(Policy::Merge, Origin::Annotation, false));
    }

    #[test]
    fn what_was_decided_at_the_creation_stays() {
        let now = |made: Made| Wanted::new(&node(""), &owner(&[]), "app", Some(&made));
        for (made, wanted) in [
            (made(true, false, false), known(Policy::Strict, Origin::Creation, false)),
            (made(true, true, false), known(Policy::Strict, Origin::PodField, false)),
            (made(false, true, true), known(Policy::Strict, Origin::PodField, false)),
            (made(false, false, true), known(Policy::Merge, Origin::Default, false)),
            // Known to the runtime, and not enforced by it.
            (made(false, true, false), known(Policy::Merge, Origin::Default, false)),
        ] {
            assert_eq!(now(made), wanted);
        }
        let wrong = owner(&[("", "strict")]);
        let now = |made: Made| Wanted::new(&node(""), &wrong, "app", Some(&made));
        assert_eq!(now(made(true, false, false)), known(Policy::Strict, Origin::Creation, false));
        assert!(matches!(now(made(false, false, false)), Wanted::Wrong(_)));
    }
}

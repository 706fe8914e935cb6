//! The list as it is printed for machines, and what the table is made from.

use serde::Serialize;

use super::{
    abilities::{Abilities, Way},
    changed,
    collect::ContainerRuntime,
    expected::{Origin, Wanted},
    image::{self, NamesOf},
    observed::Seen,
    verdict::{Judgement, Verdict, judge},
};
use hostfs::identity::Identity;
use strict_groups_core::{
    oci::ProcessUser,
    policy::{ANNOTATION, NodePolicy},
    text,
};

/// The longest reason that is shown, in bytes.
const REASON_MAX: usize = 1024;

/// Everything. `docs/list.schema.json` describes it; a change that would break a reader gets another `apiVersion`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    api_version: &'static str,
    kind: &'static str,
    runtime: RuntimeReport,
    /// The containers, by namespace, pod and name.
    pub items: Vec<Item>,
}

#[derive(Debug, Serialize)]
struct RuntimeReport {
    name: String,
    version: String,
}

/// One container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) pod_uid: String,
    pub(super) container: String,
    #[serde(rename = "containerID")]
    pub(super) id: String,
    pub(super) state: &'static str,
    pub(super) pid: Option<u32>,
    pub(super) user: Option<User>,
    pub(super) declared_groups: Option<Vec<u32>>,
    pub(super) image_groups: Vec<Group>,
    pub(super) beyond_strict: Vec<Group>,
    pub(super) policy: Policy,
    pub(super) verdict: Verdict,
    pub(super) reason: Option<String>,
    pub(super) note: Option<String>,
    pub(super) can_change: Option<CanChange>,
}

/// In the form of Kubernetes' `ContainerUser`.
#[derive(Debug, Serialize)]
pub(super) struct User {
    pub(super) linux: LinuxUser,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LinuxUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) supplemental_groups: Vec<u32>,
}

#[derive(Debug, Serialize)]
pub(super) struct Group {
    pub(super) gid: u32,
    pub(super) name: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Policy {
    /// None: it was asked for in a way that is refused.
    pub(super) name: Option<&'static str>,
    pub(super) source: &'static str,
    pub(super) annotation: Option<String>,
    pub(super) rule: Option<usize>,
    pub(super) audit: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CanChange {
    pub(super) groups: &'static str,
    pub(super) user: &'static str,
    pub(super) no_new_privs: bool,
    pub(super) allow_privilege_escalation: bool,
}

impl Report {
    /// Judges all containers, and looks up the names of the groups in question.
    #[must_use]
    pub fn new(runtime: ContainerRuntime, seen: Vec<Seen>, node: &NodePolicy) -> Self {
        let notes = changed::notes(&seen);
        let judged: Vec<(Seen, Wanted, Judgement)> = seen
            .into_iter()
            .map(|seen| {
                let wanted = Wanted::new(node, &seen.owner, &seen.name, seen.made.as_ref().ok());
                let judgement = judge(&seen, &wanted);
                (seen, wanted, judgement)
            })
            .collect();
        let mut names = names(&judged).into_iter();
        let items = judged
            .into_iter()
            .zip(notes)
            .map(|((seen, wanted, judgement), note)| {
                let lookup = asked(&seen, &judgement).then(|| names.next()).flatten().unwrap_or_default();
                Item { note, ..Item::new(seen, &wanted, judgement, &lookup) }
            })
            .collect();
        let runtime = RuntimeReport { name: runtime.name, version: runtime.version };
        Self { api_version: "strict-groups/v1", kind: "ContainerIdentityList", runtime, items }
    }

    /// Leaves only the containers with this verdict.
    pub fn retain(&mut self, verdict: Verdict) {
        self.items.retain(|item| item.verdict == verdict);
    }
}

/// Whether names are to be looked up: there are groups to name, and a process whose files can be read.
fn asked(seen: &Seen, judgement: &Judgement) -> bool {
    seen.pid.is_some() && !(judgement.from_image.is_empty() && judgement.beyond.is_empty())
}

fn names(judged: &[(Seen, Wanted, Judgement)]) -> Vec<Vec<Option<String>>> {
    let jobs = judged.iter().filter(|(seen, _, judgement)| asked(seen, judgement));
    let jobs = jobs.filter_map(|(seen, _, Judgement { from_image, beyond, .. })| {
        Some(NamesOf { pid: seen.pid?, gids: from_image.iter().chain(beyond).copied().collect() })
    });
    image::names(jobs.collect())
}

impl Item {
    /// `names` are those of the groups from the image, then of those beyond Strict.
    fn new(seen: Seen, wanted: &Wanted, judgement: Judgement, names: &[Option<String>]) -> Self {
        let Judgement { verdict, beyond, from_image, reason } = judgement;
        let groups = |gids: Vec<u32>, skip: usize| {
            let name = |place: usize| names.get(skip + place).cloned().flatten();
            gids.into_iter().enumerate().map(|(place, gid)| Group { gid, name: name(place) }).collect()
        };
        let of_image = from_image.len();
        let policy = Policy::new(wanted, &seen.name);
        let process = seen.process.and_then(Result::ok);
        // Where the process cannot be seen, what its runtime got is all that is known.
        let told = seen.made.as_ref().ok().map(|made| &made.spec.user);
        let told = told.filter(|_| seen.isolated && seen.state.has_process()).map(User::told);
        Self {
            namespace: seen.owner.namespace,
            pod: seen.owner.pod,
            pod_uid: seen.owner.pod_uid,
            container: seen.name,
            id: seen.id,
            state: seen.state.as_str(),
            pid: seen.pid,
            declared_groups: seen.made.ok().and_then(|made| made.declared),
            image_groups: groups(from_image, 0),
            beyond_strict: groups(beyond, of_image),
            policy,
            verdict,
            reason: reason.map(|reason| text::one_line(&reason, REASON_MAX)),
            note: None,
            can_change: process.as_ref().map(|process| CanChange::new(process.abilities)),
            user: process.map(|process| User::of(process.identity)).or(told),
        }
    }
}

impl User {
    fn of(identity: Identity) -> Self {
        let gid = identity.gid();
        Self { linux: LinuxUser { uid: identity.uid, gid, supplemental_groups: identity.groups } }
    }

    fn told(user: &ProcessUser) -> Self {
        let ProcessUser { uid, gid, additional_gids } = user.clone();
        Self { linux: LinuxUser { uid, gid, supplemental_groups: additional_gids } }
    }
}

impl Policy {
    fn new(wanted: &Wanted, container: &str) -> Self {
        let (policy, origin, audit) = match wanted {
            Wanted::Known { policy, origin, audit } => (*policy, *origin, *audit),
            Wanted::Wrong(error) => {
                let annotation = error.key().map(str::to_owned);
                return Self { name: None, source: "Annotation", annotation, rule: None, audit: false };
            }
        };
        let key = |form: &str| Some(format!("{ANNOTATION}{form}"));
        let (source, annotation, rule) = match origin {
            Origin::Default => ("Default", None, None),
            Origin::Rule(number) => ("Rule", None, Some(number)),
            Origin::Annotation => ("Annotation", key(""), None),
            Origin::PodAnnotation => ("Annotation", key("/pod"), None),
            Origin::ContainerAnnotation => ("Annotation", key(&format!("/container.{container}")), None),
            Origin::Creation => ("Creation", None, None),
            Origin::PodField => ("PodField", None, None),
        };
        Self { name: Some(policy.as_str()), source, annotation, rule, audit }
    }
}

impl CanChange {
    fn new(Abilities { groups, user, no_new_privs }: Abilities) -> Self {
        let way = |way| match way {
            Way::AtWill => "AtWill",
            Way::ByExec => "ByExec",
            Way::No => "No",
        };
        Self { groups: way(groups), user: way(user), no_new_privs, allow_privilege_escalation: !no_new_privs }
    }
}

//! What became of the containers, counted; the reasons of those that were refused.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};

use crate::steps::Policy;

/// Why a container was not started, told by the text that a kubelet would show.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The static gate: no plugin decided.
    NotSeen,
    /// The plugin's gate: decided, and then the plugin was gone.
    LeftPending,
    /// The plugin's gate: it told why it could not be enforced.
    NotEnforced,
    /// The plugin, when it was about to start: its process or its record cannot be looked at, or has too much.
    AtStart,
    /// The plugin, at the creation: containerd's API was of no use.
    ApiOfNoUse,
    /// The plugin's answer took too long, and its stub said so.
    Late,
    /// containerd itself was away.
    RuntimeAway,
    /// The runtime ran out of disk.
    NoSpace,
    /// The OCI runtime failed, and could not write why where containerd would look for it.
    Silent,
    /// containerd's snapshots are not as it left them, since it was killed.
    Snapshot,
    /// Anything else.
    Unknown(String),
}

/// Words that tell a reason. Ours come first: the runtime quotes them within its own.
const WORDS: [(&str, Reason); 19] = [
    ("refused before its start: ", Reason::AtStart),
    ("the strict-groups plugin did not process this container", Reason::NotSeen),
    ("supplementalGroupsPolicy Strict was never enforced", Reason::LeftPending),
    ("supplementalGroupsPolicy Strict could not be enforced", Reason::NotEnforced),
    ("supplementalGroupsPolicy Strict cannot be enforced at the moment", Reason::ApiOfNoUse),
    ("the plugin did not finish within", Reason::Late),
    ("no space left on device", Reason::NoSpace),
    ("No space left on device", Reason::NoSpace),
    ("did not terminate successfully", Reason::Silent),
    ("failed to rename", Reason::Snapshot),
    // What this test's own client says.
    ("transport error", Reason::RuntimeAway),
    ("connection error", Reason::RuntimeAway),
    ("(os error 2)", Reason::RuntimeAway),
    ("(os error 32)", Reason::RuntimeAway),
    ("(os error 104)", Reason::RuntimeAway),
    ("(os error 111)", Reason::RuntimeAway),
    ("h2 protocol error", Reason::RuntimeAway),
    ("operation was canceled", Reason::RuntimeAway),
    ("server is not initialized yet", Reason::RuntimeAway),
];

/// The reason that a text tells.
pub(crate) fn reason(text: &str) -> Reason {
    let told = WORDS.iter().find(|(words, _)| text.contains(words));
    told.map_or_else(|| Reason::Unknown(text.to_owned()), |(_, reason)| reason.clone())
}

impl Reason {
    /// Whether the words are ours.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::NotSeen
                | Self::LeftPending
                | Self::NotEnforced
                | Self::AtStart
                | Self::ApiOfNoUse
                | Self::Late
        )
    }
}

#[derive(Default)]
struct Counts {
    started: BTreeMap<Policy, usize>,
    refused: BTreeMap<(Policy, Reason), usize>,
    away: usize,
    /// By container: each is looked at up to three times.
    wrong: BTreeMap<String, String>,
    broken: Vec<String>,
}

/// Counts, from any thread.
#[derive(Default)]
pub(crate) struct Tally(Mutex<Counts>);

impl Tally {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container reached its first process.
    pub(crate) fn started(&self, policy: Policy) {
        *self.counts().started.entry(policy).or_default() += 1;
    }

    /// A container was refused, or containerd was away: true.
    pub(crate) fn refused(&self, policy: Policy, name: &str, text: &str) -> bool {
        let reason = reason(text);
        let mut counts = self.counts();
        if reason == Reason::RuntimeAway {
            counts.away += 1;
            return true;
        }
        // A reason is one line, short enough for an event, and says whom it is about.
        if reason.is_ours()
            && (text.trim().lines().count() != 1
                || text.len() > 900
                || !text.contains(&format!(", container {name}: ")))
        {
            counts.broken.push(format!("no readable reason: {text}"));
        }
        if policy == Policy::Merge && text.contains("strict-groups: ") {
            counts.broken.push(format!("Merge was refused because of us: {text}"));
        }
        *counts.refused.entry((policy, reason)).or_default() += 1;
        false
    }

    /// A process has groups that it must not have, or lacks some.
    pub(crate) fn wrong(&self, name: &str, what: String) {
        self.counts().wrong.insert(name.to_owned(), what);
    }

    /// Containers that were refused in words that are not known here.
    pub(crate) fn unknown_count(&self) -> usize {
        let counts = self.counts();
        let unknown = counts.refused.iter().filter(|((_, reason), _)| matches!(reason, Reason::Unknown(_)));
        unknown.map(|(_, count)| count).sum()
    }

    /// Something else that must not be.
    pub(crate) fn broken(&self, what: String) {
        self.counts().broken.push(what);
    }

    /// Containers with wrong groups.
    pub(crate) fn wrong_count(&self) -> usize {
        self.counts().wrong.len()
    }

    /// Containers of this policy that reached their first process.
    pub(crate) fn started_count(&self, policy: Policy) -> usize {
        self.counts().started.get(&policy).copied().unwrap_or_default()
    }

    /// Containers of this policy that were refused, for whatever reason.
    pub(crate) fn refused_count(&self, policy: Policy) -> usize {
        let counts = self.counts();
        counts.refused.iter().filter(|((of, _), _)| *of == policy).map(|(_, count)| count).sum()
    }

    /// Calls that found containerd away.
    pub(crate) fn away_count(&self) -> usize {
        self.counts().away
    }

    /// That nothing got through, and no Merge container was refused because of us.
    pub(crate) fn nothing_wrong(&self) -> Result<()> {
        let counts = self.counts();
        ensure!(
            counts.wrong.is_empty(),
            "WRONG GROUPS:\n{}",
            counts.wrong.values().cloned().collect::<Vec<_>>().join("\n")
        );
        ensure!(counts.broken.is_empty(), "{}", counts.broken.join("\n"));
        Ok(())
    }

    /// That also nothing was refused but Strict containers, for reasons of ours.
    pub(crate) fn ours_alone(&self) -> Result<()> {
        self.nothing_wrong()?;
        let counts = self.counts();
        for (policy, reason) in counts.refused.keys() {
            let fine = *policy == Policy::Strict && reason.is_ours();
            ensure!(fine, "{policy:?} was refused: {reason:?}");
        }
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        let started = |policy| counts.started.get(&policy).copied().unwrap_or_default();
        write!(out, "started Strict {}, started Merge {}", started(Policy::Strict), started(Policy::Merge))?;
        for ((policy, reason), count) in &counts.refused {
            write!(out, ", refused {policy:?} {reason:?} {count}")?;
        }
        write!(out, ", runtime away {}, wrong groups {}", counts.away, counts.wrong.len())
    }
}

//! The pod of these trials, and what its processes must be.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::tally;
use e2e::{ContainerSpec, Containerd, Identity, Pod, RunningPod};

/// Whether the pod asks for Strict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Policy {
    Strict,
    Merge,
}

impl Policy {
    /// The example pod's groups, without or with what the image adds.
    pub(crate) fn groups(self) -> BTreeSet<u32> {
        match self {
            Self::Strict => BTreeSet::from([3000, 4000]),
            Self::Merge => BTreeSet::from([3000, 4000, 50000]),
        }
    }

    /// A pod that asks for it.
    pub(crate) fn pod(self, name: &str) -> Pod {
        match self {
            Self::Strict => {
                Pod::new(name).annotation("supplemental-groups-policy.noderesource.dev", "Strict")
            }
            Self::Merge => Pod::new(name),
        }
        .supplemental(&[4000])
    }
}

/// The example pod's container: user 1000, group 3000, supplementary group 4000.
pub(crate) fn app(name: &str) -> ContainerSpec {
    ContainerSpec::new(name, "localhost/strict-groups/example:1").user(1000).group(3000).supplemental(&[4000])
}

/// Tries as a kubelet does: a machine that is too busy to answer the plugin in
/// time refuses Strict containers in words of ours. Gives what the last try
/// gave, and how many were refused.
pub(crate) fn again<T>(attempt: impl Fn(usize) -> Result<Result<T, String>>) -> Result<(T, usize)> {
    const TRIES: usize = 5;
    let mut tries = 0;
    loop {
        let text = match attempt(tries)? {
            Ok(done) => return Ok((done, tries)),
            Err(text) => text,
        };
        tries += 1;
        ensure!(tries < TRIES && tally::reason(&text).is_ours(), "refused: {text}");
    }
}

/// Two pods, one of each policy, which try after try gets containers.
pub(crate) struct Pair<'a> {
    daemon: &'a Containerd,
    strict: RunningPod,
    merge: RunningPod,
    tries: std::cell::Cell<usize>,
}

impl<'a> Pair<'a> {
    pub(crate) fn start(daemon: &'a Containerd) -> Result<Self> {
        let strict = daemon.cri().run_pod(&Policy::Strict.pod("pair-strict"))?;
        let merge = daemon.cri().run_pod(&Policy::Merge.pod("pair-merge"))?;
        Ok(Self { daemon, strict, merge, tries: std::cell::Cell::new(0) })
    }

    /// Starts a container, looks at its first process and removes it. What
    /// refused it is given as text; wrong groups are an error.
    pub(crate) fn attempt(&self, policy: Policy) -> Result<Result<(), String>> {
        let cri = self.daemon.cri();
        let name = format!("try{}", self.tries.replace(self.tries.get() + 1));
        let pod = if policy == Policy::Strict { &self.strict } else { &self.merge };
        let id = match cri.create(pod, &app(&name)) {
            Ok(id) => id,
            Err(error) => return Ok(Err(error.message)),
        };
        let started = cri.start(&id).map_err(|error| error.message);
        if started.is_ok() {
            let first = Identity::of_process(cri.status(&id)?.pid)?;
            ensure!(first.groups() == policy.groups(), "{policy:?} container {name}: {first}");
            cri.stop(&id)?;
        }
        // On a full disk it may stay; it goes with its pod.
        let _ = cri.remove(&id);
        Ok(started)
    }

    /// A container that has to start.
    pub(crate) fn works(&self, policy: Policy) -> Result<()> {
        again(|_| self.attempt(policy)).map(drop).with_context(|| format!("{policy:?}"))
    }

    /// A Strict container that has to be refused in words of ours that say this; Merge works.
    pub(crate) fn refuses(&self, words: &str) -> Result<()> {
        let text = self.attempt(Policy::Strict)?.err().context("Strict was not refused")?;
        ensure!(text.contains(words), "{words:?} is missing in: {text}");
        ensure!(tally::reason(&text).is_ours(), "not in words of ours: {text}");
        self.works(Policy::Merge)
    }
}

//! Random images and security contexts: what the plugin makes of them on
//! containerd 1.7 is what containerd 2.x, which knows Strict itself, makes. Also
//! when the pods ask by the field, through the CRI proxy: the same requests then. And
//! on a containerd 1.7 without NRI, whose OCI runtime is the wrapper.
//!
//! The cases follow from a seed, the same one unless `STRICT_GROUPS_SEED` says
//! another; `STRICT_GROUPS_CASES` says how many.

#![allow(clippy::indexing_slicing, reason = "the lists are as long as each other, or the test is wrong")]

mod generate;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use serde_json::Value;

use crate::world::{World, trial};
use e2e::cri::{RunningPod, v1};
use e2e::{ContainerSpec, Containerd, Cri, Identity, Kind, Options, Pod, Proxy, node_config};
use generate::{CASES_PER_IMAGE, ImageCase, Security};

const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";
const DEFAULT_SEED: u64 = 3619;
const DEFAULT_CASES: usize = 60;

/// The plugin on 2.x gets each third case.
const SAMPLE: usize = 3;

/// From so many cases on, the shares of interesting ones must be as expected.
const ENOUGH_FOR_SHARES: usize = 40;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("differential::as_native_strict_does", |world| {
        run(
            world,
            setting("STRICT_GROUPS_SEED", DEFAULT_SEED)?,
            setting("STRICT_GROUPS_CASES", DEFAULT_CASES)?,
        )
    })]
}

fn setting<T: FromStr>(variable: &str, default: T) -> Result<T> {
    let Ok(text) = std::env::var(variable) else { return Ok(default) };
    text.parse().ok().with_context(|| format!("{variable}={text:?} is no number"))
}

/// One way to run all cases: a CRI, and how it is set to Strict.
struct Side<'a> {
    cri: &'a Cri,
    pod: Pod,
    by_field: bool,
}

fn run(world: &World, seed: u64, cases: usize) -> Result<()> {
    println!("differential: STRICT_GROUPS_SEED={seed} STRICT_GROUPS_CASES={cases}");
    let images: Vec<ImageCase> =
        (0..cases.div_ceil(CASES_PER_IMAGE)).map(|number| ImageCase::new(seed, number)).collect();
    let cases: Vec<(&ImageCase, Security)> = (0..cases)
        .map(|number| (&images[number / CASES_PER_IMAGE], number))
        .map(|(image, number)| (image, Security::new(seed, number, image)))
        .collect();

    let without_nri = node_config::start(&world.machine, &world.run, Kind::V1_7, Options::default())?;
    node_config::configure_for(&world.machine, &without_nri, &["--wrapper"])?;
    let proxy = Proxy::start(&world.old, &world.old_health(), &world.old.dir().join("differential.sock"))?;
    let strict = |name| Pod::new(name).annotation(ANNOTATION, "Strict");
    let field = |name| Pod::new(name).strict_field();
    let ours = Side { cri: world.old.cri(), pod: strict("differential-ours"), by_field: false };
    let through = Side { cri: &proxy.cri, pod: field("differential-field"), by_field: true };
    let wrapped = Side { cri: without_nri.cri(), pod: strict("differential-wrapped"), by_field: false };
    let native = Side { cri: world.new.cri(), pod: field("differential-native"), by_field: true };
    let both = Side { cri: world.new.cri(), pod: strict("differential-both"), by_field: false };
    let every: Vec<_> = cases.iter().collect();
    let sample: Vec<_> = cases.iter().step_by(SAMPLE).collect();
    let (ours, through, wrapped, merged, native, both) = std::thread::scope(|scope| {
        let third = scope.spawn(|| -> Result<_> {
            import(world, &without_nri, &images)?;
            run_all(&wrapped, &every)
        });
        let old = scope.spawn(|| -> Result<_> {
            import(world, &world.old, &images)?;
            Ok((run_all(&ours, &every)?, run_all(&through, &every)?, merge_all(&world.old, &cases)?))
        });
        let new = scope.spawn(|| -> Result<_> {
            import(world, &world.new, &images)?;
            let native = scope.spawn(|| run_all(&native, &every));
            let both = run_all(&both, &sample)?;
            Ok((joined(native.join())?, both))
        });
        let (ours, through, merged) = joined(old.join())?;
        let (native, both) = joined(new.join())?;
        anyhow::Ok((ours, through, joined(third.join())?, merged, native, both))
    })?;
    without_nri.stop()?;

    let mut shares = Shares::default();
    let mut wrong = Vec::new();
    for (number, (image, security)) in cases.iter().enumerate() {
        let (ours, through, merged, native) =
            (&ours[number], &through[number], &merged[number], &native[number]);
        let wrapped = &wrapped[number];
        let both = (number % SAMPLE == 0).then(|| &both[number / SAMPLE]);
        let mut problems = Vec::new();
        if !ours.same(native) {
            problems.push("the plugin on 1.7 differs from native Strict");
        }
        if !through.same(native) {
            problems.push("the field through the proxy on 1.7 differs from native Strict");
        }
        if !wrapped.same(native) {
            problems.push("the wrapper on 1.7 without NRI differs from native Strict");
        }
        if both.is_some_and(|both| !both.same(native)) {
            problems.push("the plugin on 2.x differs from native Strict");
        }
        if !shares.count(ours, merged.as_ref()) {
            problems.push("Strict on 1.7 gives a group that Merge does not");
        }
        if !problems.is_empty() {
            wrong.push(format!(
                "case {number} of seed {seed}: {}\n{}\n{security:?}\n1.7 with the plugin: {ours}\n\
                 1.7 through the proxy: {through}\n1.7 with the wrapper: {wrapped}\n2.x native: {native}\n2.x with the plugin: {}\n1.7 Merge: {merged:?}\n",
                problems.join(", "),
                image.describe(),
                both.map_or_else(|| "(not run)".to_owned(), ToString::to_string),
            ));
        }
    }
    println!("differential: {shares}");
    ensure!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    shares.check()
}

fn joined<T>(result: std::thread::Result<Result<T>>) -> Result<T> {
    result.unwrap_or_else(|_| bail!("a thread panicked"))
}

fn import(world: &World, daemon: &Containerd, images: &[ImageCase]) -> Result<()> {
    images.iter().try_for_each(|image| daemon.import(&image.build(&world.machine)?))
}

/// How a container came out.
enum Outcome {
    /// `user`: what the status says, where the side has it.
    Runs {
        first: Identity,
        exec: Identity,
        user: Option<v1::LinuxContainerUser>,
    },
    Refused(String),
}

impl Outcome {
    /// Equal in everything that decides about access. The words of a refusal are each runtime's own.
    fn same(&self, other: &Self) -> bool {
        let key = |identity: &Identity| (identity.uid, identity.gid, identity.groups());
        // Without a user in image and pod, a native Strict leaves the primary group out of the list.
        let user_key = |user: &v1::LinuxContainerUser| {
            let groups: BTreeSet<_> = user.supplemental_groups.iter().copied().chain([user.gid]).collect();
            (user.uid, user.gid, groups)
        };
        match (self, other) {
            (
                Self::Runs { first, exec, user },
                Self::Runs { first: other_first, exec: other_exec, user: other_user },
            ) => {
                let told = user.as_ref().zip(other_user.as_ref());
                key(first) == key(other_first)
                    && key(exec) == key(other_exec)
                    && key(first) == key(exec)
                    && told.is_none_or(|(user, other)| user_key(user) == user_key(other))
            }
            (Self::Refused(_), Self::Refused(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runs { first, exec, user } => {
                write!(out, "first process {first}, exec {exec}, status {user:?}")
            }
            Self::Refused(reason) => write!(out, "refused: {reason}"),
        }
    }
}

/// All cases as containers of one pod, by two threads that share the work.
fn run_all(side: &Side<'_>, cases: &[&(&ImageCase, Security)]) -> Result<Vec<Outcome>> {
    let cri = side.cri;
    let pod = cri.run_pod(&side.pod)?;
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Outcome)>> {
        let mut outcomes = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(image, security)) = cases.get(number) else { return Ok(outcomes) };
            let mut spec = security.spec(&format!("case-{number}"), image);
            if side.by_field {
                spec = spec.strict_field();
            }
            let outcome = run_one(cri, &pod, &spec).with_context(|| {
                let pod = side.pod.name();
                format!("case {number}, {pod}: {security:?}, {}", image.describe())
            })?;
            outcomes.push((number, outcome));
        }
    };
    let mut outcomes = std::thread::scope(|scope| {
        let second = scope.spawn(work);
        let mut outcomes = work()?;
        outcomes.extend(joined(second.join())?);
        anyhow::Ok(outcomes)
    })?;
    cri.remove_pod(&pod.id)?;
    outcomes.sort_by_key(|(number, _)| *number);
    Ok(outcomes.into_iter().map(|(_, outcome)| outcome).collect())
}

fn run_one(cri: &Cri, pod: &RunningPod, spec: &ContainerSpec) -> Result<Outcome> {
    let container = match cri.launch(pod, spec) {
        Ok(container) => container,
        Err(error) => return Ok(Outcome::Refused(error.to_string())),
    };
    let status = cri.status(&container)?;
    let first = Identity::of_process(status.pid)?;
    let output = cri.exec(&container, &["cat", "/proc/self/status"])?;
    Ok(Outcome::Runs { first, exec: Identity::from_status(&output.stdout)?, user: status.user })
}

/// The groups that 1.7 gives without the plugin. They are in the spec as soon
/// as the container is created; `None` where it is refused.
fn merge_all(daemon: &Containerd, cases: &[(&ImageCase, Security)]) -> Result<Vec<Option<BTreeSet<u64>>>> {
    let cri = daemon.cri();
    let pod = cri.run_pod(&Pod::new("differential-merge"))?;
    let merge_one = |(number, (image, security)): (usize, &(&ImageCase, Security))| {
        let Ok(container) = cri.create(&pod, &security.spec(&format!("case-{number}"), image)) else {
            return Ok(None);
        };
        let info = cri.status(&container)?.info;
        let user = info.pointer("/runtimeSpec/process/user").context("no user in the spec")?;
        let listed = user.get("additionalGids").and_then(Value::as_array);
        let gids = listed.into_iter().flatten().chain(user.get("gid")).filter_map(Value::as_u64);
        Ok(Some(gids.collect()))
    };
    let merged = cases.iter().enumerate().map(merge_one).collect();
    cri.remove_pod(&pod.id)?;
    merged
}

/// How many cases could have told a difference.
#[derive(Default)]
struct Shares {
    cases: usize,
    refused: usize,
    /// Merge gives more than Strict: a plugin that did nothing would be found out.
    image_adds: usize,
    /// Strict gives more than the primary group: a plugin that removed all would be found out.
    declared: usize,
}

impl Shares {
    /// False when Strict gives more than Merge.
    fn count(&mut self, strict: &Outcome, merged: Option<&BTreeSet<u64>>) -> bool {
        self.cases += 1;
        let (Outcome::Runs { first, .. }, Some(merged)) = (strict, merged) else {
            self.refused += 1;
            return true;
        };
        let strict: BTreeSet<u64> = first.groups().into_iter().map(u64::from).collect();
        self.image_adds += usize::from(merged.len() > strict.len());
        self.declared += usize::from(strict.len() > 1);
        strict.is_subset(merged)
    }

    fn check(&self) -> Result<()> {
        if self.cases < ENOUGH_FOR_SHARES {
            return Ok(());
        }
        let percent = |count: usize| count * 100 / self.cases;
        ensure!(percent(self.image_adds) >= 25, "too few cases where the image adds groups: {self}");
        ensure!(percent(self.declared) >= 25, "too few cases where groups are declared: {self}");
        ensure!(percent(self.refused) <= 50, "too many cases are refused: {self}");
        Ok(())
    }
}

impl fmt::Display for Shares {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{} cases; in {} the image adds groups, in {} groups are declared, {} are refused",
            self.cases, self.image_adds, self.declared, self.refused
        )
    }
}

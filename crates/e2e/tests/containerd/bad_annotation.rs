//! Annotations that are not understood: the container is refused with a text that helps, and
//! nobody else is hurt.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use crate::steps::{ANNOTATION, MERGED, STRICT, all, has_groups, launched, named};
use crate::world::{World, trial};
use e2e::cri::RunningPod;
use e2e::{Cri, Pod};

/// A container's name, the value of its annotation, and how the error shows that.
const VALUES: [(&str, &str, &str); 15] = [
    ("lower", "strict", r#""strict""#),
    ("upper", "STRICT", r#""STRICT""#),
    ("space-before", " Strict", r#"" Strict""#),
    ("space-behind", "Strict ", r#""Strict ""#),
    ("empty", "", r#""""#),
    ("both", "Strict,Merge", r#""Strict,Merge""#),
    ("boolean", "true", r#""true""#),
    ("quoted", "\"Strict\"", r#""\"Strict\"""#),
    ("line-break", "Strict\n", r#""Strict\n""#),
    ("nul", "Strict\0", r#""Strict\u{0}""#),
    ("escape-sequence", "\u{1b}[2J\u{1b}]0;x\u{7}", r#""\u{1b}[2J\u{1b}]0;x\u{7}""#),
    ("c1-control", "Merge\u{9b}31m", r#""Merge\u{9b}31m""#),
    ("right-to-left", "\u{202e}tcirtS", r#""\u{202e}tcirtS""#),
    ("look-alike", "\u{405}trict", r#""\u{405}trict""#),
    ("full-width", "\u{ff33}trict", r#""\u{ff33}trict""#),
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("bad_annotation::value_for_a_container", |world| {
            let cri = world.old.cri();
            let mut pod = Pod::new("bad-values");
            for (name, value, _) in VALUES {
                pod = pod.annotation(&format!("{ANNOTATION}/container.{name}"), value);
            }
            let pod = cri.run_pod(&pod)?;
            all(VALUES.map(|(name, _, shown)| {
                let key = format!("{ANNOTATION}/container.{name}");
                (name, refused(cri, &pod, name, &[&key, shown, "write Strict or Merge"]))
            }))?;
            // The other containers' keys, all of them wrong, do not concern this one.
            has_groups(&launched(cri, &pod, &named("app"))?, &MERGED)?;
            Ok(cri.remove_pod(&pod.id)?)
        }),
        trial("bad_annotation::value_for_the_whole_pod", |world| {
            all([("bare", ""), ("pod", "/pod")].map(|(name, form)| (name, whole_pod(world, name, form))))
        }),
        trial("bad_annotation::value_of_100_kb", |world| {
            let cri = world.old.cri();
            let long = "S\u{1b}trict ".repeat(100_000 / 9);
            let pod = cri.run_pod(&Pod::new("bad-long").annotation(ANNOTATION, &long))?;
            let wanted = [ANNOTATION, r#""S\u{1b}trict "#, "bytes in full", "write Strict or Merge"];
            refused(cri, &pod, "app", &wanted)?;
            Ok(cri.remove_pod(&pod.id)?)
        }),
        trial("bad_annotation::key_of_an_unknown_form", |world| {
            let forms =
                ["/Pod", "/container.", "/container", "/", "/pods", "/Container.app", "/pod\n\u{1b}[2J"];
            all(forms.map(|form| (form, unknown_key(world, form))))
        }),
        trial("bad_annotation::fails_on_containerd_2_too", |world| {
            let cri = world.new.cri();
            let pod = cri.run_pod(&Pod::new("bad-new").annotation(ANNOTATION, "strict"))?;
            refused(cri, &pod, "app", &[ANNOTATION, r#""strict""#, "write Strict or Merge"])?;
            Ok(cri.remove_pod(&pod.id)?)
        }),
        trial("bad_annotation::text_is_the_same_at_every_try", |world| {
            let cri = world.old.cri();
            let mut pod = Pod::new("bad-many");
            for form in ["", "/pod", "/container.app", "/nothing", "/Pod"] {
                pod = pod.annotation(&format!("{ANNOTATION}{form}"), "no");
            }
            let pod = cri.run_pod(&pod)?;
            let key = format!("annotation {ANNOTATION} has");
            for _ in 0..8 {
                refused(cri, &pod, "app", &[&key, r#""no""#])?;
            }
            Ok(cri.remove_pod(&pod.id)?)
        }),
    ]
}

/// Every container of such a pod fails; one that names a container of its own right does not help.
fn whole_pod(world: &World, name: &str, form: &str) -> Result<()> {
    let cri = world.old.cri();
    let key = format!("{ANNOTATION}{form}");
    let pod = Pod::new(&format!("bad-whole-{name}")).annotation(&key, "strict");
    let pod = cri.run_pod(&pod.annotation(&format!("{ANNOTATION}/container.side"), "Strict"))?;
    for container in ["app", "side"] {
        let wanted = [&format!("annotation {key} has"), r#""strict""#, "write Strict or Merge"];
        refused(cri, &pod, container, &wanted)?;
    }
    // Meanwhile others get what they asked for.
    for (policy, groups) in [("Merge", &MERGED[..]), ("Strict", &STRICT)] {
        let other = Pod::new(&format!("bad-whole-{name}-other")).annotation(ANNOTATION, policy);
        let other = cri.run_pod(&other)?;
        has_groups(&launched(cri, &other, &named("app"))?, groups)?;
        cri.remove_pod(&other.id)?;
    }
    Ok(cri.remove_pod(&pod.id)?)
}

fn unknown_key(world: &World, form: &str) -> Result<()> {
    let cri = world.old.cri();
    let pod = Pod::new("bad-key").annotation(&format!("{ANNOTATION}{form}"), "Strict");
    let pod = cri.run_pod(&pod)?;
    let shown = format!("\"{ANNOTATION}{}\"", form.escape_default());
    let legal = [format!("{ANNOTATION}/pod"), format!("{ANNOTATION}/container.<name>")];
    refused(cri, &pod, "app", &[&shown, "is not understood", &legal[0], &legal[1]])?;
    Ok(cri.remove_pod(&pod.id)?)
}

/// Creating the container must fail with a text that a person can use.
fn refused(cri: &Cri, pod: &RunningPod, container: &str, wanted: &[&str]) -> Result<()> {
    let error = cri.create(pod, &named(container)).err().context("the container was created")?;
    let text = error.message;
    for part in wanted.iter().copied().chain([&*format!("pod default/{}", pod.name()), container]) {
        ensure!(text.contains(part), "no {part:?} in {text:?}");
    }
    ensure!(!text.contains(char::is_control), "control characters in {text:?}");
    ensure!(text.len() < 600, "{} bytes: {text:?}", text.len());
    Ok(())
}

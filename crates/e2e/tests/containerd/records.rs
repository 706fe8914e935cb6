//! containerd's API answers at first and fails when a container is resolved:
//! the container must not start, and says why.

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use tonic::Status;

use crate::steps::{MERGED, STRICT, expect, fresh, named, says, strict};
use crate::store::{Container, Fault, Store};
use crate::world::{World, trial};
use e2e::{Kind, Plugin, Pod, RunningPod};

const EXTENSION: &str = "io.cri-containerd.container.metadata";

/// What the gate says when not even the reason could be written into it.
const NEVER: &str = "supplementalGroupsPolicy Strict was never enforced";

/// Name, fault, what the log says, and whether `StartContainer` can say it too.
type Case = (&'static str, Fault, &'static str, bool);

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("records::what_cannot_be_resolved_does_not_start", refused)]
}

fn cases() -> Vec<Case> {
    vec![
        ("no-metadata", Fault::Altered(|record| drop(record.extensions.remove(EXTENSION))), EXTENSION, true),
        ("metadata-type", Fault::Altered(|record| metadata(record).0.push_str("/v2")), "unknown type", true),
        ("metadata-text", Fault::Altered(|record| metadata(record).1.truncate(9)), "no JSON object", true),
        (
            "metadata-shape",
            Fault::Altered(|record| *metadata(record).1 = br#"{"Version":"v1","Metadata":{}}"#.to_vec()),
            "has no Metadata.Config",
            true,
        ),
        (
            "metadata-version",
            Fault::Altered(|record| *metadata(record).1 = br#"{"Version":"v7"}"#.to_vec()),
            r#"unknown version "v7""#,
            true,
        ),
        ("no-process", Fault::Respelled(r#""process":"#, r#""progress":"#), "the spec has no process", true),
        ("no-spec", Fault::Altered(|record| record.spec = None), "has no spec of type", false),
        (
            "spec-type",
            Fault::Altered(|record| record.spec.get_or_insert_default().type_url.push('2')),
            "has no spec of type",
            false,
        ),
        (
            "spec-text",
            Fault::Altered(|record| record.spec.get_or_insert_default().value.truncate(99)),
            "no JSON object",
            false,
        ),
        (
            "too-large",
            Fault::Altered(|record| record.spec.get_or_insert_default().value.resize(33 << 20, b' ')),
            // It is refused for its size, or, where that took too long, for the time.
            "containerd's API at",
            false,
        ),
        ("not-found", Fault::GetFails(|| Status::not_found("no such container")), "does not know", false),
        ("denied", Fault::GetFails(|| Status::permission_denied("not you")), "not you", false),
        ("internal", Fault::GetFails(|| Status::internal("bolt: \n broken")), "broken", false),
        ("get-hangs", Fault::GetHangs, "did not answer within", false),
        ("update-fails", Fault::UpdateFails(|| Status::unavailable("read-only")), "read-only", false),
        ("update-hangs", Fault::UpdateHangs, "did not answer within", false),
    ]
}

/// Type and value of the extension that holds the declared groups.
fn metadata(record: &mut Container) -> (&mut String, &mut Vec<u8>) {
    let extension = record.extensions.entry(EXTENSION.to_owned()).or_default();
    (&mut extension.type_url, &mut extension.value)
}

fn refused(world: &World) -> Result<()> {
    let daemon = fresh(world, Kind::V1_7)?;
    let store = Store::start(&daemon.dir().join("double.sock"), &daemon.socket())?;
    let plugin = Plugin::start_with_api(&daemon, store.socket())?;
    let cri = daemon.cri();
    let (pod, merged) = (cri.run_pod(&strict("records"))?, cri.run_pod(&Pod::new("records-merge"))?);
    let works = |pod: &RunningPod, name: &str, groups: &[u32]| -> Result<()> {
        let container = cri.launch(pod, &named(name))?;
        expect(&daemon, &container, groups)?;
        Ok(cri.stop(&container)?)
    };

    let mut problems = Vec::new();
    for (name, fault, logged, told) in cases() {
        store.set(fault);
        let result = (|| {
            let container = cri.create(&pod, &named(name))?;
            let Err(error) = cri.start(&container) else { anyhow::bail!("it was started") };
            let (_, line) = error.message.rsplit_once("strict-groups: ").context(error.message.clone())?;
            let subject = format!("pod default/records, container {name}: ");
            let help = if told { "delete the pod" } else { "the kubelet tries again" };
            says(line, &[&subject, if told { logged } else { NEVER }, "see ", help])?;
            let line = plugin.wait_log(|line| line.contains(&format!("container=\"{name}\"")))?;
            says(&line, &["ERROR", logged, "pod=\"records\" namespace=\"default\""])?;
            works(&merged, name, &MERGED).context("a Merge container at the same time")
        })();
        if let Err(error) = result {
            problems.push(format!("{name}: {error:#}"));
        }
    }
    store.set(Fault::None);
    works(&pod, "healed", &STRICT).context("after all is well again")?;
    ensure!(problems.is_empty(), "{}", problems.join("\n"));
    ensure!(!plugin.log().contains("WARN"), "{}", plugin.log());
    daemon.stop()
}

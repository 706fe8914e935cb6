//! The policy in the pod's spec, which containerd 1.7 never hears of: it comes from the Kubernetes API.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use nix::sys::signal::Signal;

use crate::steps::{ANNOTATION, MERGED, STRICT, has_groups, launched, named};
use crate::world::{World, trial};
use e2e::kube_api::{KubeApi, Reply, pod};
use e2e::{Containerd, Image, Kind, Options, Plugin, Pod};

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial("pod_spec::strict_in_the_spec_needs_no_annotation", |world: &World| {
        let options = Options::default().nri();
        let daemon = Containerd::start(&world.machine, &Arc::clone(&world.run), Kind::V1_7, options)?;
        daemon.import(&Image::example(&world.machine)?)?;
        enforced(&daemon)?;
        daemon.stop()
    })]
}

fn enforced(daemon: &Containerd) -> Result<()> {
    let specs = ["says-strict", "says-nothing", "contradicts", "unknown"].map(Pod::new);
    let [strict, silent, contradicts, unknown] = specs.clone();
    let uids = specs.map(|pod| pod.config.metadata.unwrap_or_default());
    // What the spec declares is not what the kubelet sent: on containerd the latter counts.
    let api = KubeApi::start(move |_, asked| {
        let found = uids.iter().find(|pod| asked.line.contains(&format!("/default/pods/{} ", pod.name)));
        let context = match found.map(|pod| pod.name.as_str()) {
            Some("says-strict" | "contradicts") => {
                r#"{"supplementalGroups":[7777],"supplementalGroupsPolicy":"Strict"}"#
            }
            Some("says-nothing") => r#"{"supplementalGroups":[4000]}"#,
            _ => return Reply::Now(404, "{}".to_owned()),
        };
        Reply::Now(200, pod(found.map_or("", |pod| &pod.uid), context))
    });
    let kubeconfig = api.kubeconfig(daemon.dir(), "{token: t}");
    let config = format!("[kubernetes]\nenabled = true\nkubeconfig = \"{}\"\n", kubeconfig.display());
    let plugin = Plugin::start(daemon, Some(&config), &[])?;
    let cri = daemon.cri();
    for (pod, wanted) in [(&strict, &STRICT[..]), (&silent, &MERGED), (&unknown, &MERGED)] {
        let pod = cri.run_pod(pod)?;
        has_groups(&launched(cri, &pod, &named("app"))?, wanted).with_context(|| pod.name())?;
        cri.remove_pod(&pod.id)?;
    }
    plugin.wait_log(|line| line.contains("pod=\"unknown\"") && line.contains("no such pod (404)"))?;

    let pod = cri.run_pod(&contradicts.annotation(ANNOTATION, "Merge"))?;
    let error = cri.create(&pod, &named("app")).err().context("the contradiction was accepted")?.message;
    ensure!(error.contains("pod default/contradicts, container app: annotation"), "{error}");
    ensure!(error.contains("in the pod's spec says Strict"), "{error}");
    cri.remove_pod(&pod.id)?;

    // The sandbox runs and the plugin is new: it asks when it registers, or when the container comes.
    let pod = cri.run_pod(&strict)?;
    plugin.stop(Signal::SIGTERM)?;
    let created = cri.create(&pod, &named("created"))?;
    let plugin = Plugin::start(daemon, Some(&config), &[])?;
    plugin.wait_log(|line| line.contains("enforced before its start"))?;
    cri.start(&created)?;
    has_groups(&crate::steps::identity(cri, &created)?, &STRICT)?;
    has_groups(&launched(cri, &pod, &named("later"))?, &STRICT)?;
    cri.remove_pod(&pod.id)?;
    let code = plugin.stop(Signal::SIGTERM)?;
    ensure!(code == Some(0), "the plugin ended with {code:?}");
    Ok(())
}

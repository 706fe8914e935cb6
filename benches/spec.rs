//! How long deciding and filtering take, beside the floors on the same machine in the same run.
//!
//! Budget: a spec of 30 KB is filtered in under 200 µs.

#![allow(clippy::expect_used, clippy::indexing_slicing, missing_docs, reason = "a bench may panic")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use serde_json::value::RawValue;
use strict_groups_core::gate::{Gate, State};
use strict_groups_core::policy::{Facts, NodePolicy};
use strict_groups_core::{groups, spec};

const FIXTURE: &str = include_str!("../tests/fixtures/containerd-1.7.24/config.json");
const SIZE: usize = 30 * 1024;

/// A spec of 30 KB with a pending gate: the fixture with as many variables (service links) and
/// mounts as a large pod has.
fn large_spec() -> Vec<u8> {
    let gate =
        Gate { pod: "default/web".into(), container: "app".into(), state: State::Pending { declared: None } };
    let mut spec: Value = serde_json::from_str(FIXTURE).expect("the fixture is JSON");
    spec["process"]["user"]["additionalGids"] = serde_json::json!([3000, 4000, 50000]);
    spec["hooks"]["createRuntime"][0] =
        serde_json::json!({"path": "/usr/bin/strict-groups", "args": gate.args()});
    for n in 0.. {
        let variable = format!("SERVICE_{n}_PORT_8443_TCP_ADDR=tcp://10.96.{}.{}:8443", n / 250, n % 250);
        push(&mut spec["process"]["env"], variable.into());
        if n % 3 == 0 {
            let source = format!("/var/lib/kubelet/pods/0c3f/volumes/kubernetes.io~projected/volume-{n}");
            let options = ["rbind", "rprivate", "ro"];
            let mount = serde_json::json!({
                "destination": format!("/data/{n}"), "type": "bind", "source": source, "options": options,
            });
            push(&mut spec["mounts"], mount);
        }
        let json = spec.to_string();
        if json.len() >= SIZE {
            return json.into_bytes();
        }
    }
    Vec::new()
}

fn push(list: &mut Value, item: Value) {
    list.as_array_mut().expect("the fixture has this list").push(item);
}

fn specs(c: &mut Criterion) {
    let pending = large_spec();
    let resolution = spec::resolve(&pending, &[4000]).expect("the spec is good");
    assert_eq!((&resolution.groups[..], &resolution.removed[..]), (&[3000, 4000][..], &[50000][..]));
    let resolved = resolution.json.expect("there was something to do");

    let mut group = c.benchmark_group("spec-30k");
    group.throughput(Throughput::Bytes(pending.len() as u64));
    group.bench_function("floor: copy", |b| b.iter(|| black_box(&pending).clone()));
    group.bench_function("floor: scan", |b| {
        b.iter(|| serde_json::from_slice::<&RawValue>(black_box(&pending)).is_ok());
    });
    group.bench_function("resolve", |b| b.iter(|| spec::resolve(black_box(&pending), &[4000])));
    group.bench_function("resolve again", |b| b.iter(|| spec::resolve(black_box(&resolved), &[4000])));
    group.bench_function("read and verify", |b| {
        b.iter(|| {
            spec::read(black_box(&resolved)).map(|view| {
                view.gates.iter().all(|gate| gate.verify_spec(&view.user, view.keeps_original_groups).is_ok())
            })
        });
    });
    group.finish();
}

fn decisions(c: &mut Criterion) {
    let mut annotations: HashMap<String, String> = HashMap::new();
    for n in 0..8 {
        annotations.insert(format!("example.com/annotation-{n}"), "value".into());
    }
    let node = NodePolicy::default();
    let decide = |annotations: &_| {
        let namespace = Some("default");
        node.decide::<&HashMap<String, String>, _, _>(&Facts {
            annotations,
            container: "app",
            namespace,
            labels: None,
            field: None,
        })
    };
    c.bench_function("decide: nothing said", |b| b.iter(|| decide(black_box(&annotations))));
    annotations.insert("supplemental-groups-policy.noderesource.dev/pod".into(), "Strict".into());
    c.bench_function("decide: Strict", |b| b.iter(|| decide(black_box(&annotations))));
}

fn many_groups(c: &mut Criterion) {
    let made: Vec<u32> = (0..65536).collect();
    let declared: Vec<u32> = (0..65536).step_by(2).collect();
    c.bench_function("filter 65536 groups", |b| b.iter(|| groups::strict(0, black_box(&made), &declared)));

    let mut file = String::new();
    for n in 0..60 {
        let _ = writeln!(file, "group-{n}:x:{n}:user");
    }
    c.bench_function("names in /etc/group", |b| {
        b.iter(|| groups::names(black_box(file.as_bytes()), &[7, 59]));
    });
}

criterion_group!(benches, specs, decisions, many_groups);
criterion_main!(benches);

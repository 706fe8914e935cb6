//! Writes the first files of every corpus, from what real runtimes wrote (`tests/fixtures`). Run it in the project's
//! folder; it leaves other files alone.

use std::{error::Error, fs, path::Path};

use prost::Message;
use serde_json::{Value, json};
use strict_groups_core::{gate::{Gate, State}, policy::ANNOTATION};
use nri_plugin::api::CreateContainerRequest;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const SPECS: [&str; 2] = ["containerd-1.7.24/config.json", "crio-1.30.14/config.container.json"];
const RUNTIMES: [&str; 3] = ["containerd-1.7.24", "containerd-2.1.9", "cri-o-1.30.14"];

/// A ttrpc `Request`, as far as it takes to find a payload.
#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
}

fn main() -> Result<()> {
    annotations()?;
    configurations()?;
    requests()?;
    cri_messages()?;
    metadata()?;
    gates()?;
    group_files()?;
    user_files()?;
    command_lines()?;
    runtime_states()?;
    kubeconfigs()?;
    grpc_frames()?;
    streams()?;
    hooks()?;
    specs()
}

fn fixture(name: &str) -> Result<Vec<u8>> {
    let path = Path::new("tests/fixtures").join(name);
    fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// What was recorded of a container runtime's NRI.
fn recorded(name: &str) -> Result<Vec<u8>> {
    let path = Path::new("crates/nri-plugin/tests/fixtures").join(name);
    fs::read(&path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn seed(target: &str, name: &str, content: impl AsRef<[u8]>) -> Result<()> {
    let folder = Path::new("fuzz/corpus").join(target);
    fs::create_dir_all(&folder)?;
    Ok(fs::write(folder.join(format!("seed-{name}")), content)?)
}

fn annotations() -> Result<()> {
    let forms = [
        ("none", String::new()),
        ("pod", format!("\0{ANNOTATION}\0Strict")),
        ("long", format!("\0{ANNOTATION}/pod\0Merge")),
        ("container", format!("\0{ANNOTATION}\0Merge\0{ANNOTATION}/container.app\0Strict")),
        ("other", format!("\0{ANNOTATION}/container.other\0nonsense\0another.example/key\0value")),
        ("wrong", format!("\0{ANNOTATION}\0strict\0{ANNOTATION}/container.\0Strict")),
    ];
    for (name, form) in forms {
        for node in 0..4_u8 {
            seed(
                "annotation",
                &format!("{name}-{node}"),
                [&[node], "app".as_bytes(), form.as_bytes()].concat(),
            )?;
        }
    }
    Ok(())
}

fn configurations() -> Result<()> {
    seed("config", "empty", "")?;
    seed("config", "comment", "# nothing\n")?;
    seed("config", "value", "default_policy = \"strict\"\n")?;
    seed("config", "key", "default_polcy = \"Strict\"\n")?;
    seed(
        "config",
        "rules",
        "mode = \"audit\"\n[[rule]]\nnamespaces = [\"a\", \"team-*\"]\nlabels = { app = \"web\", \"a/b\" = \"*\" }\n\
         policy = \"Strict\"\npods_may_override = true\n",
    )?;
    seed("config", "relative", "hook_path = \"strict-groups\"\n")?;
    seed(
        "config",
        "all",
        "default_policy = \"Strict\"    # for pods without the annotation\npods_may_override = false\n\
         hook_path = '/usr/local/bin/strict-groups'\n",
    )
}

/// The messages that the runtime sent to a plugin, without their headers.
fn messages(stream: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut rest = stream;
    while let Some((header, after)) = rest.split_first_chunk::<8>() {
        let (payload, after) = after.split_at_checked(u32::from_be_bytes(*header.last_chunk()?) as usize)?;
        if header[3] == 1 {
            bytes.extend_from_slice(payload);
        }
        rest = after;
    }
    let mut messages = Vec::new();
    let mut rest = &*bytes;
    while let Some((header, after)) = rest.split_first_chunk::<10>() {
        let (payload, after) = after.split_at_checked(u32::from_be_bytes(*header.first_chunk()?) as usize)?;
        messages.push(payload.to_vec());
        rest = after;
    }
    Some(messages)
}

fn requests() -> Result<()> {
    for runtime in RUNTIMES {
        let stream = recorded(&format!("{runtime}.to-plugin.bin"))?;
        for message in messages(&stream).ok_or("the recorded stream is cut")? {
            let request = Request::decode(&*message)?;
            if request.method != "CreateContainer" {
                seed("decide", &format!("{runtime}-{}", request.method), [&[4], &*message].concat())?;
                continue;
            }
            seed("decide", &format!("{runtime}-whole"), [&[4], &*message].concat())?;
            for (node, key, value) in [
                (0, "", "Strict"),
                (1, "", "Merge"),
                (3, "/pod", "Merge"),
                (0, "/container.", "Strict"),
                (0, "", "strict"),
            ] {
                let mut create = CreateContainerRequest::decode(&*request.payload)?;
                let (pod, container) = (create.pod.as_mut(), create.container.as_mut());
                let (pod, container) =
                    pod.zip(container).ok_or("no pod or container in the recorded request")?;
                let name = if key == "/container." { &container.name } else { "" };
                // Maps have no order: with one entry each they are written the same every time.
                pod.annotations.clear();
                pod.labels.clear();
                pod.linux = None;
                container.annotations.clear();
                container.labels.clear();
                pod.annotations.insert(format!("{ANNOTATION}{key}{name}"), value.into());
                let name = format!("{runtime}-{node}{}-{value}", key.replace(['/', '.'], "-"));
                // The smaller half of the message is what the decision is made from.
                container.mounts.clear();
                container.linux = None;
                container.env.clear();
                seed("decide", &name, [&[node], &*create.encode_to_vec()].concat())?;
            }
        }
    }
    Ok(())
}

/// A field of a protobuf message that is a message or a string itself.
fn field(number: u8, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut field);
    [field, content.to_vec()].concat()
}

/// What passes the CRI proxy, written by the field numbers of `proto/cri.proto`.
fn cri_messages() -> Result<()> {
    let pod = [field(1, "web"), field(2, "uid"), field(3, "default")].concat();
    let annotation = |key: &str, value: &str| field(7, [field(1, key), field(2, value)].concat());
    for (name, policy, annotations) in [
        ("merge", 0, vec![]),
        ("strict", 1, annotation("other", "x")),
        ("both", 1, annotation(ANNOTATION, "Strict")),
        ("against", 1, annotation(&format!("{ANNOTATION}/pod"), "Merge")),
        ("unknown", 2, vec![]),
    ] {
        let linux = field(8, field(2, [6 << 3, 0, 11 << 3, policy]));
        let sandbox = field(1, [field(1, &pod), annotations, linux].concat());
        seed("cri", &format!("sandbox-{name}"), [vec![0], sandbox].concat())?;
        // supplemental_groups_policy is field 17: a key of two bytes.
        let linux = field(15, field(2, [11 << 3, 1, 0x88, 1, policy]));
        let config = [field(1, field(1, "app")), linux].concat();
        let container = [field(1, "s1"), field(2, config), field(3, field(1, &pod))].concat();
        seed("cri", &format!("container-{name}"), [vec![1], container].concat())?;
    }
    seed("cri", "runtime", [vec![2], field(1, ""), field(4, [2 << 3, 1])].concat())?;
    let info =
        [field(1, "info"), field(2, fixture("containerd-1.7.24/container-status-info.json")?)].concat();
    let status = [field(1, "c1"), vec![3 << 3, 1]].concat();
    seed("cri", "status", [vec![3], field(1, &status), field(2, &info)].concat())?;
    let user = vec![0x92, 1, 2, 10, 0];
    seed("cri", "status-user", [vec![3], field(1, [status, user].concat()), field(2, info)].concat())
}

fn metadata() -> Result<()> {
    seed("declared", "containerd-1.7", fixture("containerd-1.7.24/container-metadata-extension.json")?)?;
    seed("declared", "sandbox", fixture("containerd-1.7.24/sandbox-metadata-extension.json")?)?;
    let context = json!({"supplemental_groups": [4000, 50000]});
    for (name, linux) in [("groups", json!({ "security_context": context })), ("none", json!({}))] {
        let metadata = json!({"Version": "v1", "Metadata": {"Config": {"linux": linux}}});
        seed("declared", name, metadata.to_string())?;
    }
    Ok(())
}

fn all_gates() -> [(&'static str, Gate); 3] {
    let gate = |state| Gate { pod: "default/web".into(), container: "app".into(), state };
    [
        ("pending", gate(State::Pending { declared: None })),
        ("resolved", gate(State::Resolved { groups: vec![3000, 4000], removed: vec![50000] })),
        ("refused", gate(State::Refused { reason: "containerd's record has no spec".into() })),
    ]
}

fn gates() -> Result<()> {
    for (name, gate) in all_gates() {
        seed("gate", name, gate.args().join("\0"))?;
    }
    seed(
        "gate",
        "static",
        "strict-groups\0hook\0--gate=static\0--runtime=containerd\0--config=/etc/sg.toml",
    )?;
    seed("gate", "foreign", "nvidia-container-runtime-hook\0prestart")?;
    seed("gate", "none", "strict-groups\0hook\0--gate=resolved\0--pod=a/b\0--container=c\0--groups=")
}

fn group_files() -> Result<()> {
    seed(
        "group_file",
        "alpine",
        "0,44,50000\nroot:x:0:root\nvideo:x:44:a,b\ngroup-in-image:x:50000:alice\n",
    )?;
    seed(
        "group_file",
        "broken",
        b"7,4294967295\n\n::\n:x:7:\n#off:x:7:\nseven:x:seven:\nseven:x\n\xff\xfe\nok:x:7\r\nlast:x:4294967295:",
    )?;
    // What made the hook slow once.
    seed("group_file", "spaces", "7*524288\n ")?;
    seed("group_file", "aliases", "7,8,9*20000\n10:x:1:\n\u{a0}\u{3000}\n")
}

fn user_files() -> Result<()> {
    let passwd = "root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n";
    let group = "root:x:0:\nalice:x:1000:\ngroup-in-image:x:50000:alice\nnone:x:7:,\n";
    let both = |first: &str| [first.as_bytes(), passwd.as_bytes(), &[0xff], group.as_bytes()].concat();
    seed("passwd", "alice", both("1000\n"))?;
    seed("passwd", "two", both("0,1000\n"))?;
    seed(
        "passwd",
        "broken",
        b"0\n:x:\nalice\n:x:-1\n\xff x:x:abc:alice\n#:x:1:alice\n\xc2\xa0y:x:99999999999:,\r\n",
    )?;
    seed("passwd", "spaces", "7*524288\n \u{85}")?;
    seed("passwd", "members", "7*100000\na:x:7:a,b")
}

fn command_lines() -> Result<()> {
    for (name, line) in [
        ("create", "--root /run/runc --log /l --log-format json create --bundle /b --pid-file /p c1"),
        ("crun", "--cgroup-manager=systemd create -b/b -f other.json c1"),
        ("exec", "--root=/r exec --process /p --detach -- c1"),
        ("unknown", "--new exec -tp/p --new-option c1"),
        ("restore", "-root /r restore --bundle=/b c1"),
        ("start", "start c1"),
        ("run", "run --bund /b c1"),
        ("none", ""),
    ] {
        seed("argv", name, line.replace(' ', "\0"))?;
    }
    Ok(())
}

fn runtime_states() -> Result<()> {
    for (name, state) in [
        ("runc", r#"{"id":"c1","init_process_pid":7,"config":{"labels":["a=b","bundle=/a","bundle=/b"]}}"#),
        ("crun", r#"{"pid":7,"bundle":"/b","rootfs":"/r"}"#),
        ("spec", r#"{"ociVersion":"1.0.2","id":"c1","status":"running","pid":0,"bundle":"/b"}"#),
        ("null", r#"{"pid":null,"bundle":null,"config":{}}"#),
    ] {
        seed("runtime_state", name, state)?;
    }
    Ok(())
}

fn kubeconfigs() -> Result<()> {
    let config = |user: &str, cluster: &str| {
        format!(
            "current-context: c\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\nclusters:\n- name: k\n  cluster:\n    \
             server: https://10.0.0.1:6443\n{cluster}users:\n- name: u\n  user:\n{user}"
        )
    };
    let authority = "    certificate-authority: /etc/kubernetes/ca.crt\n";
    seed(
        "kubeconfig",
        "kubelet",
        config("    client-certificate: pki/a.pem\n    client-key: pki/a.pem\n", authority),
    )?;
    seed(
        "kubeconfig",
        "token",
        config("    tokenFile: token\n    token: dG9rZW4K\n", "    certificate-authority-data: Y2EK\n"),
    )?;
    seed("kubeconfig", "exec", config("    exec: {command: aws}\n", authority))?;
    seed("kubeconfig", "anchors", "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n")
}

fn grpc_frames() -> Result<()> {
    let message = prost_types_any("type.googleapis.com/google.rpc.Status", b"x");
    let frame = |kind: u8, message: &[u8]| [&[kind, 0, 0, 0, message.len() as u8], message].concat();
    for (name, body) in [
        ("one", frame(0, &message)),
        ("two", [frame(0, &message), frame(0, &message)].concat()),
        ("compressed", frame(1, &message)),
        ("cut", frame(0, &message)[..9].to_vec()),
        ("large", vec![0, 0xff, 0xff, 0xff, 0xff, 0]),
        ("empty", frame(0, b"")),
    ] {
        for target in ["grpc", "cri_frames"] {
            seed(target, name, [vec![3], body.clone()].concat())?;
        }
    }
    Ok(())
}

/// The message `google.protobuf.Any`.
fn prost_types_any(url: &str, value: &[u8]) -> Vec<u8> {
    [&[0x0a, url.len() as u8], url.as_bytes(), &[0x12, value.len() as u8], value].concat()
}

fn streams() -> Result<()> {
    for runtime in RUNTIMES {
        for side in ["to-plugin", "from-plugin"] {
            let stream = recorded(&format!("{runtime}.{side}.bin"))?;
            seed("mux", &format!("{runtime}-{side}"), [&[3, 0, 200, 6], &*stream].concat())?;
        }
    }
    // Small ones, since most of a real stream is strings: an empty frame, two messages in one frame, one in two.
    let message = [0, 0, 0, 2, 0, 0, 0, 1, 1, 0, 9, 9];
    let frame = |payload: &[u8]| [&[0, 0, 0, 1, 0, 0, 0, payload.len() as u8], payload].concat();
    seed("mux", "small", [vec![1, 0], frame(&[]), frame(&message.repeat(2))].concat())?;
    seed("mux", "split", [vec![0], frame(&message[..5]), frame(&message[5..])].concat())
}

/// A runtime's spec, without what is long and beside the point, and with `gate`.
fn gated(fixture: &[u8], gate: &Gate) -> Result<Value> {
    let mut spec: Value = serde_json::from_slice(fixture)?;
    spec["linux"] = json!({"namespaces": [{"type": "pid"}]});
    spec["mounts"] = json!([]);
    spec["process"]["capabilities"] = json!({});
    let hook = json!({"path": "/usr/bin/strict-groups", "args": gate.args(), "timeout": 10});
    spec["hooks"]["createRuntime"] = json!([hook, {"path": "/bin/true", "args": ["true"]}]);
    Ok(spec)
}

fn hooks() -> Result<()> {
    let state = json!({
        "ociVersion": "1.0.2", "id": "c1", "status": "created", "pid": 42,
        "bundle": "/run/containerd/io.containerd.runtime.v2.task/k8s.io/c1", "annotations": {"a": "b"}
    });
    for (number, spec) in SPECS.iter().enumerate() {
        for policy in ["Strict", "Merge", "strict"] {
            for runtime in ["containerd", "cri-o"] {
                let mut spec: Value = serde_json::from_slice(&fixture(spec)?)?;
                for beside_the_point in ["linux", "mounts", "hooks"] {
                    spec[beside_the_point] = Value::Null;
                }
                spec["annotations"][ANNOTATION] = json!(policy);
                let args = format!("strict-groups\0hook\0--gate=static\0--runtime={runtime}");
                let group_file = "root:x:0:\n50000:x:50001:\n".to_owned();
                let parts = [args, state.to_string(), spec.to_string(), String::new(), group_file];
                let bytes = parts.each_ref().map(String::as_bytes).join(&0xff);
                seed("oci_state", &format!("{number}-static-{runtime}-{policy}"), bytes)?;
            }
        }
        for (name, gate) in all_gates() {
            for (groups, list) in [("few", json!([3000, 4000])), ("many", json!([3000, 4000, 50000]))] {
                let mut spec = gated(&fixture(spec)?, &gate)?;
                spec["process"]["user"] = json!({"uid": 1000, "gid": 3000, "additionalGids": list});
                let parts = [gate.args().join("\0"), state.to_string(), spec.to_string()];
                let bytes = parts.each_ref().map(String::as_bytes).join(&0xff);
                seed("oci_state", &format!("{number}-{name}-{groups}"), bytes)?;
            }
        }
    }
    Ok(())
}

fn specs() -> Result<()> {
    for (number, name) in SPECS.iter().enumerate() {
        let spec = fixture(name)?;
        seed("spec", &format!("{number}-real"), [b"4000\n", &*spec].concat())?;
        for (name, gate) in all_gates() {
            let json = gated(&spec, &gate)?;
            seed("spec", &format!("{number}-{name}"), format!("4000,7\n{json}"))?;
            seed("spec", &format!("{number}-{name}-pretty"), format!("\n{json:#}"))?;
        }
    }
    let args = all_gates()[0].1.args();
    let small = json!({"process": {}, "hooks": {"createRuntime": [{"args": args}]}});
    seed("spec", "small", format!("0\n{small}"))?;
    seed("spec", "no-hooks", "0\n{\"process\":{\"user\":{\"gid\":1,\"additionalGids\":[1,2]}}}")
}

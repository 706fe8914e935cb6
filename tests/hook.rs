//! `strict-groups hook` as the OCI runtime calls it: the real binary, a bundle
//! on disk, the state on stdin. Every refusal is one line that says why.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use strict_groups_core::gate::{Gate, State};

const POLICY: &str = "supplemental-groups-policy.noderesource.dev";
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
const SPEC: &str = include_str!("fixtures/containerd-1.7.24/config.json");

fn gate(state: State) -> Gate {
    Gate { pod: "default/web".into(), container: "app".into(), state }
}

fn resolved(groups: &[u32]) -> Gate {
    gate(State::Resolved { groups: groups.to_vec(), removed: vec![50000] })
}

/// containerd's real spec with these groups and this gate.
fn spec(gid: u32, groups: &[u32], gate: &Gate) -> Value {
    let mut spec: Value = serde_json::from_str(SPEC).unwrap();
    spec["process"]["user"] = json!({"uid": 1000, "gid": gid, "additionalGids": groups});
    spec["hooks"]["createRuntime"][0] = json!({"path": "/usr/bin/strict-groups", "args": gate.args()});
    spec
}

/// A bundle, in a folder where the bundle of its sandbox can be beside it.
struct Bundle(tempfile::TempDir);

impl Bundle {
    fn empty() -> Self {
        let bundle = Self(tempfile::tempdir().unwrap());
        fs::create_dir(bundle.path()).unwrap();
        bundle
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("abc")
    }

    /// Gives it a sandbox that was made with these annotations.
    fn sandbox(&self, annotations: &Value) {
        let spec: Value = serde_json::from_str(SPEC).unwrap();
        let id = spec["annotations"]["io.kubernetes.cri.sandbox-id"].as_str().unwrap();
        let path = self.0.path().join(id);
        fs::create_dir_all(&path).unwrap();
        let spec = json!({"process": {}, "annotations": annotations});
        fs::write(path.join("config.json"), spec.to_string()).unwrap();
    }

    fn with(spec: &Value) -> Self {
        let bundle = Self::empty();
        fs::create_dir_all(bundle.path().join("rootfs/etc")).unwrap();
        fs::write(bundle.config(), spec.to_string()).unwrap();
        bundle
    }

    fn config(&self) -> PathBuf {
        self.path().join("config.json")
    }

    fn run(&self, gate: &Gate) -> Output {
        run(&gate.args()[1..], &state(&self.path()))
    }

    /// The one line of a refusal.
    fn refused(&self, gate: &Gate) -> String {
        refusal(&self.run(gate))
    }
}

fn state(bundle: &Path) -> Vec<u8> {
    json!({"ociVersion": "1.2.0", "id": "abc", "status": "created", "pid": std::process::id(), "bundle": bundle,
           "annotations": {"io.kubernetes.cri.container-name": "app"}})
    .to_string()
    .into_bytes()
}

fn run(args: &[String], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_strict-groups"))
        .args(args)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The hook may refuse before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}

fn refusal(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(text.matches('\n').count(), 1, "one line: {text:?}");
    assert!(text.ends_with('\n') && text.starts_with("strict-groups: "), "{text:?}");
    assert!(text.len() < 1000, "short: {text:?}");
    text
}

/// Refusals that know the container say its name.
fn about_the_container(text: &str) -> &str {
    assert!(text.contains("pod default/web, container app"), "{text}");
    text
}

#[test]
fn resolved_groups_may_start_and_nothing_is_printed() {
    for groups in [&[3000, 4000][..], &[4000, 3000], &[3000], &[]] {
        let gate = resolved(&[3000, 4000]);
        let output = Bundle::with(&spec(3000, groups, &gate)).run(&gate);
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn largest_gid_may_start() {
    let gate = resolved(&[0, u32::MAX - 1]);
    let output = Bundle::with(&spec(0, &[0, u32::MAX - 1], &gate)).run(&gate);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn pending_gate_refuses() {
    let gate = gate(State::Pending { declared: None });
    let text = Bundle::with(&spec(3000, &[3000, 4000], &gate)).refused(&gate);
    assert!(about_the_container(&text).contains("never enforced"), "{text}");
}

#[test]
fn under_crio_a_pending_gate_says_what_to_install() {
    let gate = gate(State::Pending { declared: None });
    let mut spec = spec(3000, &[3000, 4000], &gate);
    spec["annotations"]["io.kubernetes.cri-o.ContainerID"] = json!("abc");
    let text = Bundle::with(&spec).refused(&gate);
    for part in ["never enforced", "strict-groups-runtime", "runtime_path", "strict-groups config crio"] {
        assert!(about_the_container(&text).contains(part), "no {part}: {text}");
    }
    // A pod's author can write any id but the container's own.
    spec["annotations"]["io.kubernetes.cri-o.ContainerID"] = json!("abd");
    let text = Bundle::with(&spec).refused(&gate);
    assert!(text.contains("did not finish its work") && !text.contains("config crio"), "{text}");
    // The static gate says the same.
    spec["annotations"]["io.kubernetes.cri-o.ContainerID"] = json!("abc");
    let args = ["hook", "--gate=static", "--runtime=cri-o"].map(String::from);
    let bundle = Bundle::with(&spec);
    let text = refusal(&run(&args, &state(&bundle.path())));
    assert!(about_the_container(&text).contains("strict-groups config crio"), "{text}");
}

#[test]
fn refused_gate_tells_its_reason() {
    let gate = gate(State::Refused { reason: "the moon is full".into() });
    let text = Bundle::with(&spec(3000, &[3000, 4000], &gate)).refused(&gate);
    assert!(about_the_container(&text).contains("the moon is full"), "{text}");
}

#[test]
fn one_group_too_many_refuses() {
    let gate = resolved(&[3000, 4000]);
    let text = Bundle::with(&spec(3000, &[3000, 4000, 50000], &gate)).refused(&gate);
    assert!(about_the_container(&text).contains("50000"), "{text}");
    let text = Bundle::with(&spec(50000, &[3000, 4000], &gate)).refused(&gate);
    assert!(about_the_container(&text).contains("50000"), "the primary gid counts: {text}");
}

#[test]
fn cruns_way_around_setgroups_refuses() {
    let gate = resolved(&[3000]);
    let mut spec = spec(3000, &[3000], &gate);
    spec["annotations"]["run.oci.keep_original_groups"] = json!("0");
    let text = Bundle::with(&spec).refused(&gate);
    assert!(about_the_container(&text).contains("run.oci.keep_original_groups"), "{text}");
}

/// Gives the bundle a root file system with this /etc/group.
fn group_file(bundle: &Bundle, file: &str) {
    fs::create_dir_all(bundle.path().join("rootfs/etc")).unwrap();
    fs::write(bundle.path().join("rootfs/etc/group"), file).unwrap();
}

#[test]
fn group_that_runc_would_take_for_another_refuses() {
    let gate = resolved(&[3000, 4000]);
    let bundle = Bundle::with(&spec(3000, &[3000, 4000], &gate));
    group_file(&bundle, "root:x:0:\n4000:x:50000:\n");
    let text = bundle.refused(&gate);
    assert!(about_the_container(&text).contains("named \"4000\" but has GID 50000"), "{text}");

    group_file(&bundle, "root:x:0:\n4000:x:4000:\nx:x:50000:alice\n");
    assert!(bundle.run(&gate).status.success());
}

#[test]
fn group_file_that_cannot_be_read_refuses() {
    let gate = resolved(&[3000]);
    let bundle = Bundle::with(&spec(3000, &[3000], &gate));
    fs::create_dir_all(bundle.path().join("rootfs/etc/group")).unwrap();
    let text = bundle.refused(&gate);
    assert!(about_the_container(&text).contains("it is no regular file"), "{text}");
}

#[test]
fn spec_without_this_gate_refuses() {
    let gate = resolved(&[3000, 4000]);
    let mut none = spec(3000, &[3000, 4000], &gate);
    none["hooks"]["createRuntime"] = json!([{"path": "/bin/true", "args": ["hook"]}]);
    let text = Bundle::with(&none).refused(&gate);
    assert!(about_the_container(&text).contains("does not have this gate"), "{text}");

    let other = spec(3000, &[3000, 4000], &resolved(&[3000, 4000, 5000]));
    let text = Bundle::with(&other).refused(&gate);
    assert!(about_the_container(&text).contains("does not have this gate"), "{text}");
}

#[test]
fn config_that_is_cut_short_refuses_at_every_length() {
    let gate = resolved(&[3000, 4000]);
    let whole = spec(3000, &[3000, 4000], &gate).to_string();
    let bundle = Bundle::empty();
    for length in [0, 1, 10, whole.len() / 2, whole.len() - 1] {
        fs::write(bundle.config(), &whole[..length]).unwrap();
        let text = bundle.refused(&gate);
        assert!(about_the_container(&text).contains("config.json is not understood"), "{text}");
    }
    fs::write(bundle.config(), format!("{whole}}}")).unwrap();
    about_the_container(&bundle.refused(&gate));
}

#[test]
fn config_that_is_no_file_refuses_without_waiting() {
    let gate = resolved(&[3000]);

    let bundle = Bundle::empty();
    about_the_container(&bundle.refused(&gate));

    fs::create_dir(bundle.config()).unwrap();
    assert!(bundle.refused(&gate).contains("not a regular file"));

    let bundle = Bundle::empty();
    nix::unistd::mkfifo(&bundle.config(), nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(bundle.refused(&gate).contains("not a regular file"));

    let (bundle, elsewhere) = (Bundle::empty(), Bundle::with(&spec(3000, &[3000], &gate)));
    std::os::unix::fs::symlink(elsewhere.config(), bundle.config()).unwrap();
    about_the_container(&bundle.refused(&gate));
}

#[test]
fn config_of_100_mb_refuses_without_reading_it() {
    let gate = resolved(&[3000]);
    let bundle = Bundle::empty();
    fs::File::create(bundle.config()).unwrap().set_len(100_000_000).unwrap();
    let text = bundle.refused(&gate);
    assert!(about_the_container(&text).contains("16 MiB"), "{text}");
}

#[test]
fn ambiguous_config_refuses() {
    let gate = resolved(&[3000]);
    let text = spec(3000, &[3000], &gate).to_string();
    let twice = text.replacen("\"additionalGids\":", "\"additionalGids\":[50000],\"AdditionalGIDs\":", 1);
    assert_ne!(text, twice);
    let bundle = Bundle::empty();
    fs::write(bundle.config(), twice).unwrap();
    let text = bundle.refused(&gate);
    assert!(about_the_container(&text).contains("ambiguous"), "{text}");
}

#[test]
fn state_that_is_none_refuses() {
    let gate = resolved(&[3000]);
    let huge = vec![b' '; 17 * 1024 * 1024];
    for state in [&b""[..], b"{", b"[]", b"{}", b"{\"bundle\": 7}", b"\xff\xfe", &huge] {
        let text = refusal(&run(&gate.args()[1..], state));
        assert!(about_the_container(&text).contains("state"), "{text}");
    }
    let text = refusal(&run(&gate.args()[1..], &state(Path::new("/nonexistent/bundle"))));
    assert!(about_the_container(&text).contains("/nonexistent/bundle/config.json"), "{text}");
}

#[test]
fn arguments_that_are_no_gate_refuse() {
    let args = |args: &[&str]| args.iter().map(ToString::to_string).collect::<Vec<_>>();
    for wrong in [
        args(&["hook"]),
        args(&["hook", "--gate=open"]),
        args(&["hook", "--gate=resolved", "--pod=a/b", "--container=c"]),
        args(&["hook", "--gate=resolved", "--pod=a/b", "--container=c", "--groups=-1"]),
        args(&["hook", "--gate=pending", "--pod=a/b", "--container=c", "--what=1"]),
    ] {
        refusal(&run(&wrong, b"{}"));
    }
}

/// Found by fuzzing: names and paths stood in the refusal as they came.
#[test]
fn refusal_is_one_line_whatever_arguments_say() {
    let bundle = Bundle::empty();
    let args = ["hook", "--gate=pending", "--pod=a\n\u{1b}[2J/b", "--container=c\rd"].map(String::from);
    for path in [bundle.path().join("a\nb"), bundle.path().join("x".repeat(2000))] {
        let text = refusal(&run(&args, &state(&path)));
        assert!(text.contains("pod a [2J/b, container c d: refused: cannot read"), "{text:?}");
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
    }
}

/// The static gate on containerd, with a node configuration of this text.
fn static_gate(bundle: &Bundle, config: Option<&str>) -> Output {
    let mut args: Vec<String> = ["hook", "--gate=static", "--runtime=containerd"].map(String::from).into();
    if let Some(text) = config {
        let path = bundle.path().join("node.toml");
        fs::write(&path, text).unwrap();
        args.push(format!("--config={}", path.display()));
    }
    run(&args, &state(&bundle.path()))
}

/// containerd's real spec with image groups and no gate, in a sandbox that was made with this policy.
fn unseen(policy: &str) -> Bundle {
    let bundle = Bundle::with(&ungated());
    bundle.sandbox(&json!({CONFIG_SOURCE: "api", POLICY: policy}));
    bundle
}

fn ungated() -> Value {
    let mut spec: Value = serde_json::from_str(SPEC).unwrap();
    spec["process"]["user"] = json!({"uid": 1000, "gid": 3000, "additionalGids": [3000, 4000, 50000]});
    spec
}

#[test]
#[ignore = "needs root"]
fn static_gate_refuses_strict_that_no_plugin_processed() {
    let text = refusal(&static_gate(&unseen("Strict"), Some("")));
    assert!(text.starts_with("strict-groups: pod default/pee4269a2, container app: "), "{text}");
    assert!(text.contains("plugin did not process this container"), "{text}");
}

#[test]
#[ignore = "needs root"]
fn static_gate_lets_the_others_start() {
    let output = static_gate(&unseen("Merge"), Some(""));
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let exempt = "[exempt]\nnamespaces = [\"default\"]";
    let output = static_gate(&unseen("Strict"), Some(exempt));
    assert!(output.status.success(), "{output:?}");

    let gate = resolved(&[3000, 4000]);
    let mut both = spec(3000, &[3000, 4000], &gate);
    both["annotations"][POLICY] = json!("Strict");
    let own =
        json!({"path": "/x", "args": ["strict-groups", "hook", "--gate=static", "--runtime=containerd"]});
    both["hooks"]["createRuntime"].as_array_mut().unwrap().insert(0, own);
    let bundle = Bundle::with(&both);
    let output = static_gate(&bundle, Some(""));
    assert!(output.status.success(), "{output:?}");
    assert!(bundle.run(&gate).status.success(), "the plugin's gate beside it");
}

#[test]
#[ignore = "needs root"]
fn static_gate_refuses_what_it_cannot_read() {
    let text = refusal(&static_gate(&unseen("Merge"), Some("\ndefault_polcy = 1")));
    assert!(text.contains("node.toml") && text.contains("line 2"), "{text}");
    let text = refusal(&static_gate(&Bundle::empty(), None));
    assert!(text.contains("static gate: refused") && text.contains("config.json"), "{text}");
    for wrong in [&["--runtime=docker"][..], &[], &["--runtime=containerd", "--groups=1"]] {
        let args = ["hook", "--gate=static"].iter().chain(wrong).map(ToString::to_string).collect::<Vec<_>>();
        let text = refusal(&run(&args, b"{}"));
        assert!(text.contains("static gate"), "{text}");
    }
}

#[test]
#[ignore = "needs root"]
fn static_gate_goes_by_the_sandbox_not_by_the_pod_as_it_is_now() {
    let mut spec = ungated();
    for (then, now, starts) in [("Strict", "Merge", false), ("Merge", "Strict", true)] {
        spec["annotations"][POLICY] = json!(now);
        spec["annotations"][CONFIG_SOURCE] = json!("api");
        let bundle = Bundle::with(&spec);
        bundle.sandbox(&json!({CONFIG_SOURCE: "api", POLICY: then}));
        let output = static_gate(&bundle, Some(""));
        assert_eq!(output.status.success(), starts, "{then}, then {now}: {output:?}");
    }
}

#[test]
#[ignore = "needs root"]
fn static_gate_refuses_a_sandbox_that_it_does_not_know() {
    let bundle = Bundle::with(&ungated());
    let text = refusal(&static_gate(&bundle, Some("")));
    assert!(text.contains("made before this node was set up"), "{text}");
    bundle.sandbox(&json!({POLICY: "Merge"}));
    let text = refusal(&static_gate(&bundle, Some("")));
    assert!(text.contains("made before this node was set up"), "{text}");
    let id = "io.kubernetes.cri.sandbox-id";
    for odd in ["..", "../abc", "/etc", "", "a/b"] {
        let mut spec = ungated();
        spec["annotations"][id] = json!(odd);
        spec["annotations"][CONFIG_SOURCE] = json!("api");
        let text = refusal(&static_gate(&Bundle::with(&spec), Some("")));
        assert!(text.contains("made before this node was set up"), "{odd}: {text}");
    }
}

/// A file that is named and not there is no empty one: it may have said Strict.
#[test]
fn static_gate_refuses_a_missing_named_configuration() {
    let bundle = unseen("Merge");
    let args = ["hook", "--gate=static", "--runtime=containerd", "--config=/nonexistent/node.toml"];
    let text = refusal(&run(&args.map(String::from), &state(&bundle.path())));
    assert!(text.contains("/nonexistent/node.toml"), "{text}");
}

#[test]
fn pending_gate_that_knows_lets_declared_groups_start() {
    let gate = gate(State::Pending { declared: Some(vec![4000]) });
    for groups in [&[3000, 4000][..], &[3000]] {
        let output = Bundle::with(&spec(3000, groups, &gate)).run(&gate);
        assert!(output.status.success(), "{output:?}");
    }
    for incomplete in [&[][..], &[4000]] {
        let text = Bundle::with(&spec(3000, incomplete, &gate)).refused(&gate);
        assert!(about_the_container(&text).contains("never enforced"), "{text}");
    }
    let text = Bundle::with(&spec(3000, &[3000, 4000, 50000], &gate)).refused(&gate);
    assert!(about_the_container(&text).contains("never enforced"), "{text}");
}

/// By source: containerd 2.1 and newer restore a checkpoint image without NRI's `StartContainer`, CRI-O without `start`.
#[test]
fn restored_strict_container_refuses() {
    let gate = resolved(&[3000, 4000]);
    let bundle = Bundle::with(&spec(3000, &[3000, 4000], &gate));
    fs::write(bundle.path().join("state"), state(&bundle.path())).unwrap();
    // The shell is the OCI runtime: its command line ends as one of runc's.
    let script = r#"cat "$BUNDLE/state" | "$HOOK" "$@" >&2; exit $?"#;
    let runtime = |subcommand: &str| {
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(script.replace("\"$@\"", &quoted(&gate))).arg(subcommand).arg("id");
        shell.env("HOOK", env!("CARGO_BIN_EXE_strict-groups")).env("BUNDLE", bundle.path());
        shell.output().unwrap()
    };
    let output = runtime("create");
    assert!(output.status.success(), "{output:?}");
    let text = refusal(&runtime("restore"));
    assert!(about_the_container(&text).contains("restored from a checkpoint"), "{text}");
}

/// The hook's arguments as a shell has them.
fn quoted(gate: &Gate) -> String {
    gate.args()[1..].iter().map(|arg| format!("'{arg}'")).collect::<Vec<_>>().join(" ")
}

/// A container that cannot change its groups itself, whose user can write /etc/group.
fn exec_at_risk() -> (Bundle, Gate) {
    let gate = resolved(&[3000, 4000]);
    let mut spec = spec(3000, &[3000, 4000], &gate);
    spec["process"]["noNewPrivileges"] = json!(true);
    spec["linux"]["namespaces"] = json!([{"type": "pid"}]);
    let bundle = Bundle::with(&spec);
    group_file(&bundle, "root:x:0:\n");
    let file = bundle.path().join("rootfs/etc/group");
    fs::set_permissions(file, fs::Permissions::from_mode(0o666)).unwrap();
    (bundle, gate)
}

#[test]
fn exec_that_could_gain_groups_refuses_and_names_the_cures() {
    let (bundle, gate) = exec_at_risk();
    let text = bundle.refused(&gate);
    for cure in ["allowPrivilegeEscalation: false", "readOnlyRootFilesystem", "runc 1.3", "old_runc_exec"] {
        assert!(about_the_container(&text).contains(cure), "no {cure}: {text}");
    }
    // The wrapper looks at each exec.
    fs::write(bundle.path().join("strict-groups-runtime"), "").unwrap();
    assert_eq!(bundle.run(&gate).status.success(), nix::unistd::geteuid().is_root());
}

#[test]
fn exec_at_risk_is_allowed_by_the_configuration() {
    let (bundle, gate) = exec_at_risk();
    let config = bundle.path().join("node.toml");
    let mut spec: Value = serde_json::from_slice(&fs::read(bundle.config()).unwrap()).unwrap();
    let args = ["strict-groups", "hook", "--gate=static", "--runtime=containerd"].map(String::from);
    let args = [&args[..], &[format!("--config={}", config.display())]].concat();
    spec["hooks"]["createRuntime"].as_array_mut().unwrap().insert(0, json!({"path": "/x", "args": args}));
    fs::write(bundle.config(), spec.to_string()).unwrap();
    bundle.refused(&gate);
    fs::write(&config, "old_runc_exec = \"allow\"\n").unwrap();
    let root = nix::unistd::geteuid().is_root();
    assert_eq!(bundle.run(&gate).status.success(), root, "only root's configuration counts");
    fs::write(&config, "old_runc_exec = \"refuse\"\n").unwrap();
    bundle.refused(&gate);
}

#[test]
fn mark_of_a_merge_container_stops_nothing() {
    let args: Vec<String> = strict_groups_core::merge_marker::args().split_off(1);
    for stdin in [&state(Path::new("/nonexistent"))[..], b"", b"{"] {
        let output = run(&args, stdin);
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
    let more = [&args[..], &["--pod=a/b".to_owned()]].concat();
    refusal(&run(&more, b""));
}

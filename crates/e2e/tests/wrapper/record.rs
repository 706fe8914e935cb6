//! What the wrapper asks containerd about a container, and what becomes of the container when there is no answer.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use e2e::wrapper::bundle::{ANNOTATION, Bundle, gates};
use e2e::wrapper::command::{Real, Wrapper, finish, one_line};
use e2e::wrapper::world::{World, trial};
use e2e::{Containerd, Kind, Options, executable::script};

const SOURCE: &str = "kubernetes.io/config.source";

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("record::without_an_answer_strict_is_refused", without_an_answer),
        trial("record::that_containerd_does_not_have_is_a_refusal", unknown),
        trial("record::of_merge_is_not_asked_for", merge),
        trial("record::rule_by_label_without_an_answer_is_a_refusal", by_label),
        trial("record::without_a_shim_strict_is_refused", without_a_shim),
        trial("record::what_cannot_lose_a_group_needs_no_answer", nothing_to_lose),
    ]
}

/// A container of containerd's, and its pod's sandbox beside it.
struct Case {
    wrapper: Wrapper,
    bundle: Bundle,
    /// The underlying OCI runtime notes here that it was called.
    called: PathBuf,
}

impl Case {
    fn new(world: &World, annotations: &[(&str, &str)]) -> Result<Self> {
        let wrapper = Wrapper::new(world, Real::Runc)?;
        let called = wrapper.dir.join("called");
        let runtime = wrapper.dir.join("runtime");
        script(&runtime, &format!("#!/bin/sh\necho \"$@\" >{}\n", called.display()))?;
        let case = Self { bundle: Bundle::new(world)?, wrapper, called };
        case.configure("")?;
        let sandbox = case.bundle.path.with_file_name(format!("{}-sandbox", case.bundle.id));
        fs::create_dir(&sandbox)?;
        let mut all: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        fs::write(sandbox.join("config.json"), serde_json::json!({ "annotations": all }).to_string())?;
        let name = sandbox.file_name().context("no name")?.to_string_lossy().into_owned();
        for (key, value) in [
            ("io.kubernetes.cri.sandbox-id", name.as_str()),
            ("io.kubernetes.cri.sandbox-namespace", "default"),
            ("io.kubernetes.cri.sandbox-name", "web"),
            ("io.kubernetes.cri.container-name", "app"),
        ] {
            all.insert(key.to_owned(), value.into());
        }
        let mut bundle = case.bundle;
        bundle.spec["annotations"] = all.into();
        bundle.write()?;
        Ok(Self { bundle, ..case })
    }

    fn strict(world: &World) -> Result<Self> {
        Self::new(world, &[(SOURCE, "api"), (ANNOTATION, "Strict")])
    }

    fn configure(&self, more: &str) -> Result<()> {
        let runtime = self.wrapper.dir.join("runtime");
        self.wrapper.configure(&format!("{more}\n[runtime]\npath = \"{}\"\n", runtime.display()))
    }

    /// `create`, as a shim runs it whose containerd listens on `socket`.
    fn create(&self, socket: &Path) -> Result<Output> {
        let mut shim = Command::new("/bin/sh");
        // A shell that has something left to do does not become its last command.
        shim.arg0("containerd-shim-test")
            .args(["-c", "shift 2; \"$@\"; exit $?", "sh", "-address"])
            .arg(socket);
        let create = self.wrapper.command(&["create", "--bundle", self.bundle.dir(), &self.bundle.id]);
        shim.arg(create.get_program()).args(create.get_args());
        finish(&mut shim, &self.wrapper.dir)
    }

    fn refused(&self, socket: &Path) -> Result<String> {
        let said = one_line(&self.create(socket)?)?;
        ensure!(!self.called.exists(), "the underlying runtime was called: {said}");
        ensure!(said.starts_with("strict-groups: pod default/web, container app: refused: "), "{said}");
        ensure!(said.contains("the kubelet tries again"), "{said}");
        Ok(said)
    }

    fn goes_on(&self, socket: &Path) -> Result<()> {
        let output = self.create(socket)?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        ensure!(
            fs::read_to_string(&self.called)?.contains("create"),
            "the underlying runtime was not called"
        );
        Ok(())
    }
}

fn without_an_answer(world: &World) -> Result<()> {
    let case = Case::strict(world)?;
    let missing = case.wrapper.dir.join("missing.sock");
    let said = case.refused(&missing)?;
    ensure!(
        said.contains("the groups that the pod declares are not known") && said.contains("missing.sock"),
        "{said}"
    );

    // Somebody else could listen there.
    let open = case.wrapper.dir.join("open");
    fs::create_dir(&open)?;
    fs::set_permissions(&open, Permissions::from_mode(0o777))?;
    let _listener = UnixListener::bind(open.join("s.sock"))?;
    let said = case.refused(&open.join("s.sock"))?;
    ensure!(said.contains("is not trusted") && said.contains("mode 0777"), "{said}");

    // No gRPC.
    let talks = case.wrapper.dir.join("talks.sock");
    let listener = UnixListener::bind(&talks)?;
    std::thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"220 welcome\r\n");
            let _ = stream.read(&mut [0; 64]);
        }
    });
    let said = case.refused(&talks)?;
    ensure!(said.contains("talks.sock"), "{said}");

    // Nobody accepts, so nobody answers.
    let silent = case.wrapper.dir.join("silent.sock");
    let _listener = UnixListener::bind(&silent)?;
    let said = case.refused(&silent)?;
    ensure!(said.contains("did not answer within 10000 ms"), "{said}");
    Ok(())
}

fn unknown(world: &World) -> Result<()> {
    let daemon = Containerd::start(&world.machine, &Arc::clone(&world.run), Kind::V1_7, Options::default())?;
    let case = Case::strict(world)?;
    let said = case.refused(&daemon.socket())?;
    ensure!(said.contains("does not know") && said.contains(&case.bundle.id), "{said}");
    daemon.stop()
}

fn merge(world: &World) -> Result<()> {
    let nobody = Path::new("/nonexistent/containerd.sock");
    Case::new(world, &[(SOURCE, "api")])?.goes_on(nobody)?;
    Case::new(world, &[(SOURCE, "api"), (ANNOTATION, "Merge")])?.goes_on(nobody)?;
    // Files of the image are nobody's business here.
    let case = Case::new(world, &[(SOURCE, "api")])?;
    fs::remove_dir_all(case.bundle.rootfs().join("etc"))?;
    case.goes_on(nobody)
}

fn by_label(world: &World) -> Result<()> {
    let nobody = Path::new("/nonexistent/containerd.sock");
    let rule = "[[rule]]\nlabels = { app = \"web\" }\npolicy = \"Strict\"\n";
    let case = Case::new(world, &[(SOURCE, "api")])?;
    case.configure(rule)?;
    let said = case.refused(nobody)?;
    ensure!(said.contains("whether the pod asks for supplementalGroupsPolicy Strict is not known"), "{said}");
    let case = Case::new(world, &[(SOURCE, "api"), (ANNOTATION, "Merge")])?;
    case.configure(rule)?;
    let said = case.refused(nobody)?;
    ensure!(said.contains("is not known"), "whether it may say Merge depends on the rule: {said}");
    // And a pod of which nothing is known.
    let said = Case::new(world, &[])?.refused(nobody)?;
    ensure!(said.contains("is not known"), "{said}");
    Ok(())
}

fn without_a_shim(world: &World) -> Result<()> {
    let case = Case::strict(world)?;
    let said = case.bundle.refused(&case.wrapper)?;
    ensure!(said.contains("no shim of containerd"), "{said}");
    Ok(())
}

fn nothing_to_lose(world: &World) -> Result<()> {
    let goes_on = |case: Case, groups: &[u32]| -> Result<()> {
        let mut spec = case.bundle.now()?;
        spec["process"]["user"]["additionalGids"] = serde_json::json!(groups);
        fs::write(case.bundle.config(), spec.to_string())?;
        case.goes_on(Path::new("/nonexistent/containerd.sock"))?;
        ensure!(case.bundle.gids()? == serde_json::json!([3000]), "{}", case.bundle.gids()?);
        ensure!(gates(&case.bundle.config())?.len() == 1, "nobody checks it at its start");
        Ok(())
    };
    goes_on(Case::strict(world)?, &[3000, 3000])?;
    // Whatever the policy is, which nobody says: it is Strict as it is.
    goes_on(Case::new(world, &[])?, &[3000])?;
    let case = Case::new(world, &[(SOURCE, "api")])?;
    case.configure("[[rule]]\nlabels = { app = \"web\" }\npolicy = \"Strict\"\n")?;
    goes_on(case, &[3000])
}

//! `strict-groups config containerd`.

use std::{
    collections::BTreeMap,
    env, fs, io,
    io::Write,
    path::{Path, PathBuf, absolute},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, ensure};
use clap::Args;

use super::{Target, diff, print, remove, say, stays, wrote};
use crate::{
    configure::{
        containerd::{self, BASE_SPEC, DROP_IN, Input, Plan, Ways},
        folder::Folder,
        imports::{self, Main},
        seal,
    },
    version,
};
use container_start::{shim, wrapper::is_file_name};
use hostfs::program;
use strict_groups_core::engine::Engine;

/// Where containerd looks for its configuration.
const MAIN: &str = "/etc/containerd/config.toml";
/// The folder that a printed drop-in names.
const FOLDER: &str = "/etc/containerd/conf.d";

#[derive(Debug, Args)]
pub(super) struct ContainerdArgs {
    #[command(flatten)]
    target: Target,
    /// Make strict-groups-runtime the OCI runtime of the handlers, in the place of NRI and static gate
    #[arg(long)]
    wrapper: bool,
    /// With --wrapper: have NRI and the static gate beside it
    #[arg(long, requires = "wrapper")]
    nri: bool,
    /// containerd's program; otherwise the one in PATH, /usr/local/bin or /usr/bin
    #[arg(long, value_name = "PATH")]
    containerd: Option<PathBuf>,
    /// containerd's ctr; otherwise the one beside containerd
    #[arg(long, value_name = "PATH")]
    ctr: Option<PathBuf>,
    /// containerd's configuration, if not /etc/containerd/config.toml
    #[arg(long, value_name = "FILE")]
    containerd_config: Option<PathBuf>,
}

/// The programs and files of the containerd at hand.
struct Containerd {
    program: PathBuf,
    ctr: PathBuf,
    config: PathBuf,
    /// The text of `config`; None where it is not there, which only the default one may be.
    text: Option<String>,
}

pub(super) fn run(args: &ContainerdArgs) -> anyhow::Result<ExitCode> {
    let target = &args.target;
    if let Some(path) = &target.remove {
        let path = absolute(path).context("the folder's path")?;
        let folder = folder(&path);
        let in_use = in_use(&folder)?;
        return remove(
            &folder,
            &in_use,
            "Restart containerd; take the folder out of `imports` if nothing else is in it.",
        );
    }
    let path = target.write.as_deref().or(target.diff.as_deref()).unwrap_or(Path::new(FOLDER));
    let path = absolute(path).context("the folder's path")?;
    let containerd = Containerd::find(args)?;
    let ways = Ways { nri: args.nri || !args.wrapper, wrapper: args.wrapper };
    let plan = containerd.plan(target, &path, ways)?;
    if ways.nri {
        containerd.warn_of_old_nri();
    }
    for (handler, kind) in &plan.unwrapped {
        say(&format!(
            "note: the shim of the runtime handler {handler} ({kind}) runs no OCI runtime of our choice; it is left as it \
             is, and the wrapper does not see its containers"
        ));
    }
    for (handler, kind) in &plan.uncovered {
        say(&format!(
            "note: the runtime handler {handler} ({kind}) is not known to run OCI hooks in a way that the static gate can \
             use; it is left as it is, and nothing holds its Strict containers while the plugin is not running"
        ));
    }
    for handler in &plan.kata {
        say(&format!(
            "note: the runtime handler {handler} runs the gate if it is the Go runtime of Kata Containers 3.5 or newer; \
             `strict-groups check` shows which one it is"
        ));
    }
    if target.diff.is_some() {
        return diff(&folder(&path), &plan.files);
    }
    if target.write.is_some() {
        let changed = folder(&path).write(&plan.files)?;
        wrote(&changed);
        for (file, containers) in in_use(&folder(&path))? {
            let planned = plan.files.iter().any(|planned| file.ends_with(&planned.name));
            if !planned {
                stays(&file, &containers);
            }
        }
        let missing = containerd::not_in_effect(&containerd.dump(None)?, &plan)?;
        if !missing.is_empty() {
            say(&containerd.advice(&path, &missing, &plan));
        }
        if !changed.is_empty() || !missing.is_empty() {
            say("Then restart containerd; running containers go on.");
        }
        if ways.wrapper {
            say(
                "Pods that exist keep the OCI runtime that they were made with, also for containers to come: drain the \
                 node, or delete those pods.",
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("note: --write {} writes this file and those that it names", path.display()));
    print(plan.drop_in())
}

/// The files of ours that are the OCI runtime of containers, with those containers.
fn in_use(folder: &Folder<'_>) -> anyhow::Result<BTreeMap<PathBuf, Vec<String>>> {
    let found = shim::containers(Path::new(shim::PROC)).context("cannot list processes")?;
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut in_use = BTreeMap::new();
    for path in folder.paths()? {
        // By whatever path containerd was given.
        let users = found.iter().filter(|(runtime, _)| real(runtime) == real(&path));
        let ids: Vec<String> = users.flat_map(|(_, ids)| ids.clone()).collect();
        if !ids.is_empty() {
            in_use.insert(path, ids);
        }
    }
    Ok(in_use)
}

fn folder(path: &Path) -> Folder<'_> {
    let is_our_name = |name: &str| {
        name == DROP_IN
            || is_file_name(name)
            || (name.starts_with(BASE_SPEC) && Path::new(name).extension() == Some("json".as_ref()))
    };
    Folder { path, is_our_name, is_program: is_file_name }
}

impl Containerd {
    fn find(args: &ContainerdArgs) -> anyhow::Result<Self> {
        let program = match &args.containerd {
            Some(path) => path.clone(),
            None => find("containerd").context(
                "containerd is not in PATH, /usr/local/bin or /usr/bin; name it with --containerd",
            )?,
        };
        let ctr = args.ctr.clone().unwrap_or_else(|| {
            let beside = program.with_file_name("ctr");
            if beside.is_file() { beside } else { find("ctr").unwrap_or(beside) }
        });
        let config = args.containerd_config.clone().unwrap_or_else(|| MAIN.into());
        let config = absolute(config).context("the path of --containerd-config")?;
        let text = match fs::read_to_string(&config) {
            Ok(text) => Some(text),
            Err(error) if args.containerd_config.is_none() && error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", config.display())),
        };
        Ok(Self { program, ctr, config, text })
    }

    fn plan(&self, target: &Target, path: &Path, ways: Ways) -> anyhow::Result<Plan> {
        let hook = target.hook(Engine::Containerd)?;
        let Main { versions, without_ours } =
            imports::look(&self.config, self.text.as_deref().unwrap_or_default(), is_our_drop_in)?;
        let dump = self.dump(without_ours.as_deref())?;
        // Only a base spec begins with it.
        let default_spec = if ways.nri {
            output(Command::new(&self.ctr).args(["oci", "spec"]), None)?
        } else {
            String::new()
        };
        let folder = path.to_str().context("the folder's path is not UTF-8")?;
        let (versions, default_spec) = (&versions, &default_spec);
        let input = Input { dump: &dump, versions, default_spec, hook: &hook, folder, ways };
        Ok(containerd::plan(&input, |path| fs::read_to_string(path))?)
    }

    /// Says so if an NRI plugin can hang this containerd.
    fn warn_of_old_nri(&self) {
        // `containerd github.com/containerd/containerd v1.7.2 0cae528…`
        let said = output(Command::new(&self.program).arg("--version"), None).unwrap_or_default();
        let Some(version) = said.split_whitespace().nth(2) else { return };
        if version::registration_can_deadlock(version) {
            say(&format!(
                "note: containerd {version} can hang for good when an NRI plugin registers (containerd issue 10085), \
                 so the plugin does not register with it; upgrade to containerd 1.7.16 or newer, or use --wrapper"
            ));
        }
    }

    /// The configuration as containerd understands it: of its own file, or of this text instead.
    fn dump(&self, text: Option<&str>) -> anyhow::Result<String> {
        let text = text.or(self.text.is_none().then_some(""));
        let config = if text.is_some() { Path::new("/dev/stdin") } else { &self.config };
        output(Command::new(&self.program).arg("--config").arg(config).args(["config", "dump"]), text)
    }

    fn advice(&self, folder: &Path, missing: &[String], plan: &Plan) -> String {
        let (main, folder) = (self.config.display(), folder.display());
        if !plan.covered.keys().all(|handler| missing.contains(handler)) {
            return format!(
                "containerd imports the file, but not all of it counts ({}): another imported file, later by name, \
                 takes it back.",
                missing.join(", ")
            );
        }
        format!(
            "containerd does not import the file yet. In {main}, above the first table, have\n\n    \
             imports = [\"{folder}/*.toml\"]\n\n(added to the list if there is one)."
        )
    }
}

/// Whether a file is a drop-in that we wrote, edited since or not.
fn is_our_drop_in(path: &Path) -> bool {
    path.file_name() == Some(DROP_IN.as_ref())
        && fs::read_to_string(path).is_ok_and(|text| seal::owner(&text) != seal::Owner::Other)
}

/// A program in PATH or where containerd usually is.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin"].map(PathBuf::from);
    program::find(Path::new(name), env::split_paths(&path).chain(usual), Path::to_owned)
}

/// What a program prints, given this on stdin.
fn output(command: &mut Command, input: Option<&str>) -> anyhow::Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let started = command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.with_context(|| format!("cannot start {name}"))?;
    if let (Some(mut stdin), Some(text)) = (child.stdin.take(), input) {
        // A program that ends early says why below.
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("cannot run {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{name} failed ({}): {}", output.status, said.trim());
    String::from_utf8(output.stdout).with_context(|| format!("what {name} prints is not UTF-8"))
}

//! `strict-groups config crio`.

use std::{
    fs, io,
    path::{Path, PathBuf, absolute},
    process::ExitCode,
};

use anyhow::{Context, ensure};
use clap::Args;

use super::{Target, print, say, wrote};
use crate::configure::{
    File,
    crio::{self, Input, Plan, Settings},
    folder::Folder,
    seal,
};
use container_start::{config::Config, wrapper};
use hostfs::ownership;
use strict_groups_core::engine::Engine;

/// Under CRI-O everything takes effect at its next start but the hook, which it sees at once.
const RESTART: &str = "Restart CRI-O (systemctl restart crio); containers go on running.";

#[derive(Debug, Args)]
pub(super) struct CrioArgs {
    #[command(flatten)]
    target: Target,
    /// CRI-O's configuration
    #[arg(long, value_name = "FILE", default_value = "/etc/crio/crio.conf")]
    crio_config: PathBuf,
    /// CRI-O's folder of drop-ins
    #[arg(long, value_name = "DIR", default_value = "/etc/crio/crio.conf.d")]
    crio_config_dir: PathBuf,
    /// The folder for the hook's file
    #[arg(long, value_name = "DIR", default_value = "/etc/containers/oci/hooks.d")]
    hooks_dir: PathBuf,
    /// The wrapper; otherwise strict-groups-runtime beside our own executable
    #[arg(long, value_name = "PATH")]
    wrapper: Option<PathBuf>,
}

pub(super) fn run(args: &CrioArgs) -> anyhow::Result<ExitCode> {
    let target = &args.target;
    let hooks =
        Folder { path: &args.hooks_dir, is_our_name: |name| name == crio::HOOK_FILE, is_program: |_| false };
    let folder = |path| Folder { path, is_our_name: |name| name == crio::DROP_IN, is_program: |_| false };
    if let Some(path) = &target.remove {
        let mut removed = folder(path).remove(|_| false)?;
        removed.extend(hooks.remove(|_| false)?);
        for path in &removed {
            say(&format!("removed {}", path.display()));
        }
        let then =
            "Leave the binary and its link where they are until no container is left that they started.";
        say(&if removed.is_empty() {
            "there is nothing to remove".to_owned()
        } else {
            format!("{RESTART} {then}")
        });
        return Ok(ExitCode::SUCCESS);
    }

    let hook = [crio::hook_file(&target.hook(Engine::CriO)?)];
    let plan = args.plan()?;
    args.comment(&plan);
    let drop_in = [plan.file];
    if let Some(path) = &target.diff {
        let text = folder(path).diff(&drop_in)? + &hooks.diff(&hook)?;
        print(&text)?;
        return Ok(if text.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if let Some(path) = &target.write {
        // The gate comes last: from then on a Strict container that nobody resolved is refused.
        let mut changed = folder(path).write(&drop_in)?;
        changed.extend(hooks.write(&hook)?);
        wrote(&changed);
        if !changed.is_empty() {
            say(RESTART);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let [File { content, .. }] = drop_in;
    say(&format!(
        "the hook's file, {}, is only written (--write)",
        args.hooks_dir.join(crio::HOOK_FILE).display()
    ));
    print(&content)
}

impl CrioArgs {
    fn plan(&self) -> anyhow::Result<Plan> {
        let node = Config::load(self.target.config.as_deref())?;
        let settings = self.settings()?;
        let wrapper = self.wrapper(node.hook_path())?;
        let real = wrapper::real(node.runtime().path())?;
        let is_real = |name: &str, path: &str| {
            let path = if path.is_empty() { name } else { path };
            wrapper::is_same(Path::new(path), &real)
        };
        let hooks = absolute(&self.hooks_dir).context("the path of --hooks-dir")?;
        let plan = crio::drop_in(&Input {
            settings: &settings,
            wrapper: &wrapper,
            hooks: &hooks,
            is_real: &is_real,
        });
        ensure!(
            !plan.wrapped.is_empty(),
            "none of CRI-O's handlers ({}) runs {}, which the wrapper becomes; set runtime.path in the node's \
             configuration to the OCI runtime of the handler that is to be Strict",
            plan.left.join(", "),
            real.display()
        );
        Ok(plan)
    }

    /// What there is to know beside the files.
    fn comment(&self, plan: &Plan) {
        for handler in &plan.left {
            say(&format!(
                "note: the handler {handler} does not run the OCI runtime that the wrapper becomes; it is left as it \
                 is, and the static gate refuses its Strict containers where it runs hooks"
            ));
        }
        if plan.assumed {
            say(&format!(
                "note: {} has no table for the default handler, so CRI-O's own defaults are repeated; compare with \
                 `crio status config` after the restart",
                self.crio_config.display()
            ));
        }
    }

    /// CRI-O's own files without ours, in its order.
    fn settings(&self) -> anyhow::Result<Settings> {
        let mut files = Vec::new();
        read_into(&mut files, &self.crio_config)?;
        let mut names: Vec<PathBuf> = match fs::read_dir(&self.crio_config_dir) {
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
        .with_context(|| format!("cannot read {}", self.crio_config_dir.display()))?;
        names.sort();
        for path in names.iter().filter(|path| path.is_file()) {
            read_into(&mut files, path)?;
        }
        files.retain(|(_, text)| seal::owner(text) == seal::Owner::Other);
        Ok(Settings::read(files.iter().map(|(path, text)| (path.as_path(), text.as_str())))?)
    }

    /// The wrapper, which CRI-O runs as root at every step of every container.
    fn wrapper(&self, hook: Option<&Path>) -> anyhow::Result<PathBuf> {
        let path = if let Some(path) = &self.wrapper {
            absolute(path).context("the path of --wrapper")?
        } else {
            let own = std::env::current_exe()
                .context("cannot tell our own executable; name the wrapper by --wrapper")?;
            hook.unwrap_or(&own).with_file_name(wrapper::NAME)
        };
        ensure!(
            path.file_name().is_some_and(|name| name == wrapper::NAME),
            "the wrapper {} must be named {}: by that name the binary knows what it is",
            path.display(),
            wrapper::NAME
        );
        ensure!(
            path.is_file(),
            "there is no wrapper {0}; make it with: ln -s strict-groups {0}",
            path.display()
        );
        ownership::check(&path, ownership::Kind::File).context("the wrapper")?;
        Ok(path)
    }
}

fn read_into(files: &mut Vec<(PathBuf, String)>, path: &Path) -> anyhow::Result<()> {
    match fs::read_to_string(path) {
        Ok(text) => files.push((path.to_owned(), text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    Ok(())
}

//! `strict-groups-runtime`: an OCI runtime that makes containers Strict and then becomes the underlying one.
//!
//! For container runtimes whose NRI cannot do it (CRI-O up to 1.30), or that have none to rely on (containerd before
//! 1.7.16, podman). It changes the spec of a Strict container at `create`, verifies its process at `start`, and changes the process file at `exec`.
//! `run` and `restore` of a Strict container are refused; everything else goes to the underlying OCI runtime as it
//! came. It is the same process before and after (`execve(2)`).

mod argv;
mod create;
mod error;
mod exec;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod handler;
mod persisted;
mod report;
mod start;
mod state;
mod underlying;

use std::{convert::Infallible, env, ffi::OsString, path::Path};

use crate::config::{Config, ConfigError, OldRuncExec};
use argv::Action;
pub use error::{Fault, Subject, WrapperError};
pub use handler::{Handler, HandlerError, file_name, is_file_name};
pub use underlying::{UnderlyingError, find as real, is_same};

/// The name (`argv[0]`) by which our binary is this runtime.
pub const NAME: &str = "strict-groups-runtime";

/// The first argument by which the kernel runs our binary for the file of a runtime handler.
pub const HANDLER: &str = "handler";

/// Runs the OCI runtime's command line `args`, the program's name left out, with the node's
/// configuration `config_path` (None: at its default place). Does not return unless something is wrong;
/// that has been printed then.
#[must_use]
pub fn run(args: &[OsString], config_path: Option<&Path>) -> WrapperError {
    report(args, |call| {
        let config = Config::load(config_path);
        let real = match &config {
            Ok(config) => underlying::find(config.runtime().path()),
            // It must not keep `kill` or `state` from the containers there are.
            Err(error) => underlying::find_despite(Config::runtime_despite_errors(config_path), error),
        }?;
        become_after(args, call, &real, || config)
    })
}

/// The same for the runtime handler of containerd whose file is `file`: it says which underlying OCI runtime the handler
/// has.
#[must_use]
pub fn run_handler(args: &[OsString], file: &Path) -> WrapperError {
    report(args, |call| {
        let handler = match Handler::load(file) {
            Ok(handler) => handler,
            // Containers that exist must still be stopped and removed.
            Err(error) => {
                let despite = underlying::in_name_of(file, &env::var_os("PATH").unwrap_or_default())
                    .filter(|_| call.action == Action::Other);
                return Ok(underlying::become_it(&despite.ok_or(error)?, args)?);
            }
        };
        become_after(args, call, &underlying::named(&handler)?, || Config::load(handler.config()))
    })
}

fn report(
    args: &[OsString],
    run: impl FnOnce(&argv::Call<'_>) -> Result<Infallible, WrapperError>,
) -> WrapperError {
    let call = argv::read(args);
    match run(&call) {
        Ok(never) => match never {},
        Err(error) => {
            report::failed(&call, &error);
            error
        }
    }
}

/// Whether this command line of an OCI runtime, the program's name left out, restores a process from a checkpoint.
#[must_use]
pub fn is_restore(args: &[OsString]) -> bool {
    matches!(argv::read(args).action, Action::Restore(_))
}

fn become_after(
    args: &[OsString],
    call: &argv::Call<'_>,
    real: &Path,
    config: impl FnOnce() -> Result<Config, ConfigError>,
) -> Result<Infallible, WrapperError> {
    match &call.action {
        Action::Create(create) => create::prepare(create, config())?,
        Action::Run(create) => create::refuse_strict(create, config(), Fault::Run)?,
        Action::Restore(create) => create::refuse_strict(create, config(), Fault::Restore)?,
        Action::Start(start) => start::verify(real, call, start, config())?,
        Action::Exec(exec) => {
            // A configuration that cannot be read allows nothing.
            let old_runc_exec = config().map_or(OldRuncExec::Refuse, |config| config.old_runc_exec());
            exec::prepare(real, call, exec, old_runc_exec)?;
        }
        Action::Other => {}
    }
    Ok(underlying::become_it(real, args)?)
}

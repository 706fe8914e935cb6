//! `exec` with a process file: takes from it the groups that the container was not resolved to. The
//! engine made the file from its own memory, where they still are.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    argv::{Call, Exec},
    error::{Fault, RuntimeError, Subject},
    state::{self, Running},
};
use crate::{
    bundle,
    gate::Gate,
    rootfs,
    spec::{self, View},
};

/// Filters the process file if the container is Strict.
///
/// # Errors
/// Every reason for which the process must not run.
pub(super) fn prepare(real: &Path, call: &Call<'_>, exec: &Exec<'_>) -> Result<(), RuntimeError> {
    let by_id = |fault| RuntimeError::Fault { subject: Subject::ids(&exec.ids), fault };
    let found = exec.ids.iter().find_map(|id| state::find(real, call, id).transpose()).transpose();
    let Some(Running { spec: folder, pid, .. }) = found.map_err(|source| by_id(Fault::State(source)))? else {
        return match exec.unknown {
            Some(option) => Err(by_id(Fault::UnknownOption { option: option.to_owned(), verb: "exec" })),
            // The real runtime knows no such container either, and says so.
            None => Ok(()),
        };
    };
    let config = folder.join(bundle::CONFIG);
    let json = bundle::read(&folder, Path::new(bundle::CONFIG))
        .map_err(|source| by_id(Fault::Read { path: config.clone(), source }))?;
    let view = spec::read(&json).map_err(|source| by_id(Fault::Spec { path: config, source }))?;
    let Some(gate) = view.gates.first() else { return Ok(()) };
    for gate in &view.gates {
        gate.verify_spec(&view)?;
    }

    let subject = || Subject::Named { pod: gate.pod.clone(), container: gate.container.clone() };
    let fault = |fault| RuntimeError::Fault { subject: subject(), fault };
    let (directory, name) = split(exec.process);
    let path = || exec.process.to_owned();
    let file =
        bundle::read(&directory, &name).map_err(|source| fault(Fault::Read { path: path(), source }))?;
    let strict = spec::strict_process(&file, &view.gates)
        .map_err(|source| fault(Fault::Spec { path: path(), source }))?;
    if let Some(new) = &strict.json {
        bundle::replace(&directory, &name, new)
            .map_err(|source| fault(Fault::Write { path: path(), source }))?;
    }
    let process =
        View { user: spec::ProcessUser { additional_gids: strict.groups, ..strict.user }, ..view.clone() };
    renamed(pid, gate, &process).map_err(|source| fault(Fault::Image { file: rootfs::GROUP_FILE, source }))?
}

/// runc before 1.3 looks each group up by name in the `/etc/group` that the container has now; see
/// [`crate::groups::alias`]. A container that may write to it can still change it between this look and runc's.
fn renamed(pid: Option<u32>, gate: &Gate, process: &View) -> io::Result<Result<(), RuntimeError>> {
    let root = match pid.map(rootfs::of_process) {
        Some(Ok(root)) => root,
        // It has ended: the real runtime says so.
        Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(())),
        Some(Err(error)) => return Err(error),
        None => return Ok(Ok(())),
    };
    let file = rootfs::read(root, rootfs::GROUP_FILE)?;
    Ok(gate.verify_group_file(process, &file.unwrap_or_default()).map_err(RuntimeError::from))
}

fn split(path: &Path) -> (PathBuf, PathBuf) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (directory.to_owned(), path.file_name().map_or_else(PathBuf::new, PathBuf::from))
}

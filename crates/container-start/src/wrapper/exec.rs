//! `exec` with a process file: takes from it the groups that the container was not resolved to. The
//! engine made the file from its own memory, where they still are.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    argv::{Call, Exec},
    error::{Fault, Subject, WrapperError},
    state::{self, Running},
};
use crate::{
    bundle,
    config::OldRuncExec,
    group_file,
    oci_runtime::{self, GroupLookup},
};
use hostfs::rootfs;
use strict_groups_core::{
    gate::Cause,
    oci::{self, OciError},
    spec,
};

/// Filters the process file if the container is Strict, and sees to it that the underlying OCI runtime `real` is going to
/// read its groups as the numbers that they are. `old_runc_exec` is what the node's configuration says.
///
/// # Errors
/// Every reason for which the process must not run.
pub(super) fn prepare(
    real: &Path,
    call: &Call<'_>,
    exec: &Exec<'_>,
    old_runc_exec: OldRuncExec,
) -> Result<(), WrapperError> {
    let by_id = |fault| WrapperError::Fault { subject: Subject::ids(&exec.ids), fault };
    let found = exec.ids.iter().find_map(|id| state::find(real, call, id).transpose()).transpose();
    let Some(Running { bundle: made_from, spec: folder, pid }) =
        found.map_err(|source| by_id(Fault::State(source)))?
    else {
        return match exec.unknown {
            Some(option) => Err(by_id(Fault::UnknownOption { option: option.to_owned(), verb: "exec" })),
            // The underlying OCI runtime knows no such container either, and says so.
            None => Ok(()),
        };
    };
    let config = folder.join(bundle::CONFIG);
    let json = bundle::read(&folder, Path::new(bundle::CONFIG))
        .map_err(|source| by_id(Fault::Read { path: config.clone(), source }))?;
    let view = spec::read(&json).map_err(|source| by_id(Fault::Spec { path: config, source }))?;
    let Some(gate) = view.gates.first() else { return Ok(()) };
    for gate in &view.gates {
        gate.verify_spec(&view.user, view.keeps_original_groups)?;
    }

    let subject = || Subject::Named { pod: gate.pod.clone(), container: gate.container.clone() };
    let fault = |fault| WrapperError::Fault { subject: subject(), fault };
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
    let user = oci::ProcessUser { additional_gids: strict.groups, ..strict.user };
    if oci_runtime::of_file(real) == GroupLookup::Literal {
        return Ok(());
    }
    let Some(pid) = pid else { return Err(fault(Fault::NoProcess)) };
    let root = match rootfs::of_process(pid) {
        Ok(root) => root,
        // It has ended: the underlying runtime says so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(fault(Fault::Image { file: rootfs::GROUP_FILE, source })),
    };
    let wrong =
        |error: OciError| fault(Fault::Spec { path: folder.join(bundle::CONFIG), source: error.into() });
    let confinement = oci::read_confinement(&json).map_err(wrong)?;
    let maps = oci::read_id_maps(&json).map_err(wrong)?;
    let generated = group_file::generated(&made_from, &confinement);
    let cause = match group_file::find(root, generated.as_deref()) {
        Err(error) => Cause::GroupFile { reason: error.to_string() },
        Ok(file) => match file.judge(&user, &maps, &confinement) {
            Err(alias) => Cause::Alias(alias),
            Ok(true) if old_runc_exec == OldRuncExec::Refuse => Cause::ExecAtRisk,
            Ok(_) => return Ok(()),
        },
    };
    Err(gate.refusal(cause).into())
}

fn split(path: &Path) -> (PathBuf, PathBuf) {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (directory.to_owned(), path.file_name().map_or_else(PathBuf::new, PathBuf::from))
}

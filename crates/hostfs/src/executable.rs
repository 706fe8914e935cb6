//! Programs that tests make and run.
//!
//! They are written by another process: a descriptor of our own lives on for a moment in whatever another test forks, and
//! what is open for writing cannot be run (`execve(2)`, `ETXTBSY`).

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

/// Copies the program `from`.
///
/// # Errors
/// `cp` fails.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let copied = Command::new("cp").arg("-p").arg(from).arg(to).status()?;
    if copied.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("copying {} to {}: {copied}", from.display(), to.display())))
    }
}

/// Writes a program, `#!` and all.
///
/// # Errors
/// It cannot be written.
pub fn script(path: &Path, text: &str) -> io::Result<()> {
    let source = path.with_extension("source");
    fs::write(&source, text)?;
    fs::set_permissions(&source, Permissions::from_mode(0o755))?;
    copy(&source, path)?;
    fs::remove_file(source)
}

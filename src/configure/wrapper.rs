//! The wrapper as the OCI runtime of containerd's runtime handlers: one file for each, which names the handler's own OCI
//! runtime (see [`container_start::wrapper::Handler`]).

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{File, seal};
use container_start::wrapper::{HANDLER, Handler, NAME, file_name, is_file_name};
use strict_groups_core::text;

/// What the shim of runc runs for a handler that names nothing, looked for in its PATH.
pub const DEFAULT_RUNTIME: &str = "runc";

/// The longest first line of a `#!` file that every kernel reads whole, in bytes (`execve(2)`; 255 from Linux 5.1 on).
const LONGEST_LINE: usize = 127;

/// Why there is no file for a handler.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WrapperFileError {
    /// Our executable cannot stand in a first line.
    #[error(
        "the path {} cannot stand behind #! in a file (at most {} bytes, no blanks); install strict-groups elsewhere, \
         or set hook_path in the configuration",
        path.display(), LONGEST_LINE - 3 - HANDLER.len()
    )]
    Path {
        /// Our executable.
        path: PathBuf,
    },
    /// The node's configuration cannot be named.
    #[error("the path {} of the node's configuration is not UTF-8", path.display())]
    Config {
        /// The path.
        path: PathBuf,
    },
    /// The handler has the wrapper already, from somebody else's hand.
    #[error(
        "the runtime handler {} has strict-groups as its BinaryName already ({}), and which OCI runtime is its own is not \
         known; put that into containerd's configuration, then run this again",
        text::quoted(.handler, 64),
        path.display()
    )]
    Already {
        /// The handler.
        handler: String,
        /// Its `BinaryName`.
        path: PathBuf,
    },
}

/// The file for the handler `name`, whose own OCI runtime is `own` (empty: [`DEFAULT_RUNTIME`]). `program` is our
/// executable as the shim finds it, `config` the node's configuration (None: at its default place).
///
/// # Errors
/// See [`WrapperFileError`].
pub fn file(name: &str, own: &str, program: &Path, config: Option<&Path>) -> Result<File, WrapperFileError> {
    let own = if own.is_empty() { DEFAULT_RUNTIME } else { own };
    let is_ours = |file: &str| is_file_name(file) || file == NAME || file == "strict-groups";
    if Path::new(own).file_name().and_then(|file| file.to_str()).is_some_and(is_ours) {
        return Err(WrapperFileError::Already { handler: name.to_owned(), path: own.into() });
    }
    let wrong = || WrapperFileError::Path { path: program.to_owned() };
    let shown = program.to_str().ok_or_else(wrong)?;
    let line = format!("#!{shown} {HANDLER}");
    if line.len() > LONGEST_LINE || shown.contains(char::is_whitespace) {
        return Err(wrong());
    }
    let config = config
        .map(|path| path.to_str().ok_or(WrapperFileError::Config { path: path.to_owned() }))
        .transpose()?;
    let content = format!(
        "{line}\n\
         # By strict-groups config containerd --wrapper; do not edit, write it again. {}\n\
         # The OCI runtime of a runtime handler: makes Strict containers so, then becomes the one that it names.\n\
         {}",
        seal::OPEN,
        Handler::new(own, config).to_toml()
    );
    Ok(File::program(file_name(name, own), seal::seal(&content)))
}

/// Our executable in the first line of such a file. None: it is no such file.
#[must_use]
pub fn program(text: &str) -> Option<&Path> {
    // Not by lines(), which drops a carriage return: the kernel takes it for a part of the line.
    let line = text.split('\n').next()?.strip_prefix("#!")?;
    line.strip_suffix(HANDLER)?.strip_suffix(' ').map(Path::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(own: &str, program: &str) -> Result<String, WrapperFileError> {
        file("crun", own, Path::new(program), None).map(|file| file.content)
    }

    #[test]
    fn handler_file_runs_our_program_and_names_its_runtime() {
        let file = file("crun", "/usr/bin/crun", Path::new("/opt/sg"), Some(Path::new("/c.toml"))).unwrap();
        assert_eq!((file.name.as_str(), file.executable), ("strict-groups-runtime-crun+crun", true));
        assert!(file.content.starts_with("#!/opt/sg handler\n"), "{}", file.content);
        assert!(
            file.content.ends_with("\nconfig = \"/c.toml\"\npath = \"/usr/bin/crun\"\n"),
            "{}",
            file.content
        );
        assert_eq!(seal::owner(&file.content), seal::Owner::Ours);
        assert_eq!(program(&file.content), Some(Path::new("/opt/sg")));
        assert_eq!(program("#!/bin/sh\n"), None);
        assert_eq!(program(&file.content.replace('\n', "\r\n")), None);
        assert!(is_file_name(&file.name) && !is_file_name(NAME));
        assert!(content("", "/opt/sg").unwrap().ends_with("\npath = \"runc\"\n"));
    }

    #[test]
    fn program_that_the_kernel_would_not_find_is_refused() {
        let longest = format!("/{}", "a".repeat(LONGEST_LINE - 4 - HANDLER.len()));
        assert!(content("", &longest).is_ok());
        for program in [format!("{longest}a"), "/a b".to_owned(), "/a\n".to_owned()] {
            assert!(matches!(content("", &program), Err(WrapperFileError::Path { .. })), "{program}");
        }
    }

    #[test]
    fn wrapper_is_not_put_before_itself() {
        for own in ["/usr/bin/strict-groups", "/d/strict-groups-runtime", "/d/strict-groups-runtime-crun"] {
            assert!(matches!(content(own, "/opt/sg"), Err(WrapperFileError::Already { .. })), "{own}");
        }
    }
}

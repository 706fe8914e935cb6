//! Man pages and the shells' completions, made from the command line.
//!
//! Not a part of the binary, so that what makes them is not in it either.

mod man;

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use strict_groups::cli::Cli;

const NAME: &str = "strict-groups";

/// Where the files go.
#[derive(Args)]
pub(crate) struct Folder {
    /// The folder for the files, which is made
    dir: PathBuf,
}

impl Folder {
    fn make(&self) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {}", self.dir.display()))
    }
}

pub(crate) fn man(folder: &Folder) -> anyhow::Result<()> {
    folder.make()?;
    let mut command = Cli::command().name(NAME).disable_help_subcommand(true);
    command.build();
    man::write(&command, &folder.dir)
}

pub(crate) fn completions(folder: &Folder) -> anyhow::Result<()> {
    folder.make()?;
    let mut command = Cli::command().name(NAME);
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, NAME, &folder.dir)?;
    }
    Ok(())
}

//! Makes the man pages and the shells' completions from the command line: `generate man|completions DIR`.
//!
//! Not a part of the binary, so that what makes them is not in it either.

use std::{fs, path::PathBuf};

use anyhow::Context;
use clap::{CommandFactory, Parser, ValueEnum};
use clap_complete::Shell;
use strict_groups::cli::Cli;

/// Makes man pages or completions.
#[derive(Parser)]
struct Args {
    /// What to make
    what: What,
    /// The folder for the files, which is made
    dir: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum What {
    Man,
    Completions,
}

fn main() -> anyhow::Result<()> {
    let Args { what, dir } = Args::parse();
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut command = Cli::command().name(env!("CARGO_PKG_NAME"));
    match what {
        What::Man => clap_mangen::generate_to(command, &dir)?,
        What::Completions => {
            for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                clap_complete::generate_to(shell, &mut command, env!("CARGO_PKG_NAME"), &dir)?;
            }
        }
    }
    Ok(())
}

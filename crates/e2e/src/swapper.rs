//! A program for a container that wins races: it swaps a file as soon as somebody has read it.
//!
//! busybox has no inotify here, so it is a program of our own, built by the compiler that built the tests.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Run, wait_for};

/// The program, linked statically: any image can run it.
pub fn binary(run: &Run) -> Result<PathBuf> {
    static BUILDING: Mutex<()> = Mutex::new(());
    let _guard = BUILDING.lock().unwrap_or_else(PoisonError::into_inner);
    let program = run.dir().join("swapper");
    if !program.exists() {
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/swapper/program.rs");
        let output = Command::new(compiler)
            .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"])
            .arg(&program)
            .arg(source)
            .output()
            .context("starting rustc")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(program)
}

/// Tells the program that runs on `directory` what to do next, and waits until it is ready: `grp` has the text
/// `good` until it was read `reads` times, and `evil` from then on.
pub fn order(directory: &Path, serial: u32, reads: u32, good: &str, evil: &str) -> Result<()> {
    let until = |wanted: String| {
        let read = || fs::read_to_string(directory.join("ready")).is_ok_and(|text| text == wanted);
        wait_for(Duration::from_secs(20), || read().then_some(())).context("the swapper does not answer")
    };
    if serial == 1 {
        until("0".to_owned())?;
    }
    let line = |text: &str| text.replace('\n', "|");
    fs::write(directory.join("order"), format!("{serial}\n{reads}\n{}\n{}\n", line(good), line(evil)))?;
    until(serial.to_string())
}

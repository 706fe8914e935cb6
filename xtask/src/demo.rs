//! KEP-3619's example pod on a real containerd 1.7: without the
//! annotation, and with it. `make demo` builds what it needs and runs it.
//!
//! Exit code: 0 when all came out as promised and nothing is left behind, else 1.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use e2e::{ContainerSpec, Containerd, Identity, Image, Kind, Machine, Options, Plugin, Pod, Run, run};

const ANNOTATION: &str = "supplemental-groups-policy.noderesource.dev";
const STEPS: u32 = 6;

pub(crate) fn run() -> ExitCode {
    let result = prepare().and_then(|(machine, run)| {
        let shown = show(&machine, &run);
        // Also after an error: the run takes away what `show` could not.
        wait_if_interrupted();
        let left = step(STEPS, "cleaning up", || Ok(run.end()))?;
        for line in &left {
            eprintln!("left behind: {line}");
        }
        let rows = shown?;
        print(&rows);
        if left.is_empty() {
            println!("Nothing is left: no process, mount, cgroup, socket or file.");
        }
        Ok(left.is_empty() && rows.iter().all(Row::as_promised))
    });
    wait_if_interrupted();
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn prepare() -> Result<(Machine, Arc<Run>)> {
    let machine = Machine::check()?;
    run::clean_up_on_signals()?;
    Ok((machine, Arc::new(Run::start()?)))
}

/// One line of the result.
struct Row {
    what: String,
    promised: &'static [u32],
    first: Result<Identity, String>,
    exec: Result<Identity, String>,
}

impl Row {
    fn as_promised(&self) -> bool {
        let promised: BTreeSet<u32> = self.promised.iter().copied().collect();
        [&self.first, &self.exec].iter().all(|seen| seen.as_ref().is_ok_and(|seen| seen.groups() == promised))
    }
}

/// Starts everything, runs the pod twice, stops everything.
fn show(machine: &Machine, run: &Arc<Run>) -> Result<Vec<Row>> {
    let daemon = step(1, "starting a containerd of its own", || {
        Containerd::start(machine, run, Kind::V1_7, Options::default().nri())
    })?;
    let version = daemon.cri().version()?.runtime_version;
    println!("      it is containerd {version}");
    step(2, "making the image", || daemon.import(&Image::example(machine)?))?;
    let plugin = step(3, "starting strict-groups as its NRI plugin", || {
        Plugin::start(&daemon, None, &[]).context("strict-groups does not work with this containerd")
    })?;
    let before = step(4, "running the pod without the annotation", || {
        Ok(row(&daemon, "without the annotation", &Pod::new("before"), &[3000, 4000, 50000]))
    })?;
    let after = step(5, "running the pod with the annotation", || {
        let pod = Pod::new("after").annotation(ANNOTATION, "Strict");
        Ok(row(&daemon, "with the annotation", &pod, &[3000, 4000]))
    })?;
    daemon.stop()?;
    drop(plugin);
    Ok(vec![before, after])
}

fn row(daemon: &Containerd, what: &str, pod: &Pod, promised: &'static [u32]) -> Row {
    match identities(daemon, pod) {
        Ok((first, exec)) => Row { what: what.to_owned(), promised, first: Ok(first), exec: Ok(exec) },
        Err(error) => {
            let text = format!("{error:#}");
            Row { what: what.to_owned(), promised, first: Err(text.clone()), exec: Err(text) }
        }
    }
}

/// Who the first process is, and who an exec is.
fn identities(daemon: &Containerd, pod: &Pod) -> Result<(Identity, Identity)> {
    let cri = daemon.cri();
    let pod = cri.run_pod(pod)?;
    let spec = ContainerSpec::new("app", "localhost/strict-groups/example:1")
        .user(1000)
        .group(3000)
        .supplemental(&[4000]);
    let container = cri.launch(&pod, &spec)?;
    let first = Identity::of_process(cri.status(&container)?.pid)?;
    let exec = Identity::from_status(&cri.exec(&container, &["cat", "/proc/self/status"])?.stdout)?;
    Ok((first, exec))
}

/// Says what is being done, and how it went.
fn step<T>(number: u32, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    print!("[{number}/{STEPS}] {what} ... ");
    // Progress that cannot be shown is no reason to stop.
    let _ = std::io::stdout().flush();
    let begun = Instant::now();
    let result = work();
    match &result {
        Ok(_) => println!("ok ({:.1} s)", begun.elapsed().as_secs_f32()),
        Err(_) => println!("failed"),
    }
    result
}

fn print(rows: &[Row]) {
    println!("\nThe pod:        runAsUser 1000, runAsGroup 3000, supplementalGroups [4000]");
    println!("The image:      puts user 1000 into group 50000");
    println!("The annotation: {ANNOTATION}: Strict\n");
    println!("  {:<28}{:<26}{:<26}", "", "first process", "exec");
    for row in rows {
        let groups = |seen: &Result<Identity, String>| match seen {
            Ok(seen) => {
                let groups: Vec<String> = seen.groups().iter().map(u32::to_string).collect();
                format!("groups={}", groups.join(","))
            }
            Err(_) => "not seen".to_owned(),
        };
        let verdict = if row.as_promised() { green("as promised") } else { red("NOT AS PROMISED") };
        println!("  {:<28}{:<26}{:<26}{verdict}", row.what, groups(&row.first), groups(&row.exec));
    }
    println!();
    for row in rows {
        if let Err(error) = &row.first {
            println!("{}: {error}\n", row.what);
        }
    }
}

fn green(text: &str) -> String {
    coloured(text, 32)
}

fn red(text: &str) -> String {
    coloured(text, 31)
}

fn coloured(text: &str, code: u8) -> String {
    if std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        format!("\x1b[1;{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// After a signal another thread cleans up and ends the process.
fn wait_if_interrupted() {
    while run::interrupted() {
        std::thread::park();
    }
}

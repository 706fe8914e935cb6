//! What the hook may cost: it runs as root outside the pod's cgroup, and outlives the CRI call and the pod. So it ends by
//! itself, whatever it reads: after some processor time, and after a time by the clock that is shorter than any
//! timeout of a container runtime. Both are signals, and a thread that waits for them says why.

use std::{io, process::ExitCode, time::Duration};

use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, Signal},
    },
    unistd::alarm,
};

use super::{HookError, InputError, verify};
use strict_groups_core::gate::Gate;

/// Far longer than the work takes on a busy machine. The kubelet waits for 2 minutes.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// The largest files that are read take less than a second of it.
pub(super) const PROCESSOR: Duration = Duration::from_secs(5);

/// From the first signal to the kernel's SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Decides, as the hook's own process, whether the container may start. It prints nothing but its reason: the OCI runtime
/// quotes it whole.
#[must_use]
pub fn run(args: &[String]) -> ExitCode {
    let names = args.to_owned();
    limit(DEADLINE, PROCESSOR, move |error| refusal(&names, error));
    match verify(args, io::stdin().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn refusal(args: &[String], source: InputError) -> HookError {
    match Gate::parse(args) {
        Ok(Some(Gate { pod, container, .. })) => HookError::Unreadable { pod, container, source },
        _ => HookError::StaticUnreadable(source),
    }
}

/// Ends this process after some time, with the text that `refusal` makes. Where the thread cannot be had, the signals
/// themselves end it.
fn limit(
    deadline: Duration,
    processor: Duration,
    refusal: impl FnOnce(InputError) -> HookError + Send + 'static,
) {
    let signals: SigSet = [Signal::SIGALRM, Signal::SIGXCPU].into_iter().collect();
    let watch = move || {
        let source = match signals.wait() {
            Ok(Signal::SIGXCPU) => InputError::TooMuchWork,
            Ok(_) => InputError::TooSlow,
            Err(_) => return,
        };
        eprintln!("{}", refusal(source));
        std::process::exit(1);
    };
    let blocked = signals.thread_block();
    if blocked.is_ok() && std::thread::Builder::new().stack_size(128 * 1024).spawn(watch).is_err() {
        let _ = signals.thread_unblock();
    }
    alarm::set(u32::try_from(deadline.as_secs()).unwrap_or(u32::MAX));
    // Without it the deadline is left.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_CPU) {
        let hard = (processor + GRACE).as_secs().min(most);
        let _ = setrlimit(Resource::RLIMIT_CPU, processor.as_secs().min(hard), hard);
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::*;

    const WHAT: &str = "STRICT_GROUPS_TEST_LIMIT";

    /// Runs [`victim`] in a process of its own.
    fn run_victim(what: &str) -> Output {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "hook::limits::tests::victim", "--nocapture"]).env(WHAT, what);
        // The threads of the test harness are to have the signals blocked, like those of the hook.
        let signals: SigSet = [Signal::SIGALRM, Signal::SIGXCPU].into_iter().collect();
        signals.thread_block().unwrap();
        let output = command.output();
        signals.thread_unblock().unwrap();
        output.unwrap()
    }

    #[test]
    fn victim() {
        let Ok(what) = std::env::var(WHAT) else { return };
        let args = ["strict-groups", "hook", "--gate=pending", "--pod=default/web", "--container=app"]
            .map(String::from);
        let seconds = |seconds| Duration::from_secs(seconds);
        let (deadline, processor) = if what == "hangs" { (1, 5) } else { (20, 1) };
        limit(seconds(deadline), seconds(processor), move |error| refusal(&args, error));
        match &*what {
            "hangs" => std::thread::sleep(seconds(60)),
            _ => loop {
                std::hint::spin_loop();
            },
        }
    }

    #[test]
    fn hook_that_hangs_or_spins_ends_with_a_message() {
        for (what, why) in
            [("hangs", "given up after 20 s: reading"), ("spins", "given up after 5 s of processor time")]
        {
            let output = run_victim(what);
            assert_eq!(output.status.code(), Some(1), "{what}: {output:?}");
            let said = String::from_utf8(output.stderr).unwrap();
            let named = format!("strict-groups: pod default/web, container app: refused: {why}");
            assert!(said.starts_with(&named), "{what}: {said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }

    #[test]
    fn static_gate_has_a_message_too() {
        let args = ["strict-groups", "hook", "--gate=static", "--runtime=containerd"].map(String::from);
        let said = refusal(&args, InputError::TooSlow).to_string();
        assert!(said.starts_with("strict-groups: static gate: refused: given up"), "{said}");
    }
}

//! `/etc/group` is harmless at the start, and the container's user changes it before an exec.
//!
//! The container itself could not change its groups: it has no privilege, and cannot gain any. An exec is started by
//! the OCI runtime, which can.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;

use super::{Node, OURS, Outcome, PASSWD, With, renamed, victim, within};
use crate::steps::{ANNOTATION, STRICT, all, check, strict};
use crate::world::{World, trial};
use e2e::image::Draft;
use e2e::{ContainerSpec, Pod, RunningPod, swapper, wait_for};

/// What always helps.
const CURE: &str = "runc 1.3";
const GOOD: &str = "root:x:0:\n";

/// A container whose user can change what the OCI runtime reads as `/etc/group`.
struct Case {
    name: &'static str,
    image: fn(Draft) -> Draft,
    /// What the user runs to change it.
    script: &'static str,
}

/// User 1000, groups 3000 and 4000.
const CASES: [Case; 9] = [
    Case {
        name: "a link to a file in /tmp that does not exist yet",
        image: |image| image.link("/etc/group", "/tmp/grp"),
        script: "echo 4000:x:50000: > /tmp/grp",
    },
    Case {
        name: "a link to a file of the user",
        image: |image| image.link("/etc/group", "/srv/grp").file_of((1000, 0), "/srv/grp", 0o600, GOOD),
        script: "echo 4000:x:50000: > /srv/grp",
    },
    Case {
        name: "a file of the user that is not writable yet",
        image: |image| image.file_of((1000, 0), "/etc/group", 0o400, GOOD),
        script: "chmod 600 /etc/group && echo 4000:x:50000: > /etc/group",
    },
    Case {
        name: "a file that the primary group can write",
        image: |image| image.file_of((0, 3000), "/etc/group", 0o664, GOOD),
        script: "echo 4000:x:50000: > /etc/group",
    },
    Case {
        name: "a file that a declared group can write",
        image: |image| image.file_of((0, 4000), "/etc/group", 0o664, GOOD),
        script: "echo 4000:x:50000: > /etc/group",
    },
    Case {
        name: "a file that all can write",
        image: |image| image.file("/etc/group", 0o646, GOOD),
        script: "echo 4000:x:50000: > /etc/group",
    },
    Case {
        name: "a folder /etc that all can write",
        image: |image| image.folder("/etc", 0o777).group(GOOD),
        script: "echo 4000:x:50000: > /etc/new && mv -f /etc/new /etc/group",
    },
    Case {
        name: "a link in the middle, in a folder that all can write",
        image: |image| {
            let image = image.link("/etc/group", "/srv/now/grp").folder("/srv", 0o777);
            image.link("/srv/now", "/usr/v1").folder("/usr/v1", 0o755).file("/usr/v1/grp", 0o644, GOOD)
        },
        script: "mkdir /tmp/v2 && echo 4000:x:50000: > /tmp/v2/grp && rm /srv/now && ln -s /tmp/v2 /srv/now",
    },
    Case {
        name: "a missing file in a folder /etc that all can write",
        image: |image| image.folder("/etc", 0o777),
        script: "echo 4000:x:50000: > /etc/group",
    },
];

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("attacks::exec_after_the_user_wrote_the_file_adds_no_group", |world| {
            written(world, "no-new-privs", |spec| spec.no_new_privs().default_seccomp())
        }),
        // No privilege to change groups, whatever is run: not even root has CAP_SETGID here.
        trial("attacks::exec_without_setgid_in_the_bounds_adds_no_group", |world| {
            written(world, "no-setgid", |spec| spec.only_capabilities(&[]))
        }),
        trial("attacks::exec_after_a_setuid_program_adds_no_group", setuid),
        trial("attacks::exec_with_shared_processes_adds_no_group", shared_processes),
        trial("attacks::exec_in_its_own_mount_namespace_adds_no_group", own_mounts),
        trial("attacks::exec_where_the_file_is_safe_is_not_refused", safe),
    ]
}

fn written(world: &World, name: &str, restrict: fn(ContainerSpec) -> ContainerSpec) -> Result<()> {
    let node = Node::start(world, With::Plugin)?;
    all(CASES.iter().enumerate().map(|(number, case)| {
        let image = format!("localhost/strict-groups/exec-{name}-{number}:1");
        let run = || {
            node.import(world, (case.image)(Draft::new(&image).passwd(PASSWD)))?;
            let spec = restrict(victim(&image).supplemental(&[4000]));
            holds(&node, &Pod::new("exec"), &spec, CURE, |_, id| shell(&node, id, case.script))
        };
        (case.name, run())
    }))
}

/// A program of the image makes its user root, who owns the file and has no capability.
fn setuid(world: &World) -> Result<()> {
    const IMAGE: &str = "localhost/strict-groups/exec-setuid:1";
    let node = Node::start(world, With::Plugin)?;
    let program = fs::read(swapper::binary(&world.run)?)?;
    let image = Draft::new(IMAGE).passwd(PASSWD).link("/etc/group", "/srv/grp").file("/srv/grp", 0o644, GOOD);
    node.import(world, image.file("/swapper", 0o4755, program).file("/srv/order", 0o666, ""))?;
    let spec = victim(IMAGE).supplemental(&[4000]).only_capabilities(&[]);
    let script = "/swapper /srv > /dev/null 2>&1 & until grep -q 0 /srv/ready; do :; done; \
                  printf '1\\n0\\n4000:x:50000:|\\n|\\n' > /srv/order; until grep -q 1 /srv/ready; do :; done";
    let cure = "allowPrivilegeEscalation: false";
    holds(&node, &Pod::new("exec-setuid"), &spec, cure, |_, id| shell(&node, id, script))
}

/// The first process makes a user namespace, in which it may mount a file of its own over root's: an exec joins its mount
/// namespace. The default seccomp profile keeps it from that.
fn own_mounts(world: &World) -> Result<()> {
    const IMAGE: &str = "localhost/strict-groups/exec-mounts:1";
    let node = Node::start(world, With::Plugin)?;
    node.import(world, Draft::new(IMAGE).passwd(PASSWD).group(GOOD))?;
    let script = "echo 4000:x:50000: > /dev/shm/grp; exec /bin/busybox unshare -U -r -m /bin/sh -c \
                  '/bin/busybox mount --bind /dev/shm/grp /etc/group; exec /bin/sleep 2147483647'";
    let mut spec = victim(IMAGE).supplemental(&[4000]).no_new_privs().only_capabilities(&[]);
    spec.security.readonly_rootfs = true;
    let spec = spec.command(&["/bin/sh", "-c", script]);
    holds(&node, &Pod::new("exec-mounts"), &spec, "seccompProfile: RuntimeDefault", |_, id| {
        let mounted =
            || Some(node.daemon.cri().exec(id, &["cat", "/etc/group"]).ok()?.stdout.contains("50000"));
        wait_for(Duration::from_secs(20), || mounted().filter(|mounted| *mounted))
            .context("nothing was mounted")?;
        Ok(())
    })
}

/// What nobody in the container can change is no reason to refuse it.
fn safe(world: &World) -> Result<()> {
    let node = Node::start(world, With::Plugin)?;
    let cases = [
        Case { name: "a file of root", image: |image| image.group(GOOD), script: "" },
        Case {
            name: "a link to a file of root",
            image: |image| image.link("/etc/group", "../usr/etc/group").file("/usr/etc/group", 0o644, GOOD),
            script: "",
        },
        Case { name: "no file in a folder of root", image: |image| image.folder("/etc", 0o755), script: "" },
    ];
    all(cases.iter().enumerate().map(|(number, case)| {
        let image = format!("localhost/strict-groups/exec-safe-{number}:1");
        let run = || {
            node.import(world, (case.image)(Draft::new(&image).passwd(PASSWD)))?;
            let spec = victim(&image).supplemental(&[4000]).no_new_privs().default_seccomp();
            check(&node.daemon, &strict("exec-safe"), &spec, &STRICT)
        };
        (case.name, run())
    }))
}

/// Another container of the pod, which cannot change its own groups either, writes below `/proc/PID/root`.
fn shared_processes(world: &World) -> Result<()> {
    const IMAGE: &str = "localhost/strict-groups/exec-shared:1";
    let node = Node::start(world, With::Plugin)?;
    node.import(world, Draft::new(IMAGE).passwd(PASSWD).group(GOOD))?;
    let spec = victim(IMAGE).supplemental(&[4000]).no_new_privs().default_seccomp();
    holds(&node, &Pod::new("exec-shared").shared_processes(), &spec, CURE, |pod, _| {
        let root = ContainerSpec::new("other", IMAGE).user(0).no_new_privs();
        let root = root.only_capabilities(&["DAC_OVERRIDE", "SYS_PTRACE"]);
        let other = node.daemon.cri().launch(pod, &root).context("the other container")?;
        let script = "for p in /proc/[0-9]*; do if grep -q ^Uid:.1000 $p/status; then \
                      echo 4000:x:50000: > $p/root/etc/group && done=yes; fi; done; test $done";
        shell(&node, &other, script)
    })
}

/// Runs a script as the container's user.
fn shell(node: &Node, container: &str, script: &str) -> Result<()> {
    let said = node.daemon.cri().exec(container, &["sh", "-c", script])?;
    ensure!(said.code == 0, "{script}: {}{}", said.stdout, said.stderr);
    Ok(())
}

/// Under Merge an exec after `change` has group 50000, so the trick works here. Under Strict the container does not
/// start, and its author reads what to do about it; or no process has the group, whenever it is started.
fn holds(
    node: &Node,
    pod: &Pod,
    spec: &ContainerSpec,
    cure: &str,
    change: impl Fn(&RunningPod, &str) -> Result<()>,
) -> Result<()> {
    let cri = node.daemon.cri();
    let merge = cri.run_pod(pod)?;
    let id = cri.launch(&merge, spec).context("under Merge")?;
    change(&merge, &id)?;
    let exec = node.exec(&id)?.context("under Merge it is refused")?;
    ensure!(exec.groups().contains(&50000), "under Merge: {exec}: the trick does not work here");
    cri.remove_pod(&merge.id)?;

    let pod = cri.run_pod(&renamed(pod).annotation(ANNOTATION, "Strict"))?;
    match node.attempt(&pod, spec)? {
        Outcome::Refused(text) => {
            for part in [OURS, "pod default/exec", "container app", cure] {
                ensure!(text.contains(part), "no {part:?} in: {text}");
            }
        }
        Outcome::Runs { id, first } => {
            within(&first, &STRICT).context("first process")?;
            change(&pod, &id)?;
            if let Some(exec) = node.exec(&id)? {
                within(&exec, &STRICT).context("exec")?;
            }
        }
    }
    Ok(cri.remove_pod(&pod.id)?)
}

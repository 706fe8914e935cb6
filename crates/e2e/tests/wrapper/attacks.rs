//! Attacks on the wrapper before runc before 1.3, which looks every group up by its number in the container's
//! `/etc/group` as if that were a name, at create and at each exec. Nothing may end with a group beyond 3000 and 4000.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use libtest_mimic::Trial;
use serde_json::json;

use e2e::wrapper::bundle::{Bundle, Container, PASSWD, STRICT};
use e2e::wrapper::command::{Real, Wrapper, one_line};
use e2e::wrapper::world::{World, trial};
use e2e::{Identity, swapper};

const GOOD: &str = "root:x:0:\n";
const EVIL: &str = "root:x:0:\n4000:x:50000:\n";

/// How often a race is tried.
const TIMES: u32 = 20;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("attacks::wrapper_start_behind_a_magic_link_adds_no_group", magic_link),
        trial("attacks::wrapper_start_with_a_swapped_file_adds_no_group", swapped_at_start),
        trial("attacks::wrapper_start_with_a_joined_crio_file_adds_no_group", joined),
        trial("attacks::wrapper_start_with_crio_group_file_works", generated),
        trial("attacks::wrapper_start_with_crio_file_unlinked_adds_no_group", unlinked_at_start),
        trial("attacks::wrapper_exec_with_crio_file_unlinked_adds_no_group", unlinked_before_exec),
        trial("attacks::wrapper_exec_behind_a_magic_link_adds_no_group", exec_behind_magic_link),
        trial("attacks::wrapper_exec_with_a_swapped_file_adds_no_group", swapped_at_exec),
    ]
}

/// A Strict container as CRI-O makes it, with the pending gate of the plugin; it can gain no privilege.
fn victim(world: &World) -> Result<Bundle> {
    let mut bundle = Bundle::new(world)?.by_crio()?.annotated("Strict")?.groups(&STRICT)?.pending(world)?;
    bundle.spec["process"]["noNewPrivileges"] = json!(true);
    bundle.write()?;
    fs::set_permissions(bundle.rootfs().join("tmp"), fs::Permissions::from_mode(0o1777))?;
    Ok(bundle)
}

/// The image's /etc/group is a link.
fn link(bundle: &Bundle, target: &str) -> Result<()> {
    let file = bundle.rootfs().join("etc/group");
    fs::remove_file(&file)?;
    Ok(symlink(target, file)?)
}

/// Mounts a folder or file of the host.
fn mount(bundle: &mut Bundle, source: &Path, destination: &str) -> Result<()> {
    let mounts = bundle.spec["mounts"].as_array_mut().context("no mounts")?;
    mounts.push(json!({
        "destination": destination, "type": "bind", "source": source, "options": ["rbind", "rw"],
    }));
    bundle.write()
}

/// The bare runc gives the group that the attack is for, so the trick works here.
fn control(world: &World, bundle: &Bundle, group: u32) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let mut spec = bundle.spec.clone();
    spec["hooks"] = json!({});
    spec["annotations"] = json!({});
    spec["process"]["user"]["additionalGids"] = json!(STRICT);
    let plain = Bundle { path: bundle.path.clone(), id: bundle.id.clone(), spec };
    plain.write()?;
    let container = plain.start(&wrapper)?;
    let first = Identity::of_process(container.pid)?;
    ensure!(first.groups().contains(&group), "under Merge: {first}: the trick does not work here");
    drop(container);
    bundle.write()
}

/// Whether a started container, or a refusal, is as it has to be.
fn start<'w>(bundle: &Bundle, wrapper: &'w Wrapper) -> Result<Option<Container<'w>>> {
    let pid_file = bundle.path.join("pid");
    let pid_file = pid_file.to_str().context("no text")?;
    for args in [
        &["create", "--bundle", bundle.dir(), "--pid-file", pid_file, &bundle.id][..],
        &["start", &bundle.id],
    ] {
        let output = wrapper.output(args)?;
        if !output.status.success() {
            is_ours(&output).with_context(|| format!("{args:?}"))?;
            wrapper.output(&["delete", "--force", &bundle.id])?;
            return Ok(None);
        }
    }
    let pid = fs::read_to_string(pid_file)?.trim().parse()?;
    let container = Container { wrapper, id: bundle.id.clone(), pid };
    within(&Identity::of_process(container.pid)?).context("first process")?;
    Ok(Some(container))
}

/// It was strict-groups that refused, whether as the wrapper or as the hook.
fn is_ours(output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        said.contains("strict-groups: pod default/web, container app"),
        "not refused by strict-groups: {said}"
    );
    Ok(())
}

fn within(identity: &Identity) -> Result<()> {
    ensure!(identity.groups().iter().all(|group| STRICT.contains(group)), "the attack worked: {identity}");
    Ok(())
}

/// An exec is refused, or has the groups that it may have.
fn exec(bundle: &Bundle, wrapper: &Wrapper) -> Result<()> {
    let file = bundle.process_file("process", &["cat", "/proc/self/status"])?;
    let output = wrapper.output(&["exec", "--process", file.to_str().context("no text")?, &bundle.id])?;
    if !output.status.success() {
        one_line(&output)?;
        return is_ours(&output);
    }
    within(&Identity::from_status(&String::from_utf8_lossy(&output.stdout))?).context("exec")
}

fn magic_link(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let bundle = victim(world)?;
    fs::write(bundle.rootfs().join("etc/grp"), EVIL)?;
    link(&bundle, "/proc/self/root/etc/grp")?;
    control(world, &bundle, 50000)?;
    start(&bundle, &wrapper).map(drop)
}

/// A file on a volume, which another container of the pod swaps as soon as it was read.
fn swapped_at_start(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let volume = world.folder()?;
    let new = || {
        let mut bundle = victim(world)?;
        link(&bundle, "/data/grp")?;
        mount(&mut bundle, &volume, "/data")?;
        anyhow::Ok(bundle)
    };
    fs::write(volume.join("grp"), EVIL)?;
    control(world, &new()?, 50000)?;

    swapping(world, &volume, |order| {
        let mut won = Vec::new();
        // Of the hook and of whatever else reads it.
        for reads in 1..=2 {
            for _ in 0..TIMES {
                order(reads)?;
                won.extend(
                    start(&new()?, &wrapper).err().map(|error| format!("after read {reads}: {error:#}")),
                );
            }
        }
        result(&won, 2 * TIMES)
    })
}

/// CRI-O mounts an /etc/group of its own where the image's lacks the primary group: it adds a line, and where the
/// image's last line does not end, joins the two. `4000:x:5` and `3000:x:3000:` make 4000 into 53000.
fn joined(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let mut bundle = victim(world)?;
    bundle.image(PASSWD, "root:x:0:\n4000:x:5")?;
    by_crio(&mut bundle, "root:x:0:\n4000:x:53000:x:3000:\n")?;
    control(world, &bundle, 53000)?;
    start(&bundle, &wrapper).map(drop)
}

/// The same where nothing is wrong with it: no reason to refuse, neither the container nor an exec.
fn generated(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let mut bundle = victim(world)?;
    bundle.spec["linux"]["seccomp"] = without_namespaces();
    by_crio(&mut bundle, "root:x:0:\nalice:x:1000:\n3000:x:3000:\n")?;
    let container = bundle.start(&wrapper)?;
    container.expect(&STRICT)?;
    let file = bundle.process_file("process", &["cat", "/proc/self/status"])?;
    container.expect_exec(&["--process", file.to_str().context("no text")?], &[], &STRICT)
}

/// A profile that lets a program run, and make no namespace. A container runtime's own has some hundred names more.
fn without_namespaces() -> serde_json::Value {
    let names = "access arch_prctl brk capget capset chdir clock_gettime clock_nanosleep close close_range dup dup2 dup3 \
                 epoll_create1 epoll_ctl epoll_pwait eventfd2 execve exit exit_group fchdir fchown fcntl fstat fstatfs \
                 futex getcwd getdents64 getegid geteuid getgid getgroups getpid getppid getrandom getrlimit gettid \
                 getuid ioctl kill lseek lstat madvise mmap mprotect munmap nanosleep newfstatat open openat openat2 \
                 pipe pipe2 poll ppoll prctl pread64 prlimit64 read readlink readlinkat readv rseq rt_sigaction \
                 rt_sigprocmask rt_sigreturn sched_getaffinity sched_yield select sendfile set_robust_list \
                 set_tid_address setgid setgroups setresgid setresuid setuid sigaltstack stat statfs statx tgkill \
                 umask uname unlinkat wait4 write writev";
    let names: Vec<&str> = names.split_whitespace().collect();
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{ "names": names, "action": "SCMP_ACT_ALLOW" }] })
}

/// The file that CRI-O generates, in the bundle.
fn by_crio(bundle: &mut Bundle, content: &str) -> Result<()> {
    let file = bundle.path.join("group");
    fs::write(&file, content)?;
    mount(bundle, &file, "/etc/group")
}

/// CRI-O's file is mounted in a folder that is a volume. Another container of the pod takes away what it is mounted
/// on, and the kernel takes the mount away with it. From then on the file is the volume's.
fn unlinked(world: &World) -> Result<(Bundle, PathBuf)> {
    let volume = world.folder()?;
    fs::write(volume.join("passwd"), PASSWD)?;
    fs::write(volume.join("group"), GOOD)?;
    let mut bundle = victim(world)?;
    mount(&mut bundle, &volume, "/etc")?;
    by_crio(&mut bundle, "root:x:0:\n3000:x:3000:\n")?;
    Ok((bundle, volume))
}

fn unlinked_before_exec(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let (bundle, volume) = unlinked(world)?;
    let Some(container) = start(&bundle, &wrapper)? else { return Ok(()) };
    runs_sleep(&container)?;
    fs::remove_file(volume.join("group"))?;
    symlink("grp", volume.join("group"))?;
    swapping(world, &volume, |order| {
        let mut won = Vec::new();
        for _ in 0..TIMES {
            order(1)?;
            won.extend(exec(&bundle, &wrapper).err().map(|error| format!("{error:#}")));
        }
        result(&won, TIMES)
    })
}

/// The same while the container starts, again and again.
fn unlinked_at_start(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let (bundle, volume) = unlinked(world)?;
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| -> Result<()> {
            for content in [GOOD, EVIL].into_iter().cycle() {
                if end.load(Ordering::Relaxed) {
                    break;
                }
                fs::write(volume.join("new"), content)?;
                fs::rename(volume.join("new"), volume.join("group"))?;
            }
            Ok(())
        });
        let failed = (0..3 * TIMES).filter_map(|_| start(&bundle, &wrapper).err());
        // runc itself may stumble over a mount that goes away under its hands.
        let failed =
            failed.map(|error| format!("{error:#}")).filter(|text| !text.contains("runc create failed"));
        let won: Vec<_> = failed.collect();
        end.store(true, Ordering::Relaxed);
        other.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        result(&won, 3 * TIMES)
    })
}

/// Runs the swapper on a folder, as another container of the pod would. `test` is given what orders a swap after so
/// many reads.
fn swapping(
    world: &World,
    directory: &Path,
    test: impl FnOnce(&mut dyn FnMut(u32) -> Result<()>) -> Result<()>,
) -> Result<()> {
    let mut program =
        world.run.spawn(std::process::Command::new(swapper::binary(&world.run)?).arg(directory))?;
    let mut serial = 0;
    let result = test(&mut |reads| {
        serial += 1;
        swapper::order(directory, serial, reads, GOOD, EVIL)
    });
    program.kill()?;
    program.wait()?;
    result
}

/// The container writes the file that its /etc/group leads to, where the wrapper does not find it.
fn exec_behind_magic_link(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let mut bundle = victim(world)?;
    link(&bundle, "/proc/self/root/tmp/grp")?;
    bundle.spec["process"]["args"] =
        json!(["sh", "-c", "echo 4000:x:50000: > /tmp/grp; exec /bin/sleep 2147483647"]);
    bundle.write()?;
    let Some(container) = start(&bundle, &wrapper)? else { return Ok(()) };
    runs_sleep(&container)?;
    exec(&bundle, &wrapper)
}

/// The container swaps its own /etc/group as soon as the wrapper has read it. With the wrapper that is no reason not
/// to start: an exec is refused.
fn swapped_at_exec(world: &World) -> Result<()> {
    let wrapper = Wrapper::new(world, Real::Runc)?;
    let mut bundle = victim(world)?;
    let srv = bundle.rootfs().join("srv");
    fs::create_dir(&srv)?;
    fs::set_permissions(&srv, fs::Permissions::from_mode(0o777))?;
    fs::write(srv.join("grp"), GOOD)?;
    link(&bundle, "/srv/grp")?;
    fs::copy(swapper::binary(&world.run)?, bundle.rootfs().join("bin/swapper"))?;
    bundle.spec["process"]["args"] = json!(["sh", "-c", "/bin/swapper /srv & exec /bin/sleep 2147483647"]);
    bundle.write()?;
    let container = start(&bundle, &wrapper)?.context("it is refused at its start")?;
    runs_sleep(&container)?;

    let mut won = Vec::new();
    for serial in 1..=TIMES {
        swapper::order(&srv, serial, 1, GOOD, EVIL)?;
        won.extend(exec(&bundle, &wrapper).err().map(|error| format!("{error:#}")));
    }
    result(&won, TIMES)
}

/// The script of the first process has come to its end.
fn runs_sleep(container: &Container<'_>) -> Result<()> {
    e2e::wait_for(std::time::Duration::from_secs(20), || {
        let line = fs::read(format!("/proc/{}/cmdline", container.pid)).ok()?;
        line.starts_with(b"/bin/sleep").then_some(())
    })
    .context("the first process does not run")
}

fn result(won: &[String], of: u32) -> Result<()> {
    match won.first() {
        Some(first) => anyhow::bail!("{} of {of}: {first}", won.len()),
        None => Ok(()),
    }
}

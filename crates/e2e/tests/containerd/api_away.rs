//! containerd's API cannot be used from the start: CreateContainer says so.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;

use crate::steps::{app, fresh, merge_works, says, strict, strict_works};
use crate::world::{World, trial};
use e2e::{Containerd, Kind, Plugin};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("api_away::strict_is_refused_at_once", |world| refused(world, Kind::V1_7, &world.new.socket())),
        trial("api_away::strict_is_refused_at_once_on_containerd_2", |world| {
            refused(world, Kind::V2, &world.old.socket())
        }),
    ]
}

fn refused(world: &World, kind: Kind, other: &Path) -> Result<()> {
    let daemon = fresh(world, kind)?;
    let path = |name: &str| daemon.dir().join(name);
    drop(UnixListener::bind(path("stale.sock"))?);
    // The system takes the connection, and nobody ever reads from it.
    let _silent = UnixListener::bind(path("silent.sock"))?;
    let _garbage = Garbage::start(&path("garbage.sock"))?;
    std::fs::write(path("file.sock"), "")?;
    let _open = UnixListener::bind(path("open.sock"))?;
    std::fs::set_permissions(path("open.sock"), std::fs::Permissions::from_mode(0o777))?;

    case(&daemon, "missing", &path("missing.sock"), "No such file")?;
    case(&daemon, "stale", &path("stale.sock"), "refused")?;
    case(&daemon, "file", &path("file.sock"), "refused")?;
    case(&daemon, "silent", &path("silent.sock"), "did not answer within")?;
    case(&daemon, "garbage", &path("garbage.sock"), "cannot be reached")?;
    case(&daemon, "open", &path("open.sock"), "others than root can write to the socket")?;
    case(&daemon, "other", other, "does not know")?;

    // The same plugin, once its socket is there.
    let late = path("late.sock");
    let plugin = Plugin::start_with_api(&daemon, &late)?;
    create_fails(&daemon, "late", &late, "No such file")?;
    std::os::unix::fs::symlink(daemon.socket(), &late)?;
    strict_works(&daemon, "late-healed").with_context(|| plugin.log())?;
    drop(plugin);
    daemon.stop()
}

fn case(daemon: &Containerd, name: &str, api: &Path, reason: &str) -> Result<()> {
    let plugin = Plugin::start_with_api(daemon, api)?;
    create_fails(daemon, name, api, reason).with_context(|| format!("case {name}"))?;
    merge_works(daemon, &format!("{name}-merge")).with_context(|| format!("case {name}"))?;
    ensure!(!plugin.log().contains("not registered"), "case {name}: {}", plugin.log());
    Ok(())
}

fn create_fails(daemon: &Containerd, name: &str, api: &Path, reason: &str) -> Result<()> {
    let name = format!("{name}-strict");
    let pod = daemon.cri().run_pod(&strict(&name))?;
    let Err(error) = daemon.cri().create(&pod, &app()) else { bail!("it was created") };
    let subject = format!("strict-groups: pod default/{name}, container app: ");
    let socket = api.display().to_string();
    says(&error.message, &[&subject, "Strict cannot be enforced at the moment", &socket, reason])?;
    let todo = [
        "see containerd's log",
        "is containerd running",
        "is this the socket of the containerd",
        "chmod o-w",
    ];
    ensure!(todo.iter().any(|text| error.message.contains(text)), "nothing to do: {}", error.message);
    Ok(daemon.cri().remove_pod(&pod.id)?)
}

/// Answers every connection with something that is no HTTP/2; dropping it ends it.
struct Garbage {
    socket: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Garbage {
    fn start(socket: &Path) -> Result<Self> {
        let listener = UnixListener::bind(socket)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let _ = stream.write_all(b"SSH-2.0-nobody\r\n".repeat(8).as_slice());
            }
        });
        Ok(Self { socket: socket.to_owned(), stop, thread: Some(thread) })
    }
}

impl Drop for Garbage {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Only a connection makes the thread look.
        drop(UnixStream::connect(&self.socket));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

use super::*;

/// The words of a command line, the program's name left out.
fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// Id, bundle and config of a command line that makes a container.
fn created(line: &str) -> (String, Option<String>, Option<String>) {
    let args = words(line);
    let text = |path: Option<&Path>| path.map(|path| path.to_str().unwrap().to_owned());
    match read(&args).action {
        Action::Create(made) | Action::Run(made) | Action::Restore(made) => {
            (made.id.to_owned(), text(made.bundle), text(made.config))
        }
        other => panic!("{line}: {other:?}"),
    }
}

/// Id, process file and unknown option of an exec.
fn executed(line: &str) -> Option<(String, String, bool)> {
    let args = words(line);
    match read(&args).action {
        Action::Exec(Exec { ids, process, unknown }) => {
            Some((joined(&ids), process.to_str().unwrap().to_owned(), unknown.is_some()))
        }
        Action::Other => None,
        other => panic!("{line}: {other:?}"),
    }
}

/// Id and unknown option of a start.
fn started(line: &str) -> (String, bool) {
    match read(&words(line)).action {
        Action::Start(Start { ids, unknown }) => (joined(&ids), unknown.is_some()),
        other => panic!("{line}: {other:?}"),
    }
}

fn joined(ids: &[&OsStr]) -> String {
    ids.join(OsStr::new(" ")).into_string().unwrap()
}

fn container(id: &str, bundle: &str) -> (String, Option<String>, Option<String>) {
    (id.into(), Some(bundle.into()), None)
}

#[test]
fn lines_that_cri_o_and_conmon_write() {
    let recorded = include_str!("../../../../../tests/fixtures/crio-1.30.14/runtime-argv.txt");
    let lines: Vec<Vec<OsString>> =
        recorded.lines().filter(|line| !line.starts_with("parent:")).map(words).collect();
    let calls: Vec<Call<'_>> = lines.iter().map(|line| read(line)).collect();
    let [version, features, create, rest @ ..] = &calls[..] else { panic!("three lines at least") };
    assert_eq!((&version.action, &features.action), (&Action::Other, &Action::Other));
    assert_eq!(create.root, Some(Path::new("/run/runc")));
    let Action::Create(made) = &create.action else { panic!("{create:?}") };
    assert!(made.bundle.unwrap().ends_with(format!("{}/userdata", made.id)));
    assert_eq!(made.id.len(), 64);
    let mut starts = 0;
    let processes: Vec<&Path> = rest
        .iter()
        .filter_map(|call| match &call.action {
            Action::Start(start) => {
                assert_eq!((&start.ids[..], start.unknown), (&[OsStr::new(made.id)][..], None));
                starts += 1;
                None
            }
            Action::Exec(exec) => {
                assert_eq!((&exec.ids[..], exec.unknown), (&[OsStr::new(made.id)][..], None));
                Some(exec.process)
            }
            Action::Other => None,
            other => panic!("one container only: {other:?}"),
        })
        .collect();
    assert_eq!((starts, processes.len()), (1, 2));
    assert!(processes.iter().all(|path| path.starts_with("/tmp")));
    assert!(rest.iter().all(|call| call.root == Some(Path::new("/run/runc"))));
}

#[test]
fn every_form_of_an_option() {
    for line in [
        "create --bundle /b c1",
        "create --bundle=/b c1",
        "create -bundle /b c1",
        "create -bundle=/b c1",
        "create -b /b c1",
        "create -b=/b c1",
        "create -b/b c1",
        "create --bund /b c1",
        "create c1 --bundle /b",
        "create --pid-file p --bundle /a --no-pivot --bundle /b --console-socket s c1",
        "create --preserve-fds 3 --bundle /b -- c1",
        "--debug --root /r create -b /b c1",
        "-root /r --log=/l create -b /b c1",
        "--systemd-cgroup --log-format json --rootless=true run -d -b /b c1",
        "--cgroup-manager disabled restore --image-path i --detach -b /b c1",
        "--new-switch create -b /b c1",
        "--new-option value create -b /b c1",
        "--new-option=value create -b /b c1",
    ] {
        assert_eq!(created(line), container("c1", "/b"), "{line}");
    }
    assert_eq!(created("create c1"), ("c1".into(), None, None));
    assert_eq!(
        created("create -b /b -f other.json c1"),
        ("c1".into(), Some("/b".into()), Some("other.json".into()))
    );
    assert_eq!(created("create"), (String::new(), None, None));
    assert_eq!(created("create --bundle"), (String::new(), None, None));
}

#[test]
fn exec_ends_at_the_id() {
    let found = |id: &str, process: &str| Some((id.to_owned(), process.to_owned(), false));
    for line in [
        "exec --process /p c1",
        "exec --process=/p c1",
        "exec -process /p c1",
        "exec -p /p c1",
        "exec -p/p c1",
        "exec -tdp /p c1",
        "exec -td --process /p --pid-file f c1",
        "exec --pid-file f --process /p --detach --tty --console-socket s c1",
        "exec --cwd / -e A=B -u 1:2 -g 5 --cap X --process /p c1 sh --process /q",
        "exec --detach=true --process /p -- c1",
    ] {
        assert_eq!(executed(line), found("c1", "/p"), "{line}");
    }
    assert_eq!(executed("exec c1 sh"), None);
    assert_eq!(executed("exec c1 sh --process /q"), None);
    assert_eq!(executed("exec --user 0 c1 sh -p /q"), None);
    let unknown = |ids: &str| Some((ids.to_owned(), "/p".to_owned(), true));
    assert_eq!(executed("exec --new x --process /p c1"), unknown("x c1"), "--new takes a value");
    assert_eq!(executed("exec --process /p --new c1"), unknown("c1"), "--new takes none");
    assert_eq!(executed("exec --process /p --new c1 sh -p /q"), unknown("c1 sh"));
    assert_eq!(executed("exec --new=x --process /p c1 sh -p /q"), unknown("c1"));
}

#[test]
fn start_names_its_container() {
    for line in [
        "start c1",
        "--root /r start c1",
        "start -- c1",
        "start c1 c2",
        "start c1 --new",
        "--new-switch start c1",
        "--new-option value start c1",
        "--log start start c1",
    ] {
        assert_eq!(started(line), ("c1".into(), false), "{line}");
    }
    assert_eq!(started("start -- -c1"), ("-c1".into(), false), "a word, whatever it begins with");
    assert_eq!(started("start -- --"), ("--".into(), false));
    assert_eq!(started("start --new c1"), ("c1".into(), true), "--new takes none");
    assert_eq!(started("start --new x c1"), ("x c1".into(), true), "--new takes a value");
    assert_eq!(started("start --new=x c1 c2"), ("c1".into(), true));
    for none in ["start", "start --help", "start --"] {
        assert_eq!(started(none), (String::new(), false), "{none}");
    }
    assert_eq!(started("start -"), ("-".into(), false));
}

#[test]
fn run_and_restore_are_told_from_create() {
    let action = |line: &str| match read(&words(line)).action {
        Action::Create(_) => "create",
        Action::Run(_) => "run",
        Action::Restore(_) => "restore",
        other => panic!("{line}: {other:?}"),
    };
    for (line, verb) in [
        ("--root /r create --bundle /b c1", "create"),
        ("--root /r run --bundle /b c1", "run"),
        ("--systemd-cgroup restore --detach --bundle /b --image-path /i c1", "restore"),
        ("--new-option value run -b /b c1", "run"),
        ("-- restore -b /b c1", "restore"),
        ("create -b run c1", "create"),
    ] {
        assert_eq!(action(line), verb, "{line}");
    }
}

#[test]
fn anything_else_is_left_alone() {
    for line in [
        "",
        "--version",
        "-v",
        "--help",
        "features",
        "state c1",
        "kill c1 15",
        "delete --force c1",
        "update --resources - c1",
        "list",
        "ps c1",
        "events c1",
        "unknown --bundle /b c1",
        "--root",
        "-",
        "--",
        "--root create",
        "--log exec --process /p c1",
        "spec create",
    ] {
        assert_eq!(read(&words(line)).action, Action::Other, "{line}");
    }
}

#[test]
fn root_and_log_are_found() {
    let args = words("--root=/run/runc --log /l --log-format json state c1");
    let call = read(&args);
    assert_eq!((call.root, call.log), (Some(Path::new("/run/runc")), Some(Path::new("/l"))));
    assert_eq!(call.global.len(), 5);
    let args = words("--root=/a --root /b kill c1 15");
    assert_eq!(read(&args).root, Some(Path::new("/b")));
    assert_eq!(read(&args).global.len(), 3);
}

#[test]
fn bytes_that_are_no_text() {
    use std::os::unix::ffi::OsStringExt;
    let args = ["create", "-b"].map(OsString::from);
    let args =
        [&args[..], &[OsString::from_vec(b"/b\xff".to_vec()), OsString::from_vec(b"\xff".to_vec())]].concat();
    let Action::Create(create) = read(&args).action else { panic!("create") };
    assert_eq!(create.bundle.unwrap().as_os_str().as_bytes(), b"/b\xff");
    assert_eq!(create.id, "");
    let args = [OsString::from("start"), OsString::from_vec(b"\xff".to_vec())];
    let Action::Start(start) = read(&args).action else { panic!("start") };
    assert_eq!(start.ids, [OsStr::from_bytes(b"\xff")]);
}

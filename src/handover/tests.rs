use std::os::unix::fs::{MetadataExt, chown, symlink};

use super::*;

const NOBODY: u32 = 65534;

fn request(container: &str, strict: bool) -> Request {
    Request {
        sandbox: "0123abc".to_owned(),
        pod_uid: "uid".to_owned(),
        container: container.to_owned(),
        attempt: 2,
        strict,
        groups: Some(vec![0, 4000, 4_294_967_294]),
    }
}

/// The proxy's and the plugin's side, which trust root alone.
fn sides() -> (tempfile::TempDir, Requests, Requests) {
    let dir = tempfile::tempdir().unwrap();
    let at = || Requests::new(dir.path().join("run/requests"));
    let (proxy, plugin) = (at(), at());
    proxy.clear().unwrap();
    (dir, proxy, plugin)
}

fn found(plugin: &Requests, container: &str) -> Option<Request> {
    plugin.read("uid", "0123abc", container).unwrap()
}

fn refused(plugin: &Requests) -> String {
    plugin.read("uid", "0123abc", "app").unwrap_err().to_string()
}

#[test]
#[ignore = "needs root"]
fn request_is_found_until_the_call_has_ended() {
    let (_dir, proxy, plugin) = sides();
    assert_eq!(found(&plugin, "app"), None);
    let kept = proxy.write(&request("app", true)).unwrap();
    assert_eq!(found(&plugin, "app"), Some(request("app", true)));
    assert_eq!(found(&plugin, "other"), None);
    assert_eq!(plugin.read("uid", "fffff", "app").unwrap(), None, "another sandbox");
    drop(kept);
    assert_eq!(found(&plugin, "app"), None);
    assert_eq!(fs::read_dir(&proxy.dir).unwrap().count(), 0);
}

#[test]
#[ignore = "needs root"]
fn directory_and_file_are_roots_alone() {
    let (_dir, proxy, _) = sides();
    let _kept = proxy.write(&request("app", true)).unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&proxy.dir), 0o700);
    assert_eq!(mode(&proxy.dir.join("0123abc+app")), 0o600);
    fs::set_permissions(&proxy.dir, Permissions::from_mode(0o755)).unwrap();
    proxy.clear().unwrap();
    assert_eq!(mode(&proxy.dir), 0o700, "one that was there");
}

#[test]
#[ignore = "needs root"]
fn earlier_call_does_not_remove_the_file_of_a_later_one() {
    let (_dir, proxy, plugin) = sides();
    let first = proxy.write(&request("app", true)).unwrap();
    let second = proxy.write(&request("app", false)).unwrap();
    drop(first);
    assert_eq!(found(&plugin, "app"), Some(request("app", false)));
    let third = proxy.write(&request("app", true)).unwrap();
    drop(second);
    assert_eq!(found(&plugin, "app"), Some(request("app", true)));
    drop(third);
    assert_eq!(found(&plugin, "app"), None);
}

#[test]
#[ignore = "needs root"]
fn what_a_killed_proxy_left_is_removed_at_the_next_start() {
    let (dir, proxy, plugin) = sides();
    std::mem::forget(proxy.write(&request("app", true)).unwrap());
    fs::write(proxy.dir.join(".strict-groups-x"), "half").unwrap();
    let next = Requests::new(proxy.dir.clone());
    next.clear().unwrap();
    assert_eq!(found(&plugin, "app"), None);
    assert_eq!(fs::read_dir(&next.dir).unwrap().count(), 0);
    // Somebody takes the whole directory away.
    fs::remove_dir_all(dir.path().join("run")).unwrap();
    assert_eq!(found(&plugin, "app"), None);
    let _kept = next.write(&request("app", true)).unwrap();
    assert!(found(&plugin, "app").is_some());
}

#[test]
#[ignore = "needs root"]
fn file_that_others_could_write_is_refused() {
    let (dir, proxy, plugin) = sides();
    let _kept = proxy.write(&request("app", false)).unwrap();
    let file = proxy.dir.join("0123abc+app");
    chown(&file, Some(NOBODY), None).unwrap();
    assert!(refused(&plugin).contains("does not belong to root"), "{}", refused(&plugin));
    chown(&file, Some(0), None).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
    assert!(refused(&plugin).contains("others than root can write"), "{}", refused(&plugin));
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let run = dir.path().join("run");
    fs::set_permissions(&run, Permissions::from_mode(0o777)).unwrap();
    assert!(refused(&plugin).contains("the directory"), "{}", refused(&plugin));
    // Where others can write, the proxy hands nothing on; and where nothing is, nothing is wrong.
    assert!(matches!(proxy.write(&request("b", true)), Err(HandoverError::Untrusted(_))));
    assert_eq!(found(&plugin, "b"), None);
    chown(&run, Some(NOBODY), None).unwrap();
    assert!(matches!(proxy.clear(), Err(HandoverError::Untrusted(_))));
}

#[test]
#[ignore = "needs root"]
fn what_the_proxy_does_not_write_is_refused() {
    let (dir, proxy, plugin) = sides();
    let file = proxy.dir.join("0123abc+app");
    let other_pod = Request { pod_uid: "other".to_owned(), ..request("app", true) };
    for content in [
        Vec::new(),
        b"{}".to_vec(),
        b"[\n]".to_vec(),
        br#"{"sandbox":"0123abc","pod_uid":"uid","container":"app","attempt":0,"strict":true,"groups":[-1]}"#
            .to_vec(),
        serde_json::to_vec(&request("other", true)).unwrap(),
        serde_json::to_vec(&other_pod).unwrap(),
        vec![b' '; 2 << 20],
    ] {
        fs::write(&file, &content).unwrap();
        let text = refused(&plugin);
        assert!(text.contains("is not what the CRI proxy writes") && !text.contains('\n'), "{text}");
    }
    fs::remove_file(&file).unwrap();
    // Neither is a link followed nor a pipe waited for.
    symlink(dir.path(), &file).unwrap();
    assert!(refused(&plugin).starts_with("cannot read"), "{}", refused(&plugin));
    fs::remove_file(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert!(refused(&plugin).contains("is not what the CRI proxy writes"), "{}", refused(&plugin));
}

#[test]
fn names_cannot_lead_elsewhere_or_be_mistaken() {
    for (sandbox, container) in
        [("", "app"), ("0123", ""), ("../0123", "app"), ("0123", "a/b"), ("0123+a", "b"), ("0123", "a+b")]
    {
        let error = file_name(sandbox, container).unwrap_err().to_string();
        assert!(error.contains("cannot be named"), "{error}");
    }
    assert!(file_name(&"a".repeat(64), &"b".repeat(63)).is_ok());
    assert!(file_name(&"a".repeat(200), &"b".repeat(63)).is_err());
    let plugin = Requests::new(PathBuf::from("/nonexistent"));
    assert_eq!(plugin.read("uid", "..", "/etc").unwrap(), None);
}

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

fn folder(path: &Path) -> Folder<'_> {
    Folder {
        path,
        is_our_name: |name| name.starts_with("ours"),
        is_program: |name| name.starts_with("ours-program"),
    }
}

fn file(name: &str, content: &str) -> File {
    File::new(name, seal::seal(&format!("# {}\n{content}\n", seal::OPEN)))
}

/// Names and contents of everything in a folder.
fn contents(path: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let content = fs::read_to_string(entry.path()).unwrap_or_default();
            (entry.file_name().into_string().unwrap(), content)
        })
        .collect()
}

#[test]
fn files_are_written_replaced_and_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/conf.d");
    let folder = folder(&path);
    let (spec, old) = (file("ours.json", "{}"), file("ours.toml", "a = 1"));
    let (gone, new) = (file("ours-old.json", "{}"), file("ours.toml", "a = 2"));

    assert_eq!(folder.write(&[spec.clone(), gone, old]).unwrap().len(), 3);
    let mode = fs::metadata(path.join("ours.toml")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
    fs::write(path.join("other.toml"), "theirs").unwrap();

    let changed = folder.write(&[spec.clone(), new.clone()]).unwrap();
    assert_eq!(changed, [path.join("ours.toml"), path.join("ours-old.json")]);
    let names: Vec<String> = contents(&path).into_keys().collect();
    assert_eq!(names, ["other.toml", "ours.json", "ours.toml"]);
    assert_eq!(contents(&path)["ours.toml"], new.content);
    assert_eq!(folder.write(&[spec, new]).unwrap(), [""; 0].map(PathBuf::from));

    assert_eq!(folder.remove(|_| false).unwrap(), [path.join("ours.toml"), path.join("ours.json")]);
    assert_eq!(contents(&path), BTreeMap::from([("other.toml".to_owned(), "theirs".to_owned())]));
    assert_eq!(folder.remove(|_| false).unwrap().len(), 0);
}

#[test]
fn diff_shows_what_a_write_would_do_and_does_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let folder = folder(dir.path());
    let (old, new) = (file("ours.toml", "a = 1"), file("ours.toml", "a = 2"));
    let text = folder.diff(std::slice::from_ref(&old)).unwrap();
    assert!(text.contains("--- /dev/null\n") && text.contains("+a = 1\n"), "{text}");
    assert!(contents(dir.path()).is_empty());
    folder.write(std::slice::from_ref(&old)).unwrap();
    assert_eq!(folder.diff(std::slice::from_ref(&old)).unwrap(), "");
    let text = folder.diff(std::slice::from_ref(&new)).unwrap();
    assert!(text.contains("\n-a = 1\n") && text.contains("\n+a = 2\n"), "{text}");
    assert!(folder.diff(&[]).unwrap().contains("+++ /dev/null\n"));
}

/// Puts something in the place of a file that would have this content.
type Obstacle = fn(&Path, &str);

#[test]
fn foreign_or_edited_file_stays_and_nothing_changes() {
    let (spec, drop_in) = (file("ours.json", "{}"), file("ours.toml", "a = 1"));
    let obstacles: [(Obstacle, bool); 5] = [
        (|path, _| fs::write(path, "a = 1").unwrap(), false),
        (|path, _| fs::write(path, b"\xff").unwrap(), false),
        (|path, _| fs::create_dir(path).unwrap(), false),
        (|path, content| fs::write(path, format!("{content}b = 2\n")).unwrap(), true),
        (
            |path, content| {
                fs::write(path.with_extension("elsewhere"), content).unwrap();
                symlink(path.with_extension("elsewhere"), path).unwrap();
            },
            false,
        ),
    ];
    for (obstacle, edited) in obstacles {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        folder.write(std::slice::from_ref(&spec)).unwrap();
        obstacle(&dir.path().join("ours.toml"), &drop_in.content);
        let before = contents(dir.path());
        let other = file("ours.json", "{\"a\": 1}");
        for result in [
            folder.write(&[other.clone(), drop_in.clone()]).map(|_| ()),
            folder.diff(&[other.clone(), drop_in.clone()]).map(|_| ()),
            folder.remove(|_| false).map(|_| ()),
        ] {
            let error = result.unwrap_err();
            assert!(error.to_string().contains("ours.toml"), "{error}");
            assert_eq!(matches!(error, FolderError::Edited { .. }), edited, "{error}");
            assert_eq!(contents(dir.path()), before);
        }
    }
}

#[test]
fn nothing_stays_of_a_write_that_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("folder");
    fs::write(&path, "a file").unwrap();
    let error = folder(&path).write(&[file("ours.toml", "")]).unwrap_err();
    assert!(matches!(error, FolderError::Io { .. }), "{error}");
    assert_eq!(contents(dir.path()), BTreeMap::from([("folder".to_owned(), "a file".to_owned())]));
}

#[test]
fn program_is_mended_and_goes_by_a_removal_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours-program");
    let folder = folder(dir.path());
    let program = File { executable: true, ..file("ours-program", "path = 1") };
    folder.write(std::slice::from_ref(&program)).unwrap();
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o755);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(folder.write(std::slice::from_ref(&program)).unwrap(), std::slice::from_ref(&path));
    assert_eq!(mode(), 0o755);

    fs::write(&path, format!("{}edited", program.content)).unwrap();
    folder.write(std::slice::from_ref(&program)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), program.content);
    let kept = fs::read_to_string(dir.path().join("edited-ours-program")).unwrap();
    assert!(kept.ends_with("edited"));
    fs::remove_file(dir.path().join("edited-ours-program")).unwrap();

    assert_eq!(folder.write(&[]).unwrap(), [""; 0].map(std::path::PathBuf::from));
    assert_eq!(folder.diff(&[]).unwrap(), "");
    assert!(path.exists(), "a container may have to be stopped by it");
    fs::write(&path, format!("{}edited", program.content)).unwrap();
    assert_eq!(folder.paths().unwrap(), std::slice::from_ref(&path), "an edit is in nobody's way");
    assert_eq!(folder.remove(|_| false).unwrap(), std::slice::from_ref(&path));
    assert!(!path.exists() && dir.path().join("edited-ours-program").exists());
}

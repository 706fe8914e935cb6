//! The walk along a path, on real files of several users.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt, chown, lchown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use hostfs::ownership::{Kind, Untrusted, check};

const NOBODY: u32 = 65534;

/// A folder of root's below /tmp, with `dir/file` in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.at("dir")).unwrap();
        fs::write(place.at("dir/file"), "").unwrap();
        place.mode("dir", 0o755);
        place.mode("dir/file", 0o644);
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.at(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn link(&self, name: &str, target: impl AsRef<Path>, owner: u32) {
        symlink(target, self.at(name)).unwrap();
        lchown(self.at(name), Some(owner), Some(owner)).unwrap();
    }

    fn trusted(&self, name: &str) {
        check(&self.at(name), Kind::File).unwrap();
    }

    /// What is said must have these words, and name the whole path.
    fn refused(&self, name: &str, kind: Kind, words: &[&str]) {
        let text = check(&self.at(name), kind).unwrap_err().to_string();
        assert!(text.contains(self.at(name).to_str().unwrap()), "{text}");
        for word in words {
            assert!(text.contains(word), "no {word:?} in {text}");
        }
        assert!(!text.contains('\n'), "{text}");
    }
}

#[test]
#[ignore = "needs root"]
fn what_is_roots_alone_is_trusted() {
    let place = Place::new();
    for name in ["dir/file", "dir/./file", "dir/../dir/file", "../../../../../../etc/passwd"] {
        place.trusted(name);
    }
    for mode in [0o400, 0o600, 0o755, 0o4755] {
        place.mode("dir/file", mode);
        place.trusted("dir/file");
    }
    check(Path::new("/etc/passwd"), Kind::File).unwrap();
    check(Path::new("/"), Kind::File).unwrap();
}

#[test]
#[ignore = "needs root"]
fn file_that_others_can_write_to_is_not() {
    let place = Place::new();
    for mode in [0o664, 0o646, 0o777, 0o1666] {
        place.mode("dir/file", mode);
        let file = format!("the file {}", place.at("dir/file").display());
        let mode = format!("mode {mode:04o}");
        place.refused("dir/file", Kind::File, &[&file, "owner uid 0", &mode, "chmod go-w"]);
    }
}

#[test]
#[ignore = "needs root"]
fn file_of_another_user_is_not() {
    let place = Place::new();
    chown(place.at("dir/file"), Some(NOBODY), None).unwrap();
    place.refused("dir/file", Kind::File, &["the file ", "owner uid 65534", "mode 0644", "chown -h root:"]);
}

#[test]
#[ignore = "needs root"]
fn directory_of_another_user_is_not_trusted() {
    let place = Place::new();
    chown(place.at("dir"), Some(NOBODY), None).unwrap();
    let directory = format!("the directory {} (owner uid 65534, mode 0755)", place.at("dir").display());
    place.refused("dir/file", Kind::File, &[&directory]);
    // What is further up counts as well, and is named first.
    chown(place.at(""), Some(NOBODY), None).unwrap();
    let directory = format!("the directory {} (owner uid 65534", place.0.path().display());
    place.refused("dir/file", Kind::File, &[&directory]);
    chown(place.at(""), Some(0), None).unwrap();
}

#[test]
#[ignore = "needs root"]
fn directory_writable_by_others_is_not_trusted_unless_sticky() {
    let place = Place::new();
    for mode in [0o775, 0o757, 0o2775] {
        place.mode("dir", mode);
        let directory = format!("the directory {} (owner uid 0, mode {mode:04o})", place.at("dir").display());
        place.refused("dir/file", Kind::File, &[&directory, "chmod go-w"]);
    }
    place.mode("dir", 0o1777);
    place.trusted("dir/file");
    chown(place.at("dir/file"), Some(NOBODY), None).unwrap();
    place.refused("dir/file", Kind::File, &["owner uid 65534"]);
}

#[test]
#[ignore = "needs root"]
fn links_are_followed_and_each_part_of_their_way_counts() {
    let place = Place::new();
    place.mode("dir", 0o1777);
    place.link("dir/absolute", place.at("dir/file"), 0);
    place.link("dir/relative", "../dir/./file", 0);
    place.link("chain", "dir/relative", 0);
    place.link("folder", "dir", 0);
    for name in ["dir/absolute", "dir/relative", "chain", "folder/file", "folder/../chain"] {
        place.trusted(name);
    }
    place.link("dir/foreign", place.at("dir/file"), NOBODY);
    let link = format!("the symbolic link {} (owner uid 65534", place.at("dir/foreign").display());
    place.refused("dir/foreign", Kind::File, &[&link]);
    place.link("far", "folder/foreign", 0);
    place.refused("far", Kind::File, &[&link]);
    // A link's target in a folder that is not root's.
    let other = Place::new();
    chown(other.at("dir"), Some(NOBODY), None).unwrap();
    place.link("away", other.at("dir/file"), 0);
    place.refused("away", Kind::File, &[other.at("dir").to_str().unwrap(), "owner uid 65534"]);
}

#[test]
#[ignore = "needs root"]
fn dots_after_a_link_lead_out_of_its_target() {
    let (place, other) = (Place::new(), Place::new());
    place.link("over", other.at("dir"), 0);
    fs::write(other.at("beside"), "").unwrap();
    other.mode("beside", 0o666);
    place.refused("over/../beside", Kind::File, &[other.at("beside").to_str().unwrap(), "mode 0666"]);
}

#[test]
#[ignore = "needs root"]
fn links_that_lead_in_circles_end() {
    let place = Place::new();
    place.link("a", "b", 0);
    place.link("b", "a", 0);
    place.refused("a", Kind::File, &["more than 40 symbolic links"]);
}

#[test]
#[ignore = "needs root"]
fn what_is_missing_is_named_and_what_is_no_folder_too() {
    let place = Place::new();
    let missing = check(&place.at("none/file"), Kind::File).unwrap_err();
    assert!(matches!(&missing, Untrusted::Missing { path } if *path == place.at("none")), "{missing}");
    place.link("dangling", "dir/none", 0);
    let missing = check(&place.at("dangling"), Kind::File).unwrap_err();
    assert!(matches!(&missing, Untrusted::Missing { path } if *path == place.at("dir/none")), "{missing}");
    place.refused("dir/file/x", Kind::File, &["Not a directory"]);
    assert!(matches!(check(Path::new(""), Kind::File), Err(Untrusted::Unreadable { .. })));
    // A folder that is not root's hides nothing: it is the reason.
    chown(place.at("dir"), Some(NOBODY), None).unwrap();
    place.refused("dir/none", Kind::File, &["the directory", "owner uid 65534"]);
}

#[test]
#[ignore = "needs root"]
fn socket_may_be_open_to_its_group_and_not_to_all() {
    let place = Place::new();
    let _listener = UnixListener::bind(place.at("dir/socket")).unwrap();
    for mode in [0o600, 0o660, 0o755, 0o770] {
        place.mode("dir/socket", mode);
        check(&place.at("dir/socket"), Kind::Socket).unwrap();
    }
    for mode in [0o666, 0o777, 0o602] {
        place.mode("dir/socket", mode);
        place.refused("dir/socket", Kind::Socket, &["the socket ", &format!("mode {mode:04o}"), "chmod o-w"]);
    }
}

#[test]
fn relative_path_begins_where_we_are() {
    // The text begins with the path as it was given.
    let why = |path: &Path| {
        check(path, Kind::File)
            .map_err(|error| error.to_string().split_once(": ").map(|(_, why)| why.to_owned()))
    };
    let absolute = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    assert_eq!(why(Path::new("Cargo.toml")), why(&absolute));
}

//! Images made by the tests: busybox, an /etc/passwd, an /etc/group.
//!
//! The archive is an OCI image layout (image-spec, "Image Layout") with two
//! layers: busybox, the same for all, and what makes this image special. The
//! same image always has the same bytes.

use std::fs;
use std::io::Write;
use std::sync::OnceLock;

use anyhow::{Context, Result};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Machine;
use super::config::SANDBOX_IMAGE;

/// The busybox programs that tests call.
const PROGRAMS: [&str; 21] = [
    "cat", "chmod", "date", "echo", "env", "false", "grep", "head", "id", "ln", "ls", "mkdir", "mv",
    "printf", "rm", "sh", "sleep", "stat", "touch", "true", "wc",
];

/// One thing in the image that is not busybox.
enum Entry {
    File { mode: u32, owner: (u64, u64), content: Vec<u8> },
    Folder { mode: u32 },
    Link { target: String },
}

/// An image before it is written.
pub struct Draft {
    name: String,
    user: String,
    entries: Vec<(String, Entry)>,
}

/// A finished image.
pub struct Image {
    name: String,
    id: String,
    archive: Vec<u8>,
}

impl Draft {
    /// `name`: with registry and tag, such as `localhost/test/app:1`.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), user: String::new(), entries: Vec::new() }
    }

    /// The user in the image's configuration (config.User): a name, a number, or either with `:group`.
    pub fn user(mut self, user: &str) -> Self {
        user.clone_into(&mut self.user);
        self
    }

    /// /etc/passwd.
    pub fn passwd(self, content: impl Into<Vec<u8>>) -> Self {
        self.file("/etc/passwd", 0o644, content)
    }

    /// /etc/group.
    pub fn group(self, content: impl Into<Vec<u8>>) -> Self {
        self.file("/etc/group", 0o644, content)
    }

    /// A file, owned by root.
    pub fn file(self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.file_of((0, 0), path, mode, content)
    }

    /// A file, owned by this user and group.
    pub fn file_of(mut self, owner: (u64, u64), path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.entries.push((path.to_owned(), Entry::File { mode, owner, content: content.into() }));
        self
    }

    /// A folder, owned by root.
    pub fn folder(mut self, path: &str, mode: u32) -> Self {
        self.entries.push((path.to_owned(), Entry::Folder { mode }));
        self
    }

    /// A symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.entries.push((path.to_owned(), Entry::Link { target: target.to_owned() }));
        self
    }

    /// Writes the image, in memory.
    pub fn build(self, machine: &Machine) -> Result<Image> {
        let base = base_layer(machine)?;
        let mut layer = tar::Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            append(&mut layer, path, entry)?;
        }
        let layer = layer.into_inner()?;

        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": { "User": self.user, "Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "2147483647"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(base), digest(&layer)] },
        });
        let config = serde_json::to_vec(&config)?;
        let media = "application/vnd.oci.image";
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": format!("{media}.manifest.v1+json"),
            "config": descriptor(&format!("{media}.config.v1+json"), &config),
            "layers": [
                descriptor(&format!("{media}.layer.v1.tar"), base),
                descriptor(&format!("{media}.layer.v1.tar"), &layer),
            ],
        }))?;
        let mut index_entry = descriptor(&format!("{media}.manifest.v1+json"), &manifest);
        if let Some(fields) = index_entry.as_object_mut() {
            fields.insert("annotations".to_owned(), json!({ "io.containerd.image.name": self.name }));
        }
        let index = serde_json::to_vec(&json!({ "schemaVersion": 2, "manifests": [index_entry] }))?;

        let mut archive = tar::Builder::new(Vec::new());
        let mut add = |path: &str, content: &[u8]| {
            append(&mut archive, path, &Entry::File { mode: 0o644, owner: (0, 0), content: content.to_vec() })
        };
        add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        add("index.json", &index)?;
        for blob in [base, &layer, &config, &manifest] {
            add(&format!("blobs/{}", digest(blob).replace(':', "/")), blob)?;
        }
        Ok(Image { name: self.name, id: digest(&config), archive: archive.into_inner()? })
    }
}

impl Image {
    /// The image of KEP-3619's example pod: user 1000, whom the image
    /// puts into group 50000.
    pub fn example(machine: &Machine) -> Result<Self> {
        Draft::new("localhost/strict-groups/example:1")
            .passwd("root:x:0:0:root:/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n")
            .group("root:x:0:\nalice:x:1000:\ngroup-in-image:x:50000:alice\n")
            .build(machine)
    }

    /// The image of the pods' own container.
    pub fn sandbox(machine: &Machine) -> Result<Self> {
        Draft::new(SANDBOX_IMAGE).folder("/etc", 0o755).build(machine)
    }

    /// The name to run it by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The digest of its configuration, which runtimes use as its id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The bytes of the archive, a tar file.
    pub fn archive(&self) -> &[u8] {
        &self.archive
    }
}

/// Made once: it is two megabytes, and the tests have many images.
fn base_layer(machine: &Machine) -> Result<&'static [u8]> {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    if let Some(base) = BASE.get() {
        return Ok(base);
    }
    let busybox = machine.busybox();
    let content = fs::read(&busybox).with_context(|| format!("reading {}", busybox.display()))?;
    let mut layer = tar::Builder::new(Vec::new());
    for (folder, mode) in [("bin", 0o755), ("dev", 0o755), ("etc", 0o755), ("proc", 0o555), ("sys", 0o555)] {
        append(&mut layer, folder, &Entry::Folder { mode })?;
    }
    append(&mut layer, "tmp", &Entry::Folder { mode: 0o1777 })?;
    append(&mut layer, "bin/busybox", &Entry::File { mode: 0o755, owner: (0, 0), content })?;
    for program in PROGRAMS {
        append(&mut layer, &format!("bin/{program}"), &Entry::Link { target: "busybox".to_owned() })?;
    }
    let layer = layer.into_inner()?;
    Ok(BASE.get_or_init(|| layer))
}

/// Adds one entry; owner, time and order are always the same.
fn append<W: Write>(archive: &mut tar::Builder<W>, path: &str, entry: &Entry) -> Result<()> {
    let path = path.trim_start_matches('/');
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    match entry {
        Entry::File { mode, owner: (uid, gid), content } => {
            header.set_uid(*uid);
            header.set_gid(*gid);
            header.set_entry_type(tar::EntryType::Regular);
            header.set_mode(*mode);
            header.set_size(content.len().try_into()?);
            archive.append_data(&mut header, path, content.as_slice())?;
        }
        Entry::Folder { mode } => {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(*mode);
            archive.append_data(&mut header, format!("{path}/"), std::io::empty())?;
        }
        Entry::Link { target } => {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_mode(0o777);
            archive.append_link(&mut header, path, target)?;
        }
    }
    Ok(())
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn descriptor(media_type: &str, bytes: &[u8]) -> serde_json::Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

/// The machine's architecture, by the name that images use.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

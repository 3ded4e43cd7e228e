//! Images for tests, made from the busybox of the machine: no registry is needed.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shoal_model::Digest;
use tar::{Builder, EntryType, Header};

/// Static busybox, as Debian installs it.
const BUSYBOX: &str = "/bin/busybox";
/// When test images were made: the same bytes give the same id.
const CREATED: &str = "2024-01-01T00:00:00Z";
const MTIME: u64 = 1_704_067_200;

/// An image in the making.
#[derive(Debug, Clone)]
pub struct TestImage {
    /// Names of the image.
    pub names: Vec<String>,
    /// Plain tars, from the lowest up.
    pub layers: Vec<Vec<u8>>,
    /// The `config` object of the image config, in docker's spelling.
    pub config: Value,
}

impl TestImage {
    /// No layers, no names, `sh` as command.
    pub fn empty() -> Self {
        let config = json!({
            "Cmd": ["sh"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        });
        Self { names: Vec::new(), layers: Vec::new(), config }
    }

    /// Busybox with all its applets, users, groups, and the directories that programs expect.
    ///
    /// # Errors
    /// When the machine has no busybox.
    pub fn busybox() -> io::Result<Self> {
        Ok(Self { layers: vec![busybox_layer()?], ..Self::empty() })
    }

    /// The same with one more name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.names.push(name.to_owned());
        self
    }

    /// The same with one more layer on top.
    #[must_use]
    pub fn with_layer(mut self, tar: Vec<u8>) -> Self {
        self.layers.push(tar);
        self
    }

    /// Digests of the layers' tars.
    pub fn diff_ids(&self) -> Vec<Digest> {
        self.layers.iter().map(|layer| sha256(layer)).collect()
    }

    /// The image config, byte for byte.
    pub fn config_json(&self) -> Vec<u8> {
        let history: Vec<Value> = (0..self.layers.len())
            .map(|index| json!({"created": CREATED, "created_by": format!("layer {index}")}))
            .collect();
        let config = json!({
            "architecture": shoal_model::image::Platform::host().architecture,
            "os": "linux",
            "created": CREATED,
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids()},
            "history": history,
        });
        config.to_string().into_bytes()
    }

    /// Digest of the config.
    pub fn id(&self) -> Digest {
        sha256(&self.config_json())
    }

    /// Writes the archive that `docker save` of Docker 20.10 writes (`manifest.json`, one tar per layer).
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_archive(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut tar = Builder::new(out);
        let config = self.config_json();
        let config_name = format!("{}.json", sha256(&config).hex());
        append_file(&mut tar, &config_name, 0o644, &config)?;
        let mut names = Vec::new();
        for (layer, diff_id) in self.layers.iter().zip(self.diff_ids()) {
            let name = format!("{}/layer.tar", diff_id.hex());
            if !names.contains(&name) {
                append_file(&mut tar, &name, 0o644, layer)?;
            }
            names.push(name);
        }
        let manifest = json!([{"Config": config_name, "RepoTags": self.names, "Layers": names}]);
        append_file(&mut tar, "manifest.json", 0o644, manifest.to_string().as_bytes())?;
        tar.into_inner()?.flush()
    }
}

/// A layer with busybox, as a plain tar.
///
/// # Errors
/// When the machine has no busybox.
pub fn busybox_layer() -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    let directories = [
        ("bin", 0o755),
        ("dev", 0o755),
        ("etc", 0o755),
        ("home", 0o755),
        ("lib", 0o755),
        ("mnt", 0o755),
        ("opt", 0o755),
        ("proc", 0o755),
        ("root", 0o700),
        ("run", 0o755),
        ("sbin", 0o755),
        ("sys", 0o755),
        ("tmp", 0o1777),
        ("usr", 0o755),
        ("usr/bin", 0o755),
        ("usr/sbin", 0o755),
        ("var", 0o755),
        ("var/spool", 0o755),
        ("var/tmp", 0o1777),
    ];
    for (path, mode) in directories {
        append_directory(&mut tar, path, mode)?;
    }
    append_file(&mut tar, "bin/busybox", 0o755, &std::fs::read(BUSYBOX)?)?;
    for applet in applets()? {
        append_symlink(&mut tar, format!("bin/{applet}"), "busybox")?;
    }
    let users = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
                 www-data:x:33:33:www-data:/var/www:/bin/false\n\
                 nobody:x:65534:65534:nobody:/home:/bin/false\n";
    append_file(&mut tar, "etc/passwd", 0o644, users.as_bytes())?;
    let groups = "root:x:0:\ndaemon:x:1:\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n";
    append_file(&mut tar, "etc/group", 0o644, groups.as_bytes())?;
    append_file(&mut tar, "etc/shadow", 0o640, b"root:*:::::::\n")?;
    append_file(
        &mut tar,
        "etc/nsswitch.conf",
        0o644,
        b"passwd: files\ngroup: files\nhosts: files dns\n",
    )?;
    tar.into_inner()
}

fn applets() -> io::Result<Vec<String>> {
    let listed = shoal_base::command::new(BUSYBOX)
        .arg("--list")
        .stdout(std::process::Stdio::piped())
        .output()?;
    let text = String::from_utf8(listed.stdout).map_err(io::Error::other)?;
    Ok(text.lines().filter(|name| *name != "busybox").map(str::to_owned).collect())
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(MTIME);
    header.set_size(size);
    header
}

/// Adds a file to a tar being built.
///
/// # Errors
/// Those of the writer.
pub fn append_file<W: Write>(
    tar: &mut Builder<W>,
    path: impl AsRef<Path>,
    mode: u32,
    bytes: &[u8],
) -> io::Result<()> {
    let mut header = header(EntryType::Regular, mode, bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
}

/// Adds a directory to a tar being built.
///
/// # Errors
/// Those of the writer.
pub fn append_directory<W: Write>(
    tar: &mut Builder<W>,
    path: impl AsRef<Path>,
    mode: u32,
) -> io::Result<()> {
    let mut header = header(EntryType::Directory, mode, 0);
    tar.append_data(&mut header, path, io::empty())
}

/// Adds a symbolic link to a tar being built.
///
/// # Errors
/// Those of the writer.
pub fn append_symlink<W: Write>(
    tar: &mut Builder<W>,
    path: impl AsRef<Path>,
    target: impl AsRef<Path>,
) -> io::Result<()> {
    tar.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, target)
}

/// A layer with the given files.
///
/// # Errors
/// Never in practice: it is made in memory.
pub fn files_layer(files: &[(&str, &[u8])]) -> io::Result<Vec<u8>> {
    let mut tar = Builder::new(Vec::new());
    for (path, bytes) in files {
        append_file(&mut tar, path, 0o644, bytes)?;
    }
    tar.into_inner()
}

/// The digest of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_sha256(Sha256::digest(bytes).into())
}

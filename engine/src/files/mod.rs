//! The files that the engine gives each container: `/etc/hosts`, `/etc/hostname`, `/etc/resolv.conf`;
//! and the lookup of users in the container's own files.
//!
//! Contents are pure functions; [`write`] and [`host_resolver`] are the effects.

mod error;
pub mod hosts;
pub mod resolver;
pub mod users;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use error::Error;

use crate::mounts::Resolved;

/// The files of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// `/etc/hostname`: the name alone.
    pub hostname: String,
    /// `/etc/hosts`.
    pub hosts: String,
    /// `/etc/resolv.conf`.
    pub resolv_conf: String,
}

/// Names in the container's directory on the host, and paths in the container.
const NAMES: [(&str, &str); 3] =
    [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts"), ("resolv.conf", "/etc/resolv.conf")];

/// Where the file of this name (`hosts` …) lies in the container's `directory`.
pub fn path(directory: &Path, name: &str) -> PathBuf {
    directory.join(name)
}

/// Writes all three into the container's `directory`. Existing files keep their inode, because running
/// containers have them mounted.
///
/// # Errors
/// When the disk fails.
pub fn write(directory: &Path, files: &Files) -> Result<(), Error> {
    let contents =
        [format!("{}\n", files.hostname), files.hosts.clone(), files.resolv_conf.clone()];
    NAMES
        .iter()
        .zip(contents)
        .try_for_each(|((name, _), content)| write_one(&path(directory, name), content.as_bytes()))
}

/// Replaces one file's content in place: `hosts` when a network is joined or left.
///
/// # Errors
/// When the disk fails.
pub fn write_one(path: &Path, content: &[u8]) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(path)?;
        file.write_all(content)
    };
    write().map_err(|source| Error::Write { path: path.to_owned(), source })
}

/// The mounts of the files in `directory`, except where the user mounts something of his own.
/// Read-only with a read-only root, as in docker.
pub fn mounts(directory: &Path, user: &[Resolved], read_only_root: bool) -> Vec<Resolved> {
    let own = NAMES.iter().filter(|(_, target)| !user.iter().any(|mount| mount.target == *target));
    own.map(|(name, target)| Resolved {
        writable: !read_only_root,
        ..Resolved::own_file(path(directory, name), target)
    })
    .collect()
}

/// The host's resolver configuration. Where only systemd-resolved's stub is named there, that of
/// systemd-resolved, which names the real servers.
///
/// # Errors
/// When it cannot be read; a missing file is an empty configuration.
pub fn host_resolver() -> Result<resolver::Config, Error> {
    const MAIN: &str = "/etc/resolv.conf";
    const SYSTEMD: &str = "/run/systemd/resolve/resolv.conf";
    let read = |path: &str| match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(|source| Error::Read { path: path.into(), source }),
    };
    let config = resolver::Config::parse(&read(MAIN)?);
    if config.is_systemd_stub() && Path::new(SYSTEMD).exists() {
        return Ok(resolver::Config::parse(&read(SYSTEMD)?));
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn rewriting_keeps_the_inode_that_a_container_has_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let files = |hosts: &str| Files {
            hostname: "h".into(),
            hosts: hosts.into(),
            resolv_conf: "nameserver 1.1.1.1\n".into(),
        };
        write(dir.path(), &files("long content\n")).unwrap();
        let inode = || fs::metadata(dir.path().join("hosts")).unwrap().ino();
        let before = inode();
        write(dir.path(), &files("x\n")).unwrap();
        assert_eq!(inode(), before);
        assert_eq!(fs::read_to_string(dir.path().join("hosts")).unwrap(), "x\n");
        assert_eq!(fs::read_to_string(dir.path().join("hostname")).unwrap(), "h\n");
    }

    #[test]
    fn a_users_mount_replaces_the_engines() {
        let user = [Resolved::own_file("/mine".into(), "/etc/hosts")];
        let targets: Vec<String> = mounts(Path::new("/c"), &user, true)
            .into_iter()
            .map(|mount| format!("{} {}", mount.target, mount.writable))
            .collect();
        assert_eq!(targets, ["/etc/hostname false", "/etc/resolv.conf false"]);
    }
}

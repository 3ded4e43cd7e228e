//! The layer between an image and a container's writable layer: mount points of what every container gets
//! mounted, so that making them is no change of the user's.
//!
//! It hides the image's own `/etc/hosts` and the like, which are mounted over anyway: a link there would
//! lead the mount elsewhere. Directories look as the image has them.
//!
//! Source: moby `daemon/initlayer/setup_unix.go`.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink,
};
use std::path::{Path, PathBuf};

/// Directories of the root, with what is made in each. Without one: the root itself.
const CONTENT: [(&str, &[Entry]); 5] = [
    ("", &[Entry::File(".dockerenv")]),
    ("dev", &[Entry::Directory("pts"), Entry::Directory("shm"), Entry::File("console")]),
    (
        "etc",
        &[
            Entry::File("hostname"),
            Entry::File("hosts"),
            Entry::Link("mtab", "/proc/mounts"),
            Entry::File("resolv.conf"),
        ],
    ),
    ("proc", &[]),
    ("sys", &[]),
];
const MODE: u32 = 0o755;

enum Entry {
    Directory(&'static str),
    File(&'static str),
    Link(&'static str, &'static str),
}

/// Makes the layer in `directory`, for an image of layers `lowers`, the uppermost first.
pub(super) fn make(directory: &Path, lowers: &[PathBuf]) -> io::Result<()> {
    let mkdir = |path: &Path| DirBuilder::new().mode(MODE).create(path);
    mkdir(directory)?;
    for (name, entries) in &CONTENT {
        let parent = directory.join(name);
        if !name.is_empty() {
            mkdir(&parent)?;
        }
        for entry in *entries {
            match entry {
                Entry::Directory(name) => mkdir(&parent.join(name))?,
                Entry::File(name) => {
                    let mut options = OpenOptions::new();
                    options.write(true).create_new(true).mode(MODE).open(parent.join(name))?;
                }
                Entry::Link(name, target) => symlink(target, parent.join(name))?,
            }
        }
        if !name.is_empty() {
            look_like(&parent, name, lowers)?;
        }
    }
    Ok(())
}

/// Gives a directory owner, mode and time of the image's, if the image has one there.
fn look_like(path: &Path, name: &str, lowers: &[PathBuf]) -> io::Result<()> {
    for lower in lowers {
        let meta = match std::fs::symlink_metadata(lower.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        if meta.is_dir() {
            chown(path, Some(meta.uid()), Some(meta.gid()))?;
            std::fs::set_permissions(path, Permissions::from_mode(meta.mode() & 0o7777))?;
            std::fs::File::open(path)?.set_modified(meta.modified()?)?;
        }
        break; // what is below is hidden
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_look_as_in_the_uppermost_layer_that_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let layer = |name: &str, mode: u32| {
            let etc = dir.path().join(name).join("etc");
            std::fs::create_dir_all(&etc).unwrap();
            std::fs::set_permissions(&etc, Permissions::from_mode(mode)).unwrap();
            dir.path().join(name)
        };
        let (upper, lower) = (layer("upper", 0o2750), layer("lower", 0o700));
        chown(upper.join("etc"), Some(3), Some(4)).unwrap();
        std::fs::write(upper.join("sys"), "").unwrap();
        std::fs::create_dir(lower.join("sys")).unwrap();
        let made = dir.path().join("init");
        make(&made, &[upper, lower]).unwrap();
        let look = |path: &str| {
            let meta = std::fs::symlink_metadata(made.join(path)).unwrap();
            (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.is_dir())
        };
        assert_eq!(look("etc"), (0o2750, 3, 4, true));
        assert_eq!(look("sys"), (0o755, 0, 0, true));
        assert_eq!(look("dev/shm"), (0o755, 0, 0, true));
        assert_eq!(look("etc/hosts"), (0o755, 0, 0, false));
        assert_eq!(std::fs::read_link(made.join("etc/mtab")).unwrap(), Path::new("/proc/mounts"));
    }
}

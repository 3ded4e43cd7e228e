//! Checks that a container's mounts can be made now. Runs at every start.
//!
//! Source: moby `volume/mounts/mounts.go Setup`, `daemon/oci_linux.go ensureShared`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use shoal_model::container::Propagation;

use super::{Error, Resolved, Source, resolve};

/// Makes missing sources of `-v`, checks the others, and finds paths inside volumes, whose file systems are
/// mounted. The result goes into the runtime spec.
///
/// A path inside a volume is given without symbolic links. Another container can still exchange it
/// for one before the mount: whoever mounts it must open it without following links.
///
/// # Errors
/// When a source is missing, or does not propagate mounts as asked.
pub fn prepare(mounts: &[Resolved]) -> Result<Vec<Resolved>, Error> {
    mounts
        .iter()
        .cloned()
        .map(|mut mount| {
            prepare_one(&mut mount)?;
            Ok(mount)
        })
        .collect()
}

fn prepare_one(mount: &mut Resolved) -> Result<(), Error> {
    match &mut mount.source {
        Source::Bind { path, create } => {
            ensure_source(path, *create)?;
            check_propagation(path, mount.propagation)?;
        }
        // A file system of its own is mounted at the volume's data before.
        Source::Volume { name, data, subpath, .. } => {
            if !subpath.is_empty() {
                let found = crate::beneath::real_path(data, subpath);
                let real = found.map_err(|source| Error::Subpath {
                    volume: name.clone(),
                    subpath: subpath.clone(),
                    source,
                })?;
                *data = real;
                subpath.clear();
            }
        }
        Source::Tmpfs { .. } | Source::Image { .. } => {}
    }
    Ok(())
}

fn ensure_source(path: &Path, create: bool) -> Result<(), Error> {
    match fs::metadata(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {
            let failed = |source| Error::CreateSource { path: path.to_owned(), source };
            fs::create_dir_all(path).map_err(failed)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(resolve::missing(&path.display().to_string()))
        }
        Err(source) => Err(Error::Source { path: path.to_owned(), source }),
    }
}

/// What the table of mounts says about the mount that a path is on.
#[derive(Debug, PartialEq, Eq)]
struct MountedOn {
    point: String,
    shared: bool,
    slave: bool,
}

fn check_propagation(path: &Path, propagation: Option<Propagation>) -> Result<(), Error> {
    let wanted = match propagation {
        Some(Propagation::Shared | Propagation::RShared) => "shared",
        Some(Propagation::Slave | Propagation::RSlave) => "shared or slave",
        Some(Propagation::Private | Propagation::RPrivate) | None => return Ok(()),
    };
    let failed = |source| Error::Source { path: path.to_owned(), source };
    let real = fs::canonicalize(path).map_err(failed)?;
    let table = fs::read_to_string("/proc/self/mountinfo").map_err(Error::MountTable)?;
    let found = mounted_on(&table, &real);
    let fits = found
        .as_ref()
        .is_some_and(|mount| mount.shared || (mount.slave && wanted == "shared or slave"));
    if fits {
        return Ok(());
    }
    let mounted_on = found.map_or_else(|| "nothing".to_owned(), |mount| mount.point);
    Err(Error::Propagation { path: PathBuf::from(path), mounted_on, wanted })
}

/// The longest mount point above `path`; of equals the last, which covers the others.
fn mounted_on(table: &str, path: &Path) -> Option<MountedOn> {
    let mounts = table.lines().filter_map(|line| {
        let (head, _) = line.split_once(" - ")?;
        let fields: Vec<&str> = head.split(' ').collect();
        let point = unescape(fields.get(4)?);
        let optional = fields.get(6..)?;
        let has = |tag: &str| optional.iter().any(|field| field.starts_with(tag));
        path.starts_with(&point).then(|| MountedOn {
            shared: has("shared:"),
            slave: has("master:"),
            point,
        })
    });
    mounts.max_by_key(|mount| mount.point.len())
}

/// A path of the table of mounts: the kernel writes blanks as octal numbers.
pub(crate) fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_point_counts() {
        let table = "20 1 8:1 / / rw shared:1 - ext4 /dev/sda rw\n\
                     21 20 0:5 / /a\\040b rw,nosuid master:7 - tmpfs t rw\n\
                     22 20 0:6 / /a rw - tmpfs t rw\n";
        let on = |path: &str| mounted_on(table, Path::new(path)).unwrap();
        assert_eq!(on("/x"), MountedOn { point: "/".into(), shared: true, slave: false });
        assert_eq!(on("/a b/c"), MountedOn { point: "/a b".into(), shared: false, slave: true });
        assert_eq!(on("/a/c"), MountedOn { point: "/a".into(), shared: false, slave: false });
        assert_eq!(on("/abc").point, "/");
    }

    #[test]
    fn sources_of_minus_v_are_made_and_others_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let mount = |create| Resolved {
            source: Source::Bind { path: path.clone(), create },
            ..Resolved::own_file(PathBuf::new(), "/x")
        };
        assert_eq!(
            prepare(&[mount(false)]).unwrap_err().to_string(),
            format!(
                "invalid mount config for type \"bind\": bind source path does not exist: {}",
                path.display()
            )
        );
        assert_eq!(prepare(&[mount(true)]).unwrap(), [mount(true)]);
        assert!(path.is_dir());
    }

    #[test]
    fn a_path_inside_a_volume_stays_inside() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("real/deep")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("out")).unwrap();
        let mount = |subpath: &str| Resolved {
            source: Source::Volume {
                name: "vol".into(),
                driver: "local".into(),
                data: dir.path().to_owned(),
                subpath: subpath.into(),
                filesystem: None,
            },
            ..Resolved::own_file(PathBuf::new(), "/x")
        };
        let prepared = prepare(&[mount("link/deep")]).unwrap();
        let Source::Volume { data, subpath, .. } = &prepared[0].source else { panic!() };
        assert_eq!(
            (data, subpath.as_str()),
            (&fs::canonicalize(dir.path()).unwrap().join("real/deep"), "")
        );
        for outside in ["out", "missing", "../x"] {
            let error = prepare(&[mount(outside)]).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("cannot access path {outside:?} in volume `vol`")
            );
        }
    }
}

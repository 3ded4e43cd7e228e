//! Volumes with a file system of their own: mounted when the first container that uses them starts, unmounted when
//! the last one has ended. Every function blocks.
//!
//! Who holds what is told anew after a start of the daemon, from the containers that still run; what is
//! mounted, by the kernel. So nothing about it is written down, and nothing can be out of date.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shoal_model::ContainerId;

use super::store::{Holders, not_found};
use super::{Error, Local, mounted, options};
use crate::mounts::FilesystemSource;

/// A volume with a file system of its own.
struct Shared {
    data: PathBuf,
    filesystem: FilesystemSource,
    holders: Arc<Holders>,
}

impl Local {
    fn shared(&self, name: &str) -> Result<Option<Shared>, Error> {
        let entries = self.lock();
        let entry = entries.get(name).ok_or_else(|| not_found(name))?;
        let filesystem = options::parse(&entry.volume.options)?;
        Ok(filesystem.map(|filesystem| Shared {
            data: PathBuf::from(&entry.volume.mountpoint),
            filesystem,
            holders: Arc::clone(&entry.holders),
        }))
    }

    /// Notes that `container` needs the file system of a volume, and mounts it unless that is done. A volume
    /// without one of its own is fine.
    ///
    /// # Errors
    /// When there is no such volume, or its file system cannot be mounted.
    pub fn hold(&self, name: &str, container: &ContainerId) -> Result<(), Error> {
        let Some(Shared { data, filesystem, holders }) = self.shared(name)? else {
            return Ok(());
        };
        let mut holders = holders.lock();
        if !mounted::is_attached(&data)? {
            mounted::attach(&filesystem, &data)?;
        }
        holders.insert(container.clone());
        Ok(())
    }

    /// Notes that `container` does not need the file systems of its volumes any more, and unmounts those that
    /// nobody needs. Every one is attempted.
    ///
    /// # Errors
    /// The first failure to unmount.
    pub fn let_go(&self, container: &ContainerId) -> Result<(), Error> {
        let mut first = Ok(());
        for (data, holders) in self.all_holders() {
            let mut holders = holders.lock();
            if holders.remove(container) && holders.is_empty() {
                let detached = mounted::detach(&data);
                first = first.and(detached);
            }
        }
        first
    }

    /// Notes that a container which outlived the previous daemon holds a volume's file system.
    pub fn adopt(&self, name: &str, container: &ContainerId) {
        if let Ok(Some(Shared { holders, .. })) = self.shared(name) {
            holders.lock().insert(container.clone());
        }
    }

    /// Unmounts what a daemon that was killed left mounted and no container needs. Every one is attempted.
    ///
    /// # Errors
    /// The first failure.
    pub fn settle(&self) -> Result<(), Error> {
        let points = mounted::points()?;
        let is_left = |data: &Path| points.iter().any(|point| point == data);
        let mut first = Ok(());
        for (data, holders) in self.all_holders() {
            let holders = holders.lock();
            if holders.is_empty() && is_left(&data) {
                let detached = mounted::detach(&data);
                first = first.and(detached);
            }
        }
        first
    }

    fn all_holders(&self) -> Vec<(PathBuf, Arc<Holders>)> {
        let entries = self.lock();
        let held = entries.values().filter(|entry| !entry.volume.options.is_empty());
        held.map(|entry| (entry.volume.mountpoint.clone().into(), Arc::clone(&entry.holders)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use shoal_model::volume::VolumeSpec;

    use super::*;
    use crate::volumes::Removal;
    use crate::volumes::store::tests::open;

    fn spec(name: &str, options: &[(&str, &str)]) -> VolumeSpec {
        let options = options.iter().map(|(key, value)| ((*key).into(), (*value).into()));
        VolumeSpec {
            name: name.into(),
            options: options.collect::<BTreeMap<_, _>>(),
            ..VolumeSpec::default()
        }
    }

    fn container(number: u8) -> ContainerId {
        ContainerId::from_bytes([number; 32])
    }

    #[test]
    fn containers_share_one_file_system_until_the_last_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let options = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,mode=700,noexec")];
        let data = PathBuf::from(store.create(&spec("ram", &options)).unwrap().mountpoint);
        store.hold("ram", &container(1)).unwrap();
        fs::write(data.join("x"), "shared").unwrap();
        store.hold("ram", &container(2)).unwrap();
        store.hold("ram", &container(2)).unwrap();
        assert_eq!(fs::read_to_string(data.join("x")).unwrap(), "shared");
        assert_eq!(rustix::fs::statvfs(&data).unwrap().f_blocks * 4096, 1 << 20);
        store.let_go(&container(1)).unwrap();
        assert!(mounted::is_attached(&data).unwrap());
        // A daemon that was killed: the next one finds it mounted, and who needs it.
        let store = open(dir.path());
        store.adopt("ram", &container(2));
        store.settle().unwrap();
        assert!(data.join("x").exists());
        store.let_go(&container(2)).unwrap();
        assert!(!mounted::is_attached(&data).unwrap());
        store.remove("ram", Removal::Strict).unwrap();
    }

    #[test]
    fn nothing_stays_mounted_and_nobodys_data_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let precious = tempfile::tempdir().unwrap();
        fs::write(precious.path().join("x"), "precious").unwrap();
        let device = precious.path().display().to_string();
        let options = [("type", "none"), ("device", &*device), ("o", "bind,ro")];
        let store = open(dir.path());
        for name in ["one", "two"] {
            let data = PathBuf::from(store.create(&spec(name, &options)).unwrap().mountpoint);
            store.hold(name, &container(1)).unwrap();
            assert!(fs::write(data.join("y"), "").is_err(), "read-only");
        }
        // Killed: nobody needs the one, and of the other only the directory is left.
        fs::remove_file(dir.path().join("two/volume.json")).unwrap();
        let store = open(dir.path());
        store.settle().unwrap();
        let left = |point: &PathBuf| point.starts_with(dir.path());
        assert_eq!(mounted::points().unwrap().iter().filter(|point| left(point)).count(), 0);
        assert!(!dir.path().join("two").exists());
        assert_eq!(fs::read_to_string(precious.path().join("x")).unwrap(), "precious");
    }

    #[test]
    fn what_cannot_be_mounted_is_said_as_docker_says_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let options = [("type", "nosuch"), ("device", "nothing"), ("o", "size=1")];
        let data = store.create(&spec("bad", &options)).unwrap().mountpoint;
        let error = store.hold("bad", &container(1)).unwrap_err();
        let text = shoal_model::error::Chain(&error).to_string();
        let expected = format!(
            "error while mounting volume '{data}': failed to mount local volume: mount nothing:{data}, \
             data: size=1: No such device (os error 19)"
        );
        assert_eq!(text, expected);
        store.let_go(&container(1)).unwrap();
    }
}

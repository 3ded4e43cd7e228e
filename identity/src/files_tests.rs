//! Tests of what a node keeps on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_base::disk::DiskFile;
use shoal_base::random::SystemRandom;
use shoal_base::{Disk, SystemDisk};
use shoal_model::cluster::node::NodeRole;

use super::*;
use crate::root::Signer;
use crate::testing::{NOW, identity, node, root};

fn files(directory: &Path) -> NodeFiles {
    NodeFiles::open(directory, Arc::new(SystemDisk), Arc::new(SystemRandom)).unwrap()
}

fn stored() -> Stored {
    let root = root();
    let trust = root.certificate().to_owned();
    let signer = Signer::new(root, String::new()).unwrap();
    let (chain, key) = node(&signer, identity(NodeRole::Manager), NOW);
    let data_keys = vec![DataKey { id: 1, key: [7; 32] }, DataKey { id: 2, key: [8; 32] }];
    Stored { trust, chain, key, data_keys, unlock_version: 3 }
}

fn same(left: &Stored, right: &Stored) -> bool {
    left.trust == right.trust
        && left.chain == right.chain
        && left.key.to_pem() == right.key.to_pem()
        && left.data_keys == right.data_keys
        && left.unlock_version == right.unlock_version
}

#[test]
fn what_is_saved_is_loaded_with_and_without_a_lock() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(&dir.path().join("certificates"));
    assert!(files.load(None).unwrap().is_none());
    let (stored, unlock) = (stored(), UnlockKey::generate(&SystemRandom));
    files.save(&stored, None).unwrap();
    assert!(same(&files.load(None).unwrap().unwrap(), &stored));
    assert!(same(&files.load(Some(&unlock)).unwrap().unwrap(), &stored));

    files.save(&stored, Some(&unlock)).unwrap();
    assert!(matches!(files.load(None), Err(Error::Locked)));
    let wrong = UnlockKey::generate(&SystemRandom);
    let error = files.load(Some(&wrong)).unwrap_err();
    assert_eq!(error.to_string(), "swarm could not be unlocked: invalid key provided");
    assert!(same(&files.load(Some(&unlock)).unwrap().unwrap(), &stored));
    let public = files.public().unwrap().unwrap();
    assert_eq!((public.locked, &public.chain), (true, &stored.chain));
    files.erase().unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("certificates")).unwrap().count(), 0);
}

#[test]
fn under_a_lock_no_secret_is_in_any_file() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let stored = stored();
    files.save(&stored, Some(&UnlockKey::generate(&SystemRandom))).unwrap();
    let secrets = [STANDARD.encode(stored.key.to_pem()), STANDARD.encode([7; 32])];
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("PRIVATE KEY"));
        assert!(secrets.iter().all(|secret| !text.contains(secret)));
    }
}

#[test]
fn a_join_that_is_repeated_has_the_same_request_until_it_succeeds_or_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let (key, request) = files.joining().unwrap();
    let (again, same_request) = files.joining().unwrap();
    assert_eq!((key.to_pem(), &request), (again.to_pem(), &same_request));
    files.forget_joining().unwrap();
    let (_, other) = files.joining().unwrap();
    assert_ne!(other, request);
    files.save(&stored(), None).unwrap();
    assert_ne!(files.joining().unwrap().1, other);
}

#[test]
fn half_written_files_go_and_copies_are_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let stored = stored();
    files(dir.path()).save(&stored, None).unwrap();
    std::fs::write(dir.path().join("identity.json.1-1.tmp"), "half").unwrap();
    std::fs::write(dir.path().join(NODE_COPY), "old").unwrap();
    std::fs::remove_file(dir.path().join(ROOT_COPY)).unwrap();
    files(dir.path()).load(None).unwrap().unwrap();
    let read = |name| std::fs::read_to_string(dir.path().join(name)).unwrap();
    assert_eq!([read(NODE_COPY), read(ROOT_COPY)], [stored.chain, stored.trust]);
    assert!(!dir.path().join("identity.json.1-1.tmp").exists());
}

/// Lets so many writes and removals through, then fails like a program that was killed: nothing happens any more.
#[derive(Debug)]
struct Dying(AtomicUsize);

impl Dying {
    fn alive(&self) -> io::Result<()> {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            .map(drop)
            .map_err(|_| io::Error::other("killed"))
    }
}

impl Disk for Dying {
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.alive()?;
        SystemDisk.write_atomic(path, bytes)
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        SystemDisk.read(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        SystemDisk.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        SystemDisk.sync_directory(directory)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        SystemDisk.create_directory(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        SystemDisk.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?;
        SystemDisk.rename(from, to)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.alive()?;
        SystemDisk.create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        SystemDisk.open(path)
    }
}

#[test]
fn killed_at_any_step_of_a_renewal_the_node_has_the_old_or_the_new_identity() {
    let (old, new) = (stored(), stored());
    let mut outcomes = Vec::new();
    for steps in 0..=4 {
        let dir = tempfile::tempdir().unwrap();
        files(dir.path()).save(&old, None).unwrap();
        let disk = Arc::new(Dying(AtomicUsize::new(steps)));
        let dying = NodeFiles::open(dir.path(), disk, Arc::new(SystemRandom)).unwrap();
        let unlock = UnlockKey::generate(&SystemRandom);
        let finished = dying.save(&new, Some(&unlock)).is_ok();
        let found = files(dir.path()).load(Some(&unlock)).unwrap().unwrap();
        outcomes.push((finished, same(&found, &old), same(&found, &new)));
    }
    assert_eq!(
        outcomes,
        [
            (false, true, false),
            (false, false, true),
            (false, false, true),
            (false, false, true),
            (true, false, true),
        ]
    );
}

#[test]
fn damaged_newer_and_mixed_files_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let files = files(dir.path());
    let path = dir.path().join(IDENTITY);
    std::fs::write(&path, "{").unwrap();
    assert!(matches!(files.load(None), Err(Error::Damaged { .. })));
    std::fs::write(&path, r#"{"format":2,"new":1}"#).unwrap();
    assert!(matches!(files.load(None), Err(Error::Newer { found: 2, .. })));
    let mixed = Stored { key: NodeKey::generate().unwrap(), ..stored() };
    files.save(&mixed, None).unwrap();
    assert!(matches!(files.load(None), Err(Error::KeyOfAnother)));
}

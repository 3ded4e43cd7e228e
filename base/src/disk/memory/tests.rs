use super::*;

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn disk() -> MemoryDisk {
    let disk = MemoryDisk::new();
    disk.create_directory(Path::new("/d")).unwrap();
    disk
}

fn read(disk: &MemoryDisk, name: &str) -> Option<Vec<u8>> {
    disk.read(&path(name)).unwrap()
}

/// A synced file `a` of `old`.
fn with_old(disk: &MemoryDisk) -> Box<dyn DiskFile> {
    let mut file = disk.create(&path("a")).unwrap();
    file.write_at(b"old", 0).unwrap();
    file.sync().unwrap();
    disk.sync_directory(Path::new("/d")).unwrap();
    file
}

#[test]
fn what_was_synced_survives_and_the_rest_by_sectors() {
    let mut seen = BTreeSet::new();
    for seed in 0..64 {
        let disk = disk();
        let mut file = with_old(&disk);
        file.write_at(&[b'x'; 2 * SECTOR], SECTOR as u64).unwrap();
        disk.cut_power(seed);
        let found = read(&disk, "a").unwrap();
        assert!(found.starts_with(b"old"));
        let sector = |number: usize| found.get(number * SECTOR) == Some(&b'x');
        assert!(found.len() == 3 || found.len() == 2 * SECTOR || found.len() == 3 * SECTOR);
        seen.insert((sector(1), sector(2)));
        assert!(file.sync().is_err(), "it was open when the power went");
    }
    assert_eq!(seen.len(), 4, "each combination comes up");
}

#[test]
fn a_name_survives_the_sync_of_its_directory() {
    let mut seen = BTreeSet::new();
    for seed in 0..16 {
        let disk = disk();
        with_old(&disk);
        disk.rename(&path("a"), &path("b")).unwrap();
        disk.cut_power(seed);
        seen.insert(disk.list(Path::new("/d")).unwrap());
    }
    assert!(seen.contains(&vec!["a".to_owned()]) && seen.contains(&vec!["b".to_owned()]));
}

#[test]
fn an_atomic_write_is_old_or_new_at_every_step() {
    for (step, seed) in (0..8).flat_map(|step| (0..8).map(move |seed| (step, seed))) {
        let disk = disk();
        disk.write_atomic(&path("a"), b"old").unwrap();
        disk.die_at(disk.steps() + step);
        let written = disk.write_atomic(&path("a"), b"new");
        disk.cut_power(seed);
        let found = read(&disk, "a").unwrap();
        assert!(found == b"new" || (written.is_err() && found == b"old"), "{step} {seed}");
    }
}

#[test]
fn a_full_disk_takes_what_fits_and_overwrites() {
    let disk = disk();
    let mut file = with_old(&disk);
    disk.set_capacity(Some(5));
    file.write_at(b"new", 0).unwrap();
    let full = file.write_at(b"more", 3).unwrap_err();
    assert!(crate::disk::is_full(&full));
    assert_eq!((read(&disk, "a").unwrap(), disk.used()), (b"newmo".to_vec(), 5));
    assert!(crate::disk::is_full(&disk.write_atomic(&path("b"), b"b").unwrap_err()));
    assert_eq!(disk.list(Path::new("/d")).unwrap(), ["a"]);
    disk.set_capacity(None);
    file.write_at(b"more", 3).unwrap();
    assert_eq!(read(&disk, "a").unwrap(), b"newmore");
}

#[test]
fn a_copy_is_another_disk() {
    let disk = disk();
    let mut file = with_old(&disk);
    let copy = disk.copied();
    file.write_at(b"new", 0).unwrap();
    assert_eq!(read(&copy, "a").unwrap(), b"old");
}

#[test]
fn a_file_without_a_name_is_given_back_once_it_is_closed() {
    let disk = disk();
    for round in 0..10 {
        disk.write_atomic(&path("a"), &[round; 100]).unwrap();
    }
    assert_eq!(disk.state().files.len(), 1);
    let open = disk.open(&path("a")).unwrap();
    disk.remove(&path("a")).unwrap();
    let mut byte = [0];
    assert_eq!((open.read_at(&mut byte, 0).unwrap(), byte), (1, [9]), "it is still open");
    drop(open);
    disk.sync_directory(Path::new("/d")).unwrap();
    assert!(disk.state().files.is_empty());
}

#[test]
fn a_file_that_a_power_failure_may_bring_back_is_kept() {
    for seed in 0..8 {
        let disk = disk();
        drop(with_old(&disk));
        disk.rename(&path("a"), &path("b")).unwrap();
        let other = Path::new("/other");
        disk.create_directory(other).unwrap();
        // A sync of another directory keeps this one's changes open.
        disk.sync_directory(other).unwrap();
        disk.cut_power(seed);
        let found = read(&disk, "a").or_else(|| read(&disk, "b"));
        assert_eq!(found.as_deref(), Some(b"old".as_slice()), "{seed}");
    }
}

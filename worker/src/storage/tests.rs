use shoal_model::cluster::TaskState;
use shoal_model::error::Failure;

use super::*;
use crate::testing::{Xor, assigned, task_id};

fn sealed() -> SecretCache {
    SecretCache::Disk(Arc::new(Xor(0x5a)))
}

fn open(path: &Path, secrets: SecretCache) -> Result<Storage, Error> {
    Storage::open(path, secrets, Arc::new(shoal_base::SystemDisk))
}

fn key(kind: Kind) -> Key {
    Key::new(kind, [3; 16])
}

async fn fill(storage: &Storage) -> Record {
    let mut memory = Memory::default();
    memory.status.state = TaskState::Running;
    let record = Record { assigned: assigned(1), memory };
    let mut batch = storage.batch();
    storage.put_task(&mut batch, task_id(1), &record);
    storage.put_reference(&mut batch, key(Kind::Secret), b"hush hush hush");
    storage.put_reference(&mut batch, key(Kind::Config), b"plain plain");
    storage.commit(batch).await.unwrap();
    record
}

fn holds(dir: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => holds(&path, needle),
            false => {
                let bytes = std::fs::read(&path).unwrap();
                bytes.windows(needle.len()).any(|window| window == needle)
            }
        }
    })
}

#[tokio::test]
async fn what_was_written_is_read_and_all_of_it_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker");
    let storage = open(&path, sealed()).unwrap();
    let record = fill(&storage).await;
    drop(storage);
    assert!(!holds(&path, b"hush"));
    assert!(!holds(&path, b"plain"));
    let storage = open(&path, sealed()).unwrap();
    let loaded = storage.load();
    assert_eq!(loaded.tasks, [(task_id(1), record)]);
    assert_eq!(
        loaded.references,
        [
            (key(Kind::Secret), b"hush hush hush".to_vec()),
            (key(Kind::Config), b"plain plain".to_vec())
        ]
    );
    storage.erase().await.unwrap();
    let loaded = storage.load();
    assert!(loaded.tasks.is_empty() && loaded.references.is_empty());
}

#[tokio::test]
async fn in_memory_secrets_do_not_touch_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker");
    let storage = open(&path, SecretCache::Memory).unwrap();
    fill(&storage).await;
    assert_eq!(storage.load().references, [(key(Kind::Config), b"plain plain".to_vec())]);
    drop(storage);
    assert!(!holds(&path, b"hush"));
    assert!(holds(&path, b"plain"), "the search finds what is not sealed");
}

#[tokio::test]
async fn a_damaged_record_and_another_key_cost_only_themselves() {
    let dir = tempfile::tempdir().unwrap();
    let storage = open(&dir.path().join("worker"), sealed()).unwrap();
    fill(&storage).await;
    let junk = Change {
        table: Table::Tasks,
        key: task_id(2).to_bytes().to_vec(),
        value: Some(b"\xc1junk".to_vec()),
    };
    storage.database.write(vec![junk]).await.unwrap();
    let loaded = storage.load();
    assert_eq!(loaded.tasks.len(), 1);
    let other = Storage { secrets: SecretCache::Disk(Arc::new(Xor(0x11))), ..storage };
    let loaded = other.load();
    assert!(loaded.tasks.is_empty() && loaded.references.is_empty());
}

#[tokio::test]
async fn a_damaged_database_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("worker");
    let storage = open(&path, sealed()).unwrap();
    fill(&storage).await;
    drop(storage);
    for entry in std::fs::read_dir(&path).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_file() {
            std::fs::write(entry, b"not a database").unwrap();
        }
    }
    let storage = open(&path, sealed()).unwrap();
    assert!(storage.load().tasks.is_empty());
    assert!(dir.path().join("worker.damaged-0").exists());
    fill(&storage).await;
}

#[test]
fn the_sealer_of_the_tests_refuses_foreign_keys() {
    let sealed = Xor(1).seal(b"a");
    let opened: Result<_, Failure> = Xor(2).open(&sealed);
    assert!(opened.is_err());
}

#[tokio::test]
async fn on_the_only_thread_the_records_are_in_one_file() {
    let _single = shoal_base::single::enter(1);
    let (disk, path) = (Arc::new(shoal_base::disk::MemoryDisk::new()), Path::new("/w/worker"));
    let storage = Storage::open(path, sealed(), disk.clone()).unwrap();
    let record = fill(&storage).await;
    disk.cut_power(1);
    let storage = Storage::open(path, sealed(), disk.clone()).unwrap();
    let loaded = storage.load();
    assert_eq!(loaded.tasks, [(task_id(1), record)]);
    assert_eq!(loaded.references.len(), 2);
    storage.erase().await.unwrap();
    assert!(Storage::open(path, sealed(), disk).unwrap().load().tasks.is_empty());
}

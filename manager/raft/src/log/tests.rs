//! The log against openraft's suite, truncated and flipped files, and a killed writer.

mod damage;
mod killed;
mod power;
mod rot;
mod suite;

use std::path::Path;
use std::sync::Arc;

use openraft::storage::RaftLogStorageExt as _;
use shoal_base::SystemDisk;
use shoal_base::random::SystemRandom;

use super::Error;
use super::store::LogStore;
use crate::types::{Command, Entry, LeaderId, LogId, Payload};
use crate::{Key, KeyId, Keyring};

pub(crate) fn keyring() -> Arc<Keyring> {
    Arc::new(Keyring::new(KeyId(1), &Key::from_bytes([1; 32]), Arc::new(SystemRandom)))
}

fn open(directory: &Path) -> Result<LogStore, Error> {
    LogStore::open(directory, keyring(), Arc::new(SystemDisk))
}

fn id(index: u64) -> LogId {
    LogId::new(LeaderId { term: 1, node_id: 1 }, index)
}

fn entry(index: u64) -> Entry {
    let command = format!("entry {index}").into_bytes();
    Entry { log_id: id(index), payload: Payload::Normal(Command(command.into())) }
}

async fn append(log: &mut LogStore, indexes: std::ops::Range<u64>) {
    log.blocking_append(indexes.map(entry)).await.unwrap();
}

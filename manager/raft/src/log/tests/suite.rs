//! openraft's own storage tests.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use shoal_base::{SharedDisk, SystemClock, SystemDisk};
use tempfile::TempDir;
use tokio::sync::watch;

use super::keyring;
use crate::log::health::Health;
use crate::log::store::LogStore;
use crate::snapshot::machine::Machine;
use crate::snapshot::store::SnapshotStore;
use crate::snapshot::tests::List;
use crate::types::Types;

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let disk: SharedDisk = Arc::new(SystemDisk);
        let log = LogStore::open(&dir.path().join("log"), keyring(), disk.clone()).unwrap();
        let snapshots =
            SnapshotStore::open(&dir.path().join("snapshots"), keyring(), disk.clone(), None)
                .unwrap();
        let machine = Machine::new(
            Box::<List>::default(),
            snapshots,
            watch::channel(None).0,
            Arc::new(SystemClock),
            Health::new(),
        );
        Ok((dir, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openrafts_suite_passes() {
    Suite::test_all(Builder).await.unwrap();
}

//! The store over a raft member with a disk: what was written is there after a restart, from the log and from a
//! snapshot.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use shoal_base::random::SystemRandom;
use shoal_base::tasks::Tasks;
use shoal_base::{Clock as _, SystemClock, SystemDisk};
use shoal_manager::consensus::raft::RaftConsensus;
use shoal_manager::consensus::{Consensus, Overview};
use shoal_manager::control::{Control, Managers};
use shoal_manager::store::forward::Nowhere;
use shoal_manager::store::machine::{Machine, Objects};
use shoal_manager::store::{self, Store};
use shoal_manager_raft::{Begin, Key, KeyId, Keyring, Member, Raft, RaftId, Start, TcpConnector};
use shoal_model::cluster::filters::ObjectFilters;
use shoal_model::cluster::manager::RaftConfig;
use shoal_model::cluster::{Annotations, ConfigSpec, NodeId};

const NODE: NodeId = NodeId::from_bytes([1; 16]);

struct Manager {
    control: Control,
    consensus: RaftConsensus,
    tasks: Tasks,
}

/// A cluster of one: this member knows all there is.
#[derive(Debug)]
struct Own(RaftConsensus);

impl Managers for Own {
    fn overview(&self) -> BoxFuture<'static, Result<Overview, store::Error>> {
        let seen = Overview::of_leader(&self.0.raft().status());
        Box::pin(async move { seen.ok_or(store::Error::NoLeader) })
    }
}

async fn start(directory: &Path) -> Manager {
    let objects = Objects::new();
    let key = Key::from_bytes([7; 32]);
    let raft = Raft::start(Start {
        member: Member { id: RaftId(1), node: NODE, address: "127.0.0.1:1".to_owned() },
        config: RaftConfig::default(),
        directory: directory.to_owned(),
        sealer: Arc::new(Keyring::new(KeyId(1), &key, Arc::new(SystemRandom))),
        connector: Arc::new(TcpConnector),
        machine: Box::new(Machine::new(objects.clone())),
        disk: Arc::new(SystemDisk),
        clock: Arc::new(SystemClock),
        begin: Begin::AsStored,
    })
    .await
    .unwrap();
    let tasks = Tasks::new();
    let consensus = RaftConsensus::new(raft, &tasks);
    let store =
        Store::new(objects, Arc::new(consensus.clone()), Arc::new(Nowhere), Arc::new(SystemClock));
    let own = Arc::new(Own(consensus.clone()));
    let control = Control::new(store, own, Arc::new(SystemRandom));
    Manager { control, consensus, tasks }
}

impl Manager {
    async fn create(&self, name: &str) {
        let annotations = Annotations { name: name.to_owned(), ..Annotations::default() };
        let spec = ConfigSpec { annotations, data: b"x".to_vec(), ..ConfigSpec::default() };
        self.control.create_config(spec).await.unwrap();
    }

    async fn names(&self) -> Vec<String> {
        let configs = self.control.configs(ObjectFilters::default()).await.unwrap();
        let mut names: Vec<_> =
            configs.iter().map(|config| config.spec.annotations.name.clone()).collect();
        names.sort();
        names
    }

    async fn stop(self) {
        self.consensus.raft().shutdown().await;
        self.tasks.shut_down().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_there_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let manager = start(directory.path()).await;
    manager.consensus.raft().bootstrap().await.unwrap();
    manager.create("a").await;
    assert!(manager.consensus.leadership().borrow().is_self);
    manager.stop().await;

    let manager = start(directory.path()).await;
    assert_eq!(manager.names().await, ["a"]);
    manager.create("b").await;
    manager.consensus.raft().take_snapshot().await.unwrap();
    let snapshot = async {
        while manager.consensus.raft().status().snapshot.is_none() {
            SystemClock.sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), snapshot).await.unwrap();
    manager.create("c").await;
    manager.stop().await;

    let manager = start(directory.path()).await;
    assert_eq!(manager.names().await, ["a", "b", "c"]);
    manager.stop().await;
}

//! The authority's port over the store.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use shoal_base::SharedClock;
use shoal_manager_core::store::{self, Diff, Event, ObjectRef, Transaction};
use shoal_model::cluster::{Cluster, Node, NodeId};
use shoal_model::error::Failure;
use tokio::sync::watch;

use super::{CaStore, Change};
use crate::store::Store;

/// The authority's view of the store.
#[derive(Debug)]
pub struct StoredCa {
    store: Store,
    clock: SharedClock,
    changed: watch::Sender<u64>,
}

impl StoredCa {
    /// Over `store`; somebody must run [`StoredCa::run`], or nobody learns of changes.
    pub fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock, changed: watch::Sender::new(0) }
    }

    /// Wakes followers for changes of the cluster and of what nodes are and authenticate with, and for no others: tasks
    /// change thousands of times a second. Runs on every manager until it is dropped.
    ///
    /// # Cancel safety
    /// Dropping the future loses wakes; followers look at everything when they begin.
    pub async fn run(self: Arc<Self>) {
        loop {
            let (view, mut changes) = self.store.watch();
            self.changed.send_replace(view.index());
            // Lagging means that anything may have changed: wake, and go on from a new view.
            while let Ok(batches) = changes.next().await {
                let news = batches.iter().rev().find(|batch| batch.events.iter().any(concerns));
                if let Some(batch) = news {
                    self.changed.send_replace(batch.version.0);
                }
            }
        }
    }

    fn transaction(&self, changes: Vec<Change>) -> Transaction {
        let mut transaction = Transaction { at: self.clock.now(), ..Transaction::default() };
        for change in changes {
            let (object, version, change) = match change {
                Change::Cluster(cluster) => {
                    let version = cluster.meta.version;
                    (ObjectRef::Cluster, version, store::Change::PutCluster(cluster))
                }
                Change::Node(node) => {
                    let version = node.meta.version;
                    (ObjectRef::Node(node.id), version, store::Change::PutNode(node))
                }
            };
            transaction.expect.push((object, version));
            transaction.changes.push(change);
        }
        transaction
    }
}

/// Whether a change can concern the authority.
fn concerns(event: &Event) -> bool {
    match event {
        Event::Cluster(_) => true,
        Event::Node(Diff { old: Some(old), new: Some(new) }) => {
            old.certificate != new.certificate
                || old.role != new.role
                || old.spec.role != new.spec.role
                || old.description != new.description
        }
        Event::Node(_) => true,
        Event::Service(_)
        | Event::Task(_)
        | Event::Network(_)
        | Event::Secret(_)
        | Event::Config(_) => false,
    }
}

impl CaStore for StoredCa {
    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.store.view().cluster().cloned()
    }

    fn node(&self, id: NodeId) -> Option<Arc<Node>> {
        self.store.view().node(id).cloned()
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        self.store.view().nodes().cloned().collect()
    }

    fn nodes_that_ask(&self) -> Vec<Arc<Node>> {
        self.store.view().nodes_that_ask().cloned().collect()
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn refresh(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { Ok(self.store.read().await.map(drop)?) })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async {
            let transaction = self.transaction(changes);
            Ok(self.store.commit(&transaction).await.map(drop)?)
        })
    }
}

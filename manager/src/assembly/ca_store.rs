//! The store as the authority sees it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_manager_core::store::watch::Event;
use shoal_manager_core::store::{self as core, ObjectRef, Transaction};
use shoal_model::cluster::{Cluster, Node, NodeId};
use shoal_model::error::Failure;
use tokio::sync::watch;

use crate::ca::{CaStore, Change};
use crate::store::Store;

#[derive(Debug)]
pub(super) struct StoreOfCa {
    store: Store,
    changes: watch::Receiver<u64>,
}

impl StoreOfCa {
    pub(super) fn new(store: Store, tasks: &Tasks) -> Self {
        let (sender, changes) = watch::channel(0);
        let source = store.clone();
        tasks.spawn(TaskKind::Certificates, async move {
            loop {
                let (_, mut subscription) = source.watch();
                // Also after lagging, in which changes may have been missed.
                sender.send_modify(|count| *count += 1);
                while let Ok(batches) = subscription.next().await {
                    let events = batches.iter().flat_map(|batch| &batch.events);
                    let concerns =
                        |event: &Event| matches!(event, Event::Cluster(_) | Event::Node(_));
                    if events.into_iter().any(concerns) {
                        sender.send_modify(|count| *count += 1);
                    }
                }
            }
        });
        Self { store, changes }
    }
}

impl CaStore for StoreOfCa {
    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.store.view().cluster().cloned()
    }

    fn node(&self, id: NodeId) -> Option<Arc<Node>> {
        self.store.view().node(id).cloned()
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        self.store.view().nodes().cloned().collect()
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.changes.clone()
    }

    fn refresh(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { Ok(self.store.read().await.map(|_| ())?) })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move {
            let expect = changes.iter().map(|change| match change {
                Change::Cluster(cluster) => (ObjectRef::Cluster, cluster.meta.version),
                Change::Node(node) => (ObjectRef::Node(node.id), node.meta.version),
            });
            let transaction = Transaction {
                at: self.store.now(),
                expect: expect.collect(),
                changes: changes
                    .iter()
                    .map(|change| match change {
                        Change::Cluster(cluster) => core::Change::PutCluster(cluster.clone()),
                        Change::Node(node) => core::Change::PutNode(node.clone()),
                    })
                    .collect(),
            };
            self.store.commit(&transaction).await?;
            Ok(())
        })
    }
}

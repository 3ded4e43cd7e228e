//! The store as the certificate authority sees it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use shoal_manager_core::store::{self as core, Object, ObjectRef, Transaction};
use shoal_model::cluster::{Cluster, Node, NodeId, Version};
use shoal_model::error::Failure;
use tokio::sync::watch;

use super::Store;
use crate::ca::{CaStore, Change};

impl CaStore for Store {
    fn cluster(&self) -> Option<Arc<Cluster>> {
        self.view().cluster().cloned()
    }

    fn node(&self, id: NodeId) -> Option<Arc<Node>> {
        self.view().node(id).cloned()
    }

    fn nodes(&self) -> Vec<Arc<Node>> {
        self.view().nodes().cloned().collect()
    }

    fn follow(&self) -> watch::Receiver<u64> {
        self.inner.objects.ring().newest()
    }

    fn refresh(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async move { Ok(self.read().await.map(drop)?) })
    }

    fn commit(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), Failure>> {
        let transaction = Transaction {
            at: self.inner.clock.now(),
            expect: changes.iter().map(expected).collect(),
            changes: changes.into_iter().map(put).collect(),
        };
        Box::pin(async move { Ok(Self::commit(self, &transaction).await.map(drop)?) })
    }
}

fn expected(change: &Change) -> (ObjectRef, Version) {
    match change {
        Change::Cluster(cluster) => (cluster.object_ref(), cluster.meta.version),
        Change::Node(node) => (node.object_ref(), node.meta.version),
    }
}

fn put(change: Change) -> core::Change {
    match change {
        Change::Cluster(cluster) => core::Change::PutCluster(cluster),
        Change::Node(node) => core::Change::PutNode(node),
    }
}

//! What the cluster says of its own work: why services are not as wished, how far a drain has come.

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use shoal_manager_core::control::{self as core, find};
use shoal_manager_core::store::watch::Event;
use shoal_manager_core::{drain, explain};
use shoal_model::ObjectKind;
use shoal_model::cluster::NodeId;
use shoal_model::cluster::report::{DrainReport, ServiceReport};

use super::{Control, Error, Result};
use crate::store::Store;
use crate::watch::Subscription;

/// Errors are docker's refusals and those of the store.
#[allow(clippy::missing_errors_doc, reason = "as said")]
impl Control {
    /// Why the tasks of a service are not where they should be.
    pub async fn explain(&self, reference: &str) -> Result<ServiceReport> {
        let view = self.store.read().await?;
        let id = find::service(&view, reference)?.id;
        let report = explain::explain(&view, id, self.store.now());
        report.ok_or_else(|| missing(ObjectKind::Service, reference))
    }

    /// How far the drain of a node has come: once, or again with each change until the node is empty, gone, or not to be
    /// drained any more.
    pub async fn drain(
        &self,
        reference: &str,
        follow: bool,
    ) -> Result<BoxStream<'static, DrainReport>> {
        let id = find::node(&self.store.read().await?, reference)?.id;
        let (view, changes) = self.store.watch();
        let report =
            drain::report(&view, id).ok_or_else(|| missing(ObjectKind::Node, reference))?;
        let first = stream::iter([report.clone()]);
        if !follow {
            return Ok(first.boxed());
        }
        let watcher = Watcher { store: self.store.clone(), changes, node: id, last: report };
        Ok(first.chain(stream::unfold(watcher, Watcher::next)).boxed())
    }
}

fn missing(object: ObjectKind, name: &str) -> Error {
    Error::Refused(core::Error::NotFound { object, name: name.to_owned() })
}

/// Follows the drain of a node.
struct Watcher {
    store: Store,
    changes: Subscription,
    node: NodeId,
    last: DrainReport,
}

impl Watcher {
    async fn next(mut self) -> Option<(DrainReport, Self)> {
        while !self.last.is_done() && self.last.draining {
            let view = match self.changes.next().await {
                Ok(batches) => {
                    let mut events = batches.iter().flat_map(|batch| &batch.events);
                    if !events.any(|event| concerns(event, self.node)) {
                        continue;
                    }
                    self.store.view()
                }
                Err(_lagged) => {
                    let (view, changes) = self.store.watch();
                    self.changes = changes;
                    view
                }
            };
            let report = drain::report(&view, self.node)?;
            if report != self.last {
                self.last = report.clone();
                return Some((report, self));
            }
        }
        None
    }
}

fn concerns(event: &Event, node: NodeId) -> bool {
    match event {
        Event::Task(diff) => diff.latest().is_some_and(|task| task.node == Some(node)),
        Event::Node(diff) => diff.latest().is_some_and(|one| one.id == node),
        Event::Service(_)
        | Event::Cluster(_)
        | Event::Network(_)
        | Event::Secret(_)
        | Event::Config(_) => false,
    }
}

//! The feature level of the cluster: what every manager understands. Raised by the leader, never lowered.

use std::sync::Arc;
use std::time::Duration;

use shoal_base::SharedClock;
use shoal_manager_core::store::State;
use shoal_manager_core::store::watch::Event;
use shoal_model::cluster::node::NodeRole;
use shoal_model::cluster::{Cluster, Node};
use shoal_model::error::Chain;

use crate::store::{self, Store};

/// Feature level of this release.
pub const LEVEL: u32 = 1;

/// After a commit that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// What a manager must know to take part.
pub(crate) fn needed(state: &State) -> u32 {
    state.cluster().map_or(0, |cluster| cluster.feature_level)
}

/// The level to which the cluster can go up now; `None`: it stays.
pub fn allowed<'a>(cluster: &Cluster, nodes: impl Iterator<Item = &'a Arc<Node>>) -> Option<u32> {
    let managers =
        nodes.filter(|node| node.spec.role == NodeRole::Manager || node.role == NodeRole::Manager);
    // One that has not described itself yet may be of any release.
    let levels = managers.map(|node| node.description.as_ref().map(|about| about.feature_level));
    let lowest = levels.min().flatten()?;
    (lowest > cluster.feature_level).then_some(lowest)
}

/// Runs while this manager leads, until it is dropped.
///
/// # Cancel safety
/// Dropping the future loses nothing: the next leader looks again.
pub async fn run(store: &Store, clock: &SharedClock) {
    loop {
        let (state, mut changes) = store.watch();
        let raise =
            |state: &State| state.cluster().and_then(|cluster| allowed(cluster, state.managers()));
        if raise(&state).is_some() {
            let raised = store.update(|txn| {
                let Some(level) = raise(txn) else { return Ok(0) };
                let Some(cluster) = txn.cluster().cloned() else { return Ok(0) };
                let cluster = Cluster { feature_level: level, ..(*cluster).clone() };
                txn.put_cluster(cluster).map_err(store::Error::Rejected)?;
                Ok::<_, store::Error>(level)
            });
            match raised.await {
                Ok(raised) => tracing::info!(level = raised.value, "the feature level goes up"),
                Err(error) => {
                    tracing::info!(error = %Chain(&error), "the feature level stays for now");
                    clock.sleep(AGAIN).await;
                    continue;
                }
            }
        }
        loop {
            let Ok(batches) = changes.next().await else { break };
            let mut events = batches.iter().flat_map(|batch| &batch.events);
            if events.any(concerns) {
                break;
            }
        }
    }
}

/// Whether a change can raise what is allowed.
fn concerns(event: &Event) -> bool {
    let Event::Node(diff) = event else { return false };
    let says = |node: &Option<Arc<Node>>| {
        node.as_ref().map(|node| {
            let level = node.description.as_ref().map(|about| about.feature_level);
            (node.spec.role, node.role, level)
        })
    };
    says(&diff.old) != says(&diff.new)
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::node::NodeDescription;

    use super::*;
    use crate::ca::testing::{cluster, node};

    fn of(number: u8, role: NodeRole, level: Option<u32>) -> Arc<Node> {
        let mut node = node(number, role);
        node.spec.role = role;
        node.description =
            level.map(|feature_level| NodeDescription { feature_level, ..Default::default() });
        Arc::new(node)
    }

    #[test]
    fn the_lowest_manager_decides_and_workers_do_not() {
        use NodeRole::{Manager, Worker};
        let level = |nodes: &[Arc<Node>]| allowed(&cluster(), nodes.iter());
        assert_eq!(level(&[of(1, Manager, Some(2)), of(2, Manager, Some(3))]), Some(2));
        assert_eq!(level(&[of(1, Manager, Some(2)), of(2, Worker, Some(1))]), Some(2));
        assert_eq!(level(&[of(1, Manager, Some(2)), of(2, Manager, Some(1))]), None);
        assert_eq!(level(&[of(1, Manager, Some(2)), of(2, Manager, None)]), None);
        assert_eq!(level(&[of(1, Manager, Some(1))]), None, "that is what it is");
        assert_eq!(level(&[]), None);
        let mut high = cluster();
        high.feature_level = 5;
        assert_eq!(allowed(&high, [of(1, Manager, Some(2))].iter()), None, "never down");
    }
}

//! What the one manager that is left makes of the cluster that it has: after `--force-new-cluster`, or when it begins
//! with a restored backup.
//!
//! Source: swarmkit `manager/state/raft/raft.go` (force-new-cluster). Unlike there, the other managers become workers:
//! one that comes back gets a worker's certificate and forgets its log.

use std::sync::Arc;

use shoal_manager_core::store::Txn;
use shoal_model::cluster::node::{IssueState, ManagerAddress, NodeRole};
use shoal_model::cluster::{Node, NodeId};

use crate::store;

/// The manager that is left.
#[derive(Debug, Clone, PartialEq)]
pub struct Survivor {
    /// Its node.
    pub node: NodeId,
    /// Where it is now.
    pub manager: ManagerAddress,
    /// The node's object, when the cluster does not have it: a restored cluster's manager is new.
    pub new: Option<Box<Node>>,
}

/// Writes down that there is no other manager.
pub(super) fn take_over(txn: &mut Txn, survivor: &Survivor) -> Result<(), store::Error> {
    let nodes: Vec<Arc<Node>> = txn.nodes().cloned().collect();
    for node in nodes.iter().filter(|node| node.id != survivor.node) {
        if let Some(worker) = as_worker(node) {
            txn.put_node(worker).map_err(store::Error::Rejected)?;
        }
    }
    let own = match txn.node(survivor.node).cloned() {
        Some(own) => (*own).clone(),
        None => match &survivor.new {
            Some(new) => (**new).clone(),
            None => return Err(store::Error::Rejected(missing(survivor.node))),
        },
    };
    let mut own = Node { manager: Some(survivor.manager.clone()), ..own };
    own.spec.role = NodeRole::Manager;
    own.role = NodeRole::Manager;
    if txn.node(own.id).is_none_or(|before| **before != own) {
        txn.put_node(own).map_err(store::Error::Rejected)?;
    }
    Ok(())
}

fn missing(node: NodeId) -> shoal_manager_core::store::Rejected {
    let object = shoal_manager_core::store::ObjectRef::Node(node);
    shoal_manager_core::store::Rejected::Missing { object }
}

/// The node as a worker; `None`: it is one.
fn as_worker(node: &Node) -> Option<Node> {
    let is_worker = node.spec.role == NodeRole::Worker
        && node.role == NodeRole::Worker
        && node.manager.is_none();
    if is_worker {
        return None;
    }
    let mut worker = node.clone();
    worker.spec.role = NodeRole::Worker;
    worker.role = NodeRole::Worker;
    worker.manager = None;
    if worker.certificate.state == IssueState::Issued {
        worker.certificate.state = IssueState::Rotate;
    }
    Some(worker)
}

#[cfg(test)]
mod tests {
    use shoal_manager_core::store::State;
    use shoal_model::Timestamp;

    use super::*;
    use crate::ca::testing::{cluster, node};

    fn address(raft_id: u64) -> ManagerAddress {
        ManagerAddress { raft_id, address: "10.0.0.1:2377".parse().unwrap() }
    }

    fn three() -> State {
        let mut state = State::default();
        let mut txn = Txn::new(&state, Timestamp::default());
        txn.put_cluster(cluster()).unwrap();
        for number in 1..=2 {
            let mut manager = node(number, NodeRole::Manager);
            manager.manager = Some(address(number.into()));
            txn.put_node(manager).unwrap();
        }
        txn.put_node(node(3, NodeRole::Worker)).unwrap();
        state.apply(1, &txn.finish()).unwrap();
        state
    }

    fn after(survivor: &Survivor) -> Vec<(u8, NodeRole, Option<u64>)> {
        let mut state = three();
        let mut txn = Txn::new(&state, Timestamp::default());
        take_over(&mut txn, survivor).unwrap();
        state.apply(2, &txn.finish()).unwrap();
        let row = |node: &Arc<Node>| {
            assert_eq!(node.spec.role, node.role);
            (node.id.to_bytes()[0], node.role, node.manager.as_ref().map(|at| at.raft_id))
        };
        state.nodes().map(row).collect()
    }

    #[test]
    fn the_others_become_workers_and_the_survivor_has_its_new_address() {
        let survivor =
            Survivor { node: NodeId::from_bytes([2; 16]), manager: address(7), new: None };
        use NodeRole::{Manager, Worker};
        assert_eq!(after(&survivor), [(1, Worker, None), (2, Manager, Some(7)), (3, Worker, None)]);
        let new = node(9, Manager);
        let survivor = Survivor { node: new.id, manager: address(7), new: Some(Box::new(new)) };
        let expected =
            [(1, Worker, None), (2, Worker, None), (3, Worker, None), (9, Manager, Some(7))];
        assert_eq!(after(&survivor), expected);
    }

    #[test]
    fn a_survivor_that_nobody_knows_takes_nothing_over() {
        let state = three();
        let mut txn = Txn::new(&state, Timestamp::default());
        let stranger =
            Survivor { node: NodeId::from_bytes([8; 16]), manager: address(7), new: None };
        assert!(take_over(&mut txn, &stranger).is_err());
    }
}

//! Plain containers on networks of the cluster.
//!
//! Each is a task without a service on the container's own node, so that its address is given and taken back like any
//! other. It ends with the container, and then it goes.
//!
//! Source: swarmkit `manager/resourceapi/allocator.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_model::ErrorKind;
use shoal_model::cluster::task::{
    NetworkWish, RestartCondition, RestartHistory, RestartPolicy, Slot, TaskRuntime, TaskSpec,
    TaskStatus,
};
use shoal_model::cluster::{Annotations, Meta, NodeId, Task, TaskId, TaskState, Version};

use super::{Error, Result, find};
use crate::ids::Ids;
use crate::store::Txn;

/// Label of the task: id of the container.
pub const CONTAINER: &str = "io.shoal.attachment.container";

/// What a node asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Name, id or unique prefix of an id.
    pub network: String,
    /// Id of the container.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Further names of it on the network.
    pub aliases: Vec<String>,
    /// Addresses that it must have, at most one per family.
    pub addresses: Vec<String>,
}

/// Makes the task of an attachment.
///
/// # Errors
/// When there is no such network, or plain containers may not join it.
pub fn attach(txn: &mut Txn, ids: &mut dyn Ids, node: NodeId, wish: &Wish) -> Result<TaskId> {
    let network = find::network(txn, &wish.network)?;
    if !network.spec.attachable {
        let name = &network.spec.name;
        let text = format!("network {name} not manually attachable");
        return Err(Error::Plain { kind: ErrorKind::Forbidden, text });
    }
    let restart =
        RestartPolicy { condition: Some(RestartCondition::None), ..RestartPolicy::default() };
    let spec = TaskSpec {
        runtime: TaskRuntime::Attachment,
        restart: Some(restart),
        networks: vec![NetworkWish {
            target: network.id.to_string(),
            aliases: wish.aliases.clone(),
            addresses: wish.addresses.clone(),
            ..NetworkWish::default()
        }],
        ..TaskSpec::default()
    };
    let labels = BTreeMap::from([(CONTAINER.to_owned(), wish.container.clone())]);
    let id = ids.task();
    txn.put_task(Task {
        id,
        meta: Meta::default(),
        spec: Arc::new(spec),
        spec_version: Version(0),
        service: None,
        slot: Slot(0),
        node: Some(node),
        annotations: Arc::new(Annotations { name: wish.name.clone(), labels }),
        desired: TaskState::Running,
        status: TaskStatus { message: "created".to_owned(), ..TaskStatus::default() },
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    })?;
    Ok(id)
}

/// Gives an attachment up that nobody uses yet.
///
/// # Errors
/// When the store refuses.
pub fn detach(txn: &mut Txn, id: TaskId) -> Result<()> {
    if txn.task(id).is_some_and(|task| task.service.is_none()) {
        txn.task_desired(id, TaskState::Remove)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use crate::store::{Change, State, Transaction};

    struct Counting(u8);

    impl Ids for Counting {
        fn bytes(&mut self) -> [u8; 16] {
            self.0 += 1;
            [self.0; 16]
        }
    }

    #[test]
    fn only_attachable_networks_take_plain_containers() {
        let mut attachable = samples::network(1, "open");
        attachable.spec.attachable = true;
        let closed = samples::network(2, "closed");
        let changes = [attachable.clone(), closed].map(|one| Change::PutNetwork(Arc::new(one)));
        let mut state = State::default();
        let transaction = Transaction { changes: changes.to_vec(), ..Transaction::default() };
        state.apply(1, &transaction).unwrap();
        let node = NodeId::from_bytes(samples::bytes(1));
        let mut txn = Txn::new(&state, shoal_model::Timestamp::default());
        let mut attach = |network: &str| {
            let wish = Wish {
                network: network.to_owned(),
                container: "c1".to_owned(),
                name: "mine".to_owned(),
                aliases: vec!["own".to_owned()],
                addresses: vec!["10.0.1.9".to_owned()],
            };
            attach(&mut txn, &mut Counting(7), node, &wish)
        };
        assert_eq!(
            attach("closed").unwrap_err().to_string(),
            "network closed not manually attachable"
        );
        assert!(matches!(attach("none"), Err(Error::NotFound { .. })));
        let id = attach("open").unwrap();
        let task = txn.task(id).unwrap();
        assert_eq!((task.node, task.service, task.desired), (Some(node), None, TaskState::Running));
        let joined = &task.spec.networks[0];
        assert_eq!((&*joined.target, &*joined.aliases[0]), (&*attachable.id.to_string(), "own"));
        assert_eq!(task.annotations.labels[CONTAINER], "c1");
        detach(&mut txn, id).unwrap();
        assert_eq!(txn.task(id).unwrap().desired, TaskState::Remove);
    }
}

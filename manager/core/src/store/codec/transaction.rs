//! Transactions as frames.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shoal_model::Timestamp;
use shoal_model::cluster::task::TaskStatus;
use shoal_model::cluster::{
    Cluster, ClusterNetwork, ClusterNetworkId, Config, ConfigId, Node, NodeId, Secret, SecretId,
    ServiceId, TaskId, TaskState, Version,
};

use super::record::{Parts, ServiceRecord, TaskRecord};
use super::shared::{Numbering, Shared};
use super::{Error, FORMAT, body, pack, unpack};
use crate::store::{Change, ObjectRef, Transaction};

const FRAME: &str = "transaction";

#[derive(Serialize, Deserialize)]
struct Frame<'a> {
    at: Timestamp,
    #[serde(default)]
    expect: Vec<(ObjectRef, Version)>,
    #[serde(default)]
    shared: Shared,
    changes: Vec<ChangeRecord<'a>>,
}

#[derive(Serialize, Deserialize)]
enum ChangeRecord<'a> {
    PutCluster(Arc<Cluster>),
    PutNode(Arc<Node>),
    RemoveNode(NodeId),
    PutService(Box<ServiceRecord<'a>>),
    RemoveService(ServiceId),
    PutTask(Box<TaskRecord<'a>>),
    EditTask(Box<TaskRecord<'a>>),
    RemoveTask(TaskId),
    TaskStatus(TaskId, Cow<'a, TaskStatus>),
    TaskDesired(TaskId, TaskState),
    PutNetwork(Arc<ClusterNetwork>),
    RemoveNetwork(ClusterNetworkId),
    PutSecret(Arc<Secret>),
    RemoveSecret(SecretId),
    PutConfig(Arc<Config>),
    RemoveConfig(ConfigId),
}

impl<'a> ChangeRecord<'a> {
    fn new(change: &'a Change, numbering: &mut Numbering) -> Self {
        let mut task = |task, parts| Box::new(TaskRecord::new(task, parts, numbering));
        match change {
            Change::PutTask(put) => Self::PutTask(task(put, Parts::Put)),
            Change::EditTask(put) => Self::EditTask(task(put, Parts::Edited)),
            Change::PutService(put) => {
                Self::PutService(Box::new(ServiceRecord::new(put, numbering)))
            }
            Change::PutCluster(put) => Self::PutCluster(Arc::clone(put)),
            Change::PutNode(put) => Self::PutNode(Arc::clone(put)),
            Change::RemoveNode(id) => Self::RemoveNode(*id),
            Change::RemoveService(id) => Self::RemoveService(*id),
            Change::RemoveTask(id) => Self::RemoveTask(*id),
            Change::TaskStatus { task, status } => Self::TaskStatus(*task, Cow::Borrowed(status)),
            Change::TaskDesired { task, desired } => Self::TaskDesired(*task, *desired),
            Change::PutNetwork(put) => Self::PutNetwork(Arc::clone(put)),
            Change::RemoveNetwork(id) => Self::RemoveNetwork(*id),
            Change::PutSecret(put) => Self::PutSecret(Arc::clone(put)),
            Change::RemoveSecret(id) => Self::RemoveSecret(*id),
            Change::PutConfig(put) => Self::PutConfig(Arc::clone(put)),
            Change::RemoveConfig(id) => Self::RemoveConfig(*id),
        }
    }

    fn change(self, shared: &Shared) -> Result<Change, Error> {
        Ok(match self {
            Self::PutTask(put) => Change::PutTask(Arc::new(put.task(shared, FRAME)?)),
            Self::EditTask(put) => Change::EditTask(Arc::new(put.task(shared, FRAME)?)),
            Self::PutService(put) => Change::PutService(Arc::new(put.service(shared, FRAME)?)),
            Self::PutCluster(put) => Change::PutCluster(put),
            Self::PutNode(put) => Change::PutNode(put),
            Self::RemoveNode(id) => Change::RemoveNode(id),
            Self::RemoveService(id) => Change::RemoveService(id),
            Self::RemoveTask(id) => Change::RemoveTask(id),
            Self::TaskStatus(task, status) => {
                Change::TaskStatus { task, status: status.into_owned() }
            }
            Self::TaskDesired(task, desired) => Change::TaskDesired { task, desired },
            Self::PutNetwork(put) => Change::PutNetwork(put),
            Self::RemoveNetwork(id) => Change::RemoveNetwork(id),
            Self::PutSecret(put) => Change::PutSecret(put),
            Self::RemoveSecret(id) => Change::RemoveSecret(id),
            Self::PutConfig(put) => Change::PutConfig(put),
            Self::RemoveConfig(id) => Change::RemoveConfig(id),
        })
    }
}

/// Encodes a transaction.
///
/// # Errors
/// When MessagePack cannot express it: a text longer than 4 GiB.
pub fn encode_transaction(transaction: &Transaction) -> Result<Vec<u8>, Error> {
    let mut numbering = Numbering::default();
    let record = |change| ChangeRecord::new(change, &mut numbering);
    let changes = transaction.changes.iter().map(record).collect();
    let frame = Frame {
        at: transaction.at,
        expect: transaction.expect.clone(),
        shared: numbering.fresh(),
        changes,
    };
    let mut out = vec![FORMAT];
    pack(&mut out, &frame, FRAME)?;
    Ok(out)
}

/// Decodes a transaction.
///
/// # Errors
/// When the bytes are damaged or of a newer format.
pub fn decode_transaction(bytes: &[u8]) -> Result<Transaction, Error> {
    let frame: Frame<'static> = unpack(body(bytes, FRAME)?, FRAME)?;
    let changes = frame.changes.into_iter().map(|record| record.change(&frame.shared));
    let changes = changes.collect::<Result<_, _>>()?;
    Ok(Transaction { at: frame.at, expect: frame.expect, changes })
}

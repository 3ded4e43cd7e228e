//! Values for tests.

use std::sync::Arc;

use shoal_model::cluster::service::OnDisconnect;
use shoal_model::cluster::task::{RestartHistory, Slot, TaskSpec, TaskStatus};
use shoal_model::cluster::{
    AssignedTask, Meta, NodeId, ServiceId, Task, TaskId, TaskState, Version,
};
use shoal_model::error::{ErrorKind, Failure};

use crate::storage::Sealer;

/// A sealer that is just good enough to tell keys apart.
#[derive(Debug)]
pub(crate) struct Xor(pub(crate) u8);

impl Sealer for Xor {
    fn seal(&self, plain: &[u8]) -> Vec<u8> {
        std::iter::once(self.0).chain(plain.iter().map(|byte| byte ^ self.0)).collect()
    }

    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, Failure> {
        match sealed.split_first() {
            Some((&key, rest)) if key == self.0 => {
                Ok(rest.iter().map(|byte| byte ^ self.0).collect())
            }
            _ => Err(Failure::new(ErrorKind::DataLoss, "sealed by another key")),
        }
    }
}

pub(crate) fn task_id(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

pub(crate) fn assigned(number: u8) -> AssignedTask {
    let task = Task {
        id: task_id(number),
        meta: Meta::default(),
        spec: Arc::new(TaskSpec::default()),
        spec_version: Version(1),
        service: Some(ServiceId::from_bytes([9; 16])),
        slot: Slot(u64::from(number)),
        node: Some(NodeId::from_bytes([8; 16])),
        annotations: Arc::default(),
        desired: TaskState::Running,
        status: TaskStatus::default(),
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    };
    AssignedTask { task: Arc::new(task), on_disconnect: OnDisconnect::Keep }
}

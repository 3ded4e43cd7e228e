//! Objects for benches: services, and running tasks of them.

use std::sync::Arc;

use shoal_manager_core::ids::{Ids as _, SeededIds};
use shoal_model::Timestamp;
use shoal_model::cluster::task::{
    ContainerStatus, NetworkAttachment, RestartHistory, Slot, TaskStatus,
};
use shoal_model::cluster::{
    Annotations, ClusterNetworkId, Meta, NodeId, Service, ServiceSpec, Task, TaskState, Version,
};

/// Tasks of one service.
pub(crate) const TASKS_PER_SERVICE: usize = 1_000;
/// Changes in one entry.
pub(crate) const CHANGES_PER_ENTRY: usize = 200;

pub(crate) fn service(ids: &mut SeededIds, number: usize) -> Service {
    let annotations = Annotations { name: format!("s{number}"), ..Annotations::default() };
    Service {
        id: ids.service(),
        meta: Meta::default(),
        spec: ServiceSpec { annotations, ..ServiceSpec::default() },
        spec_version: Version(1),
        previous: None,
        revisions: Default::default(),
        endpoint: None,
        endpoint_error: String::new(),
        update: None,
        job: None,
        removing: false,
    }
}

/// A running task on one network, as it comes out of a frame: nothing shared with others but in its frame.
pub(crate) fn task(ids: &mut SeededIds, service: &Service, slot: u64) -> Task {
    Task {
        id: ids.task(),
        meta: Meta::default(),
        spec: Arc::clone(&service.spec.task),
        spec_version: Version(1),
        service: Some(service.id),
        slot: Slot(slot),
        node: Some(NodeId::from_bytes(u128::from(slot % 10_000).to_be_bytes())),
        annotations: Arc::new(service.spec.annotations.clone()),
        desired: TaskState::Running,
        status: running(1),
        networks: vec![NetworkAttachment {
            network: ClusterNetworkId::from_bytes([1; 16]),
            addresses: vec!["10.0.0.3/24".parse().expect("an address")],
            aliases: Vec::new(),
            driver_opts: std::collections::BTreeMap::new(),
        }],
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    }
}

pub(crate) fn running(pid: u32) -> TaskStatus {
    TaskStatus {
        state: TaskState::Running,
        at: Timestamp::from_nanos(1_790_000_000_000_000_000),
        message: "started".to_owned(),
        container: Some(ContainerStatus { id: "ab".repeat(32), pid, exit_code: 0 }),
        ..TaskStatus::default()
    }
}

//! Objects for the tests of this crate.

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_model::cluster::manager::RootCa;
use shoal_model::cluster::node::{
    NodeDescription, NodeResources, NodeRole, NodeState, NodeStatus, Platform,
};
use shoal_model::cluster::service::{Service, ServiceSpec};
use shoal_model::cluster::task::{RestartHistory, Slot, TaskStatus};
use shoal_model::cluster::{
    Annotations, Cluster, ClusterId, ClusterNetwork, ClusterNetworkId, Meta, Node, NodeId,
    ServiceId, Task, TaskId, TaskSpec, TaskState, Version,
};
use shoal_model::network::NetworkSpec;

/// Sixteen bytes that end in `number`.
pub(crate) fn bytes(number: u64) -> [u8; 16] {
    u128::from(number).to_be_bytes()
}

/// A node that is ready, with 4 CPUs and 8 GiB.
pub(crate) fn node(number: u64) -> Node {
    let plugins = [("Network", "overlay"), ("Network", "bridge"), ("Volume", "local")];
    Node {
        description: Some(NodeDescription {
            hostname: format!("n{number}"),
            platform: Platform { architecture: "x86_64".to_owned(), os: "linux".to_owned() },
            resources: NodeResources {
                nano_cpus: 4_000_000_000,
                memory: 8 << 30,
                generic: Vec::new(),
            },
            plugins: plugins
                .map(|(kind, name)| (kind.to_owned(), name.to_owned()))
                .into_iter()
                .collect::<BTreeSet<_>>(),
            ..NodeDescription::default()
        }),
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        ..Node::new(NodeId::from_bytes(bytes(number)), NodeRole::Worker)
    }
}

/// A service of one replica.
pub(crate) fn service(number: u64, name: &str) -> Service {
    Service {
        id: ServiceId::from_bytes(bytes(number)),
        meta: Meta::default(),
        spec: ServiceSpec {
            annotations: Annotations { name: name.to_owned(), ..Annotations::default() },
            ..ServiceSpec::default()
        },
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

/// A cluster with docker's pool.
pub(crate) fn cluster() -> Cluster {
    Cluster::new(ClusterId::from_bytes(bytes(1)), RootCa::default())
}

/// An overlay network that nothing was given to yet.
pub(crate) fn network(number: u64, name: &str) -> ClusterNetwork {
    ClusterNetwork::new(
        ClusterNetworkId::from_bytes(bytes(number)),
        NetworkSpec { name: name.to_owned(), ..NetworkSpec::default() },
    )
}

/// A pending task of a service.
pub(crate) fn task(number: u64, service: u64, slot: u64) -> Task {
    Task {
        id: TaskId::from_bytes(bytes(number)),
        meta: Meta::default(),
        spec: Arc::new(TaskSpec::default()),
        spec_version: Version(1),
        service: Some(ServiceId::from_bytes(bytes(service))),
        slot: Slot(slot),
        node: None,
        annotations: Arc::new(Annotations::default()),
        desired: TaskState::Running,
        status: TaskStatus { state: TaskState::Pending, ..TaskStatus::default() },
        networks: Vec::new(),
        endpoint: None,
        generic: Vec::new(),
        job_iteration: None,
        history: RestartHistory::default(),
        runs: 0,
    }
}

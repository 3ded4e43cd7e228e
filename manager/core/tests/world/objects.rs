//! Objects of the fake cluster, and how their containers behave.

use std::collections::BTreeSet;

use shoal_model::Timestamp;
use shoal_model::cluster::manager::RootCa;
use shoal_model::cluster::node::{
    NodeDescription, NodeResources, NodeRole, NodeState, NodeStatus, Platform,
};
use shoal_model::cluster::{
    Annotations, Cluster, ClusterId, Meta, Node, NodeId, Service, ServiceId, ServiceSpec, Task,
    TaskState, Version,
};

pub(crate) fn cluster(id: ClusterId) -> Cluster {
    Cluster::new(id, RootCa::default())
}

pub(crate) fn node(id: NodeId, name: &str, now: Timestamp) -> Node {
    Node {
        description: Some(NodeDescription {
            hostname: name.to_owned(),
            platform: Platform { architecture: "x86_64".to_owned(), os: "linux".to_owned() },
            resources: NodeResources {
                nano_cpus: 4_000_000_000,
                memory: 8 << 30,
                generic: Vec::new(),
            },
            plugins: BTreeSet::new(),
            ..NodeDescription::default()
        }),
        status: NodeStatus { state: NodeState::Ready, since: now, ..NodeStatus::default() },
        ..Node::new(id, NodeRole::Worker)
    }
}

pub(crate) fn service(id: ServiceId, name: &str) -> Service {
    Service {
        id,
        meta: Meta::default(),
        spec: ServiceSpec {
            annotations: Annotations { name: name.to_owned(), ..Annotations::default() },
            ..ServiceSpec::default()
        },
        spec_version: Version(0),
        previous: None,
        revisions: Default::default(),
        endpoint: None,
        endpoint_error: String::new(),
        update: None,
        job: None,
        removing: false,
    }
}

/// Where a worker brings a task now; `None`: it is where it shall be, or stays where it is. Images that begin with `bad` fail at
/// once, with `gone` cannot be pulled, with `stuck` are pulled for ever, with `stubborn` stop only when the test says so.
pub(crate) fn next_state(task: &Task) -> Option<TaskState> {
    let (image, state) = (&task.spec.container.image, task.status.state);
    if state.is_terminal() {
        return None;
    }
    if task.desired >= TaskState::Shutdown {
        return (!image.starts_with("stubborn")).then_some(TaskState::Shutdown);
    }
    let goal = if image.starts_with("stuck") {
        TaskState::Preparing
    } else if image.starts_with("gone") {
        TaskState::Rejected
    } else if task.desired <= TaskState::Ready {
        TaskState::Ready
    } else if image.starts_with("bad") {
        TaskState::Failed
    } else {
        TaskState::Running
    };
    (goal > state).then_some(goal)
}

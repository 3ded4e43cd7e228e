//! Tasks, to the wire.

use shoal_api_wire::swarm::{self, task as wire};
use shoal_model::cluster::task::{ContainerStatus, NetworkAttachment, Task};
use shoal_model::cluster::{ClusterNetwork, ClusterNetworkId};

use super::{labels_out, meta, network, service_out, some_list, task_spec_out};
use crate::convert::time;

/// `find` looks up a network; a network that is gone is shown by its id alone.
pub(crate) fn task<'a>(
    task: &Task,
    find: impl Fn(ClusterNetworkId) -> Option<&'a ClusterNetwork>,
) -> wire::Task {
    let attachments: Vec<_> =
        task.networks.iter().map(|one| attachment(one, find(one.network))).collect();
    wire::Task {
        id: task.id.to_string(),
        meta: meta(&task.meta),
        name: String::new(),
        labels: labels_out(&std::collections::BTreeMap::new()),
        spec: task_spec_out::spec(&task.spec),
        service_id: task.service.map(|id| id.to_string()).unwrap_or_default(),
        slot: task.shown_slot(),
        node_id: task.node.map(|id| id.to_string()).unwrap_or_default(),
        status: wire::TaskStatus {
            timestamp: time::rfc3339(task.status.at),
            state: task.status.state.as_str().to_owned(),
            message: task.status.message.clone(),
            err: task.status.error.clone(),
            container_status: task.status.container.as_ref().map(container),
            port_status: wire::PortStatus { ports: service_out::ports(&task.status.ports) },
        },
        desired_state: task.desired.as_str().to_owned(),
        networks_attachments: some_list(&attachments),
        generic_resources: task_spec_out::generic(&task.generic),
        job_iteration: task.job_iteration.map(|version| swarm::Version { index: version.0 }),
        volumes: None,
    }
}

fn container(container: &ContainerStatus) -> wire::ContainerStatus {
    wire::ContainerStatus {
        container_id: container.id.clone(),
        pid: container.pid,
        exit_code: container.exit_code,
    }
}

fn attachment(
    attachment: &NetworkAttachment,
    found: Option<&ClusterNetwork>,
) -> wire::NetworkAttachment {
    // Docker's client reads each time.
    let never = || time::or_zero(None);
    let unknown = || wire::Network {
        id: attachment.network.to_string(),
        meta: swarm::Meta { created_at: never(), updated_at: never(), ..Default::default() },
        ..Default::default()
    };
    let addresses: Vec<String> = attachment.addresses.iter().map(ToString::to_string).collect();
    wire::NetworkAttachment {
        network: found.map_or_else(unknown, network::in_task),
        addresses: some_list(&addresses),
    }
}

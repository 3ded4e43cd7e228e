//! Nodes, both ways.

use shoal_api_wire::swarm::node as wire;
use shoal_model::Failure;
use shoal_model::cluster::NodeSpec;
use shoal_model::cluster::node::{Availability, Node, NodeDescription, NodeRole, NodeState};
use shoal_model::cluster::request::NodeView;

use super::{
    Result, annotations, base64_out, labels_out, meta, some_list, some_map, task_spec_out,
};

pub(crate) fn availability(text: &str) -> Result<Availability> {
    match text.to_ascii_lowercase().as_str() {
        "" | "active" => Ok(Availability::Active),
        "pause" => Ok(Availability::Pause),
        "drain" => Ok(Availability::Drain),
        _ => Err(Failure::invalid(format!("invalid Availability: {text:?}"))),
    }
}

pub(crate) fn role(text: &str) -> Result<NodeRole> {
    match text.to_ascii_lowercase().as_str() {
        "" | "worker" => Ok(NodeRole::Worker),
        "manager" => Ok(NodeRole::Manager),
        _ => Err(Failure::invalid(format!("invalid Role: {text:?}"))),
    }
}

pub(crate) fn spec(wire: wire::NodeSpec) -> Result<NodeSpec> {
    Ok(NodeSpec {
        annotations: annotations(wire.name, wire.labels),
        role: role(&wire.role)?,
        availability: availability(&wire.availability)?,
    })
}

const fn role_out(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Worker => "worker",
        NodeRole::Manager => "manager",
    }
}

/// Docker's word.
pub(super) const fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Unknown => "unknown",
        NodeState::Down => "down",
        NodeState::Ready => "ready",
        NodeState::Disconnected => "disconnected",
    }
}

pub(crate) fn node(view: &NodeView) -> wire::Node {
    let Node { id, spec, description, status, manager, .. } = &*view.node;
    let availability = match spec.availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    };
    let state = state(status.state);
    let manager_status = view.manager.map(|seen| wire::ManagerStatus {
        leader: seen.is_leader,
        reachability: if seen.is_reachable { "reachable" } else { "unreachable" }.to_owned(),
        addr: manager.as_ref().map(|manager| manager.address.to_string()).unwrap_or_default(),
    });
    wire::Node {
        id: id.to_string(),
        meta: meta(&view.node.meta),
        spec: wire::NodeSpec {
            name: spec.annotations.name.clone(),
            labels: labels_out(&spec.annotations.labels),
            role: role_out(spec.role).to_owned(),
            availability: availability.to_owned(),
        },
        description: description.as_ref().map(description_out).unwrap_or_default(),
        status: wire::NodeStatus {
            state: state.to_owned(),
            message: message(&view.node),
            addr: status.address.map(|address| address.to_string()).unwrap_or_default(),
        },
        manager_status,
    }
}

/// What a user should know of a node: why it is not ready, or what does not work there.
fn message(node: &Node) -> String {
    let refused = node.description.iter().flat_map(|about| &about.refused_ports);
    let refused: Vec<String> =
        refused.map(|(protocol, port)| format!("{port}/{}", protocol.as_str())).collect();
    match (&node.status.message, refused.is_empty()) {
        (message, true) => message.clone(),
        (message, _) if !message.is_empty() => message.clone(),
        _ => format!("not published here, another program has them: ports {}", refused.join(", ")),
    }
}

fn description_out(description: &NodeDescription) -> wire::NodeDescription {
    let plugin = |(kind, name): &(String, String)| wire::PluginDescription {
        r#type: kind.clone(),
        name: name.clone(),
    };
    wire::NodeDescription {
        hostname: description.hostname.clone(),
        platform: wire::Platform {
            architecture: description.platform.architecture.clone(),
            os: description.platform.os.clone(),
        },
        resources: wire::Resources {
            nano_cpus: description.resources.nano_cpus,
            memory_bytes: description.resources.memory,
            generic_resources: task_spec_out::generic(&description.resources.generic),
        },
        engine: wire::EngineDescription {
            engine_version: description.engine_version.clone(),
            labels: some_map(&description.engine_labels),
            plugins: some_list(&description.plugins.iter().map(plugin).collect::<Vec<_>>()),
        },
        tls_info: shoal_api_wire::swarm::cluster::TlsInfo {
            trust_root: description.trust_root.clone(),
            cert_issuer_subject: base64_out(&description.issuer_subject),
            cert_issuer_public_key: base64_out(&description.issuer_public_key),
        },
    }
}

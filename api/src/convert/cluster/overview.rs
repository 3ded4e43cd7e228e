//! How the cluster is, in JSON of our own: ADR 7.

use serde_json::{Value, json};
use shoal_model::cluster::node::NodeRole;
use shoal_model::cluster::overview::{Certificate, Manager, Overview};

use super::{node, time};

/// For `GET /shoal/swarm/status`.
pub(crate) fn overview(overview: &Overview) -> Value {
    let quorum = overview.quorum;
    json!({
        "ClusterID": overview.cluster.to_string(),
        "NodeID": overview.node.to_string(),
        "Leader": overview.leader.map(|leader| leader.to_string()).unwrap_or_default(),
        "Term": overview.term,
        "LastIndex": overview.last,
        "CommittedIndex": overview.committed,
        "Quorum": {
            "Voters": quorum.voters,
            "Reachable": quorum.reachable,
            "Needed": quorum.needed,
            "Margin": quorum.margin(),
        },
        "Managers": overview.managers.iter().map(manager).collect::<Vec<_>>(),
        "Certificates": overview.certificates.iter().map(certificate).collect::<Vec<_>>(),
        "RootExpires": time::or_zero(overview.root_expires),
        "RootRotationInProgress": overview.root_rotation,
        "AutoLock": overview.autolock,
        "FeatureLevel": overview.feature_level,
        "Breaks": overview.breaks,
        "Warnings": overview.warnings,
    })
}

fn manager(manager: &Manager) -> Value {
    json!({
        "NodeID": manager.node.to_string(),
        "Hostname": manager.hostname,
        "Addr": manager.address,
        "Leader": manager.leader,
        "Voter": manager.voter,
        "Reachable": manager.reachable,
        "Lag": manager.lag,
        "Release": manager.release,
    })
}

fn certificate(certificate: &Certificate) -> Value {
    let role = match certificate.role {
        NodeRole::Manager => "manager",
        NodeRole::Worker => "worker",
    };
    json!({
        "NodeID": certificate.node.to_string(),
        "Hostname": certificate.hostname,
        "Role": role,
        "State": node::state(certificate.state),
        "Expires": time::or_zero(certificate.expires),
    })
}

//! How the cluster is, for people: from its objects and from what its leader knows of consensus.
//!
//! Pure.

use std::time::Duration;

use shoal_identity::root::Date;
use shoal_identity::{Root, peer, pem};
use shoal_manager_core::store::State;
use shoal_model::Timestamp;
use shoal_model::cluster::node::NodeState;
use shoal_model::cluster::overview::{Certificate, Manager, Overview, Quorum};
use shoal_model::cluster::{Cluster, Node, NodeId};

use crate::consensus::overview::Overview as Consensus;

/// So many entries behind, a manager is worth a word.
const LAG: u64 = 1000;
/// A root that ends within this time is worth a word.
const ROOT_SOON: Duration = Duration::from_secs(90 * 24 * 3600);
/// A node renews its certificate in the second half of its life; in the last tenth something is wrong.
const LIFE_LEFT: u32 = 10;

/// Says how the cluster is. `asked` is the node that answers.
pub fn compose(
    state: &State,
    cluster: &Cluster,
    consensus: &Consensus,
    asked: NodeId,
    now: Timestamp,
) -> Overview {
    let managers: Vec<Manager> = managers(state, consensus);
    let certificates = certificates(state);
    let root_expires =
        Root::load(&cluster.root.certificate, "", now).ok().map(|root| root.not_after());
    let quorum = consensus.quorum();
    let mut overview = Overview {
        cluster: cluster.id,
        node: asked,
        leader: managers.iter().find(|manager| manager.leader).map(|manager| manager.node),
        term: consensus.term,
        last: consensus.last,
        committed: consensus.committed,
        quorum,
        breaks: breaks(quorum, &managers),
        managers,
        certificates,
        root_expires,
        root_rotation: cluster.root.rotation.is_some(),
        autolock: cluster.spec.autolock,
        feature_level: cluster.feature_level,
        warnings: Vec::new(),
    };
    overview.warnings = warnings(&overview, cluster.spec.ca.node_cert_expiry, now);
    overview
}

/// What a person calls a node.
fn name(hostname: &str, node: NodeId) -> String {
    if hostname.is_empty() { node.to_string() } else { hostname.to_owned() }
}

fn hostname(node: &Node) -> String {
    node.description.as_ref().map(|about| about.hostname.clone()).unwrap_or_default()
}

fn managers(state: &State, consensus: &Consensus) -> Vec<Manager> {
    let seats = consensus.seats.iter().map(|seat| {
        let node = state.node(seat.node);
        let about = node.and_then(|node| node.description.as_ref());
        Manager {
            node: seat.node,
            hostname: node.map(|node| hostname(node)).unwrap_or_default(),
            address: seat.address.clone(),
            leader: seat.leader,
            voter: seat.voter,
            reachable: seat.reachable,
            lag: seat.lag,
            release: about.map(|about| about.engine_version.clone()).unwrap_or_default(),
        }
    });
    let mut managers: Vec<Manager> = seats.collect();
    managers.sort_by(|a, b| (&a.hostname, a.node).cmp(&(&b.hostname, b.node)));
    managers
}

fn certificates(state: &State) -> Vec<Certificate> {
    let end = |node: &Node| {
        let certificates = pem::certificates(&node.certificate.chain).ok()?;
        peer::facts(certificates.first()?).ok().map(|facts| facts.not_after)
    };
    let mut found: Vec<Certificate> = state
        .nodes()
        .map(|node| Certificate {
            node: node.id,
            hostname: hostname(node),
            role: node.certificate.role,
            state: node.status.state,
            expires: end(node),
        })
        .collect();
    found.sort_by_key(|certificate| (certificate.expires, certificate.node));
    found
}

fn breaks(quorum: Quorum, managers: &[Manager]) -> Vec<String> {
    let Quorum { voters, reachable, needed } = quorum;
    let up = managers.iter().filter(|manager| manager.voter && manager.reachable);
    let up: Vec<String> = up.map(|manager| name(&manager.hostname, manager.node)).collect();
    let list = up.join(", ");
    if reachable < needed {
        let missing = needed - reachable;
        return vec![format!(
            "there is no quorum: {reachable} of {voters} managers answer, {needed} must; {missing} more must come \
             back, or `swarm init --force-new-cluster` goes on with one"
        )];
    }
    match (reachable - needed, up.len()) {
        (0, 1) => vec![format!("the failure of {list} stops all changes")],
        (0, _) => vec![format!("the failure of any of {list} stops all changes")],
        (margin, _) => {
            vec![format!("the failure of any {} of {list} stops all changes", margin + 1)]
        }
    }
}

fn warnings(overview: &Overview, life: Duration, now: Timestamp) -> Vec<String> {
    let mut warnings = Vec::new();
    let voters = overview.quorum.voters;
    if voters == 2 {
        warnings.push(TWO_MANAGERS.to_owned());
    } else if voters > 2 && voters.is_multiple_of(2) {
        warnings.push(format!("{voters} managers bear no more failures than {}", voters - 1));
    }
    for manager in &overview.managers {
        let name = name(&manager.hostname, manager.node);
        if !manager.reachable {
            warnings.push(format!("manager {name} does not answer"));
        } else if manager.lag > LAG {
            warnings.push(format!("manager {name} lacks {} entries", manager.lag));
        }
        if !manager.voter {
            warnings.push(format!("manager {name} is catching up and does not vote yet"));
        }
    }
    for certificate in &overview.certificates {
        let name = name(&certificate.hostname, certificate.node);
        match certificate.expires {
            Some(end) if end <= now => {
                warnings.push(format!("the certificate of {name} ended on {}", Date(end)));
            }
            Some(end) if end.since(now) < life / LIFE_LEFT => {
                let off = match certificate.state {
                    NodeState::Ready => "",
                    _ => ", and the node is not there to renew it",
                };
                warnings.push(format!("the certificate of {name} ends on {}{off}", Date(end)));
            }
            _ => {}
        }
    }
    match overview.root_expires {
        Some(end) if end.since(now) < ROOT_SOON => {
            warnings.push(format!("the root of the cluster ends on {}", Date(end)));
        }
        None => warnings.push("the root of the cluster has ended or cannot be read".to_owned()),
        Some(_) => {}
    }
    warnings
}

/// Said wherever a cluster has two managers.
pub const TWO_MANAGERS: &str = "two managers bear no failure: when either is gone, nothing can be changed; add a \
                                third one, or demote one";

#[cfg(test)]
mod tests {
    use shoal_manager_core::store::Txn;
    use shoal_model::cluster::node::{NodeDescription, NodeRole};

    use super::*;
    use crate::ca::testing::{NOW, cluster, node};
    use crate::consensus::overview::tests::of;

    fn overview(voters: u8, down: &[u8]) -> Overview {
        let mut state = State::default();
        let mut txn = Txn::new(&state, NOW);
        let cluster = cluster();
        txn.put_cluster(cluster.clone()).unwrap();
        for number in 1..=voters {
            let mut node = node(number, NodeRole::Manager);
            let hostname = format!("h{number}");
            node.description = Some(NodeDescription { hostname, ..NodeDescription::default() });
            txn.put_node(node).unwrap();
        }
        state.apply(1, &txn.finish()).unwrap();
        compose(&state, &cluster, &of(voters, down), NodeId::from_bytes([1; 16]), NOW)
    }

    #[test]
    fn what_would_break_it_is_said() {
        let said = |voters, down: &[u8]| overview(voters, down).breaks.concat();
        assert_eq!(said(1, &[]), "the failure of h1 stops all changes");
        assert_eq!(said(2, &[]), "the failure of any of h1, h2 stops all changes");
        assert_eq!(said(3, &[]), "the failure of any 2 of h1, h2, h3 stops all changes");
        assert_eq!(said(3, &[2]), "the failure of any of h1, h3 stops all changes");
        assert_eq!(
            said(3, &[2, 3]),
            "there is no quorum: 1 of 3 managers answer, 2 must; 1 more must come back, or `swarm init \
             --force-new-cluster` goes on with one"
        );
    }

    #[test]
    fn warnings_name_what_is_wrong() {
        assert_eq!(overview(3, &[]).warnings, Vec::<String>::new());
        assert_eq!(overview(2, &[]).warnings, [TWO_MANAGERS]);
        assert_eq!(
            overview(4, &[3]).warnings,
            ["4 managers bear no more failures than 3", "manager h3 does not answer"]
        );
        let mut old = overview(1, &[]);
        old.certificates[0].expires = Some(NOW.after(Duration::from_secs(86_400)));
        let life = Duration::from_secs(90 * 86_400);
        assert_eq!(
            warnings(&old, life, NOW),
            [
                "the certificate of h1 ends on 2026-11-22T00:00:00Z, and the node is not there to renew it"
            ]
        );
        old.certificates[0].expires = Some(NOW);
        assert_eq!(
            warnings(&old, life, NOW),
            ["the certificate of h1 ended on 2026-11-21T00:00:00Z"]
        );
    }
}

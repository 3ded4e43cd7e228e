//! The turn of a cluster to another root: which nodes are still to renew, and when it is done.
//!
//! Pure. A node has turned when its certificate is of the new root and it trusts the new root; it says both in
//! its description. The turn ends when all have: then nobody needs the old root. A node that is down keeps the
//! turn open until it is back or removed.
//!
//! Source: swarmkit `ca/reconciler.go`. Differs: swarmkit does not ask whether a node trusts the new root (ADR 0006).

use std::fmt;
use std::sync::Arc;

use shoal_base::random::Random;
use shoal_identity::{JoinToken, chain, peer, pem, root};
use shoal_model::cluster::manager::{JoinTokens, RootCa, RootRotation};
use shoal_model::cluster::node::IssueState;
use shoal_model::cluster::{Cluster, Node, NodeId};

/// Nodes that are told to renew at one time.
pub const BATCH_MAX: usize = 100;

/// Why a node has not turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// It is to ask for a certificate, and has not been told.
    Untold,
    /// It was told, and has not asked; or its request is not answered.
    Renewing,
    /// It has got a certificate of the new root, and has not reported it.
    Unreported,
    /// It does not trust the new root.
    Trust,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Untold => "is to be told to renew its certificate",
            Self::Renewing => "was told to renew its certificate and has not got a new one",
            Self::Unreported => "has a certificate of the new root and has not reported it",
            Self::Trust => "does not trust the new root yet",
        })
    }
}

/// The next step of a turn.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// No turn, or nothing to do but wait.
    Wait,
    /// These nodes are told to renew.
    Tell(Vec<Node>),
    /// All have turned: the new root becomes the root.
    Finish,
}

/// Decides the next step.
pub fn plan(cluster: &Cluster, nodes: &[Arc<Node>]) -> Step {
    let Some(rotation) = &cluster.root.rotation else { return Step::Wait };
    let waiting = nodes.iter().filter_map(|node| Some((node, waiting(rotation, node)?)));
    let mut all_turned = true;
    let mut tell = Vec::new();
    for (node, reason) in waiting {
        all_turned = false;
        if reason == Waiting::Untold && tell.len() < BATCH_MAX {
            let mut told = Node::clone(node);
            told.certificate.state = IssueState::Rotate;
            tell.push(told);
        }
    }
    match (all_turned, tell.is_empty()) {
        (true, _) => Step::Finish,
        (false, true) => Step::Wait,
        (false, false) => Step::Tell(tell),
    }
}

/// Nodes that have not turned, with the reason. Empty without a turn.
pub fn unfinished(cluster: &Cluster, nodes: &[Arc<Node>]) -> Vec<(NodeId, Waiting)> {
    let Some(rotation) = &cluster.root.rotation else { return Vec::new() };
    nodes.iter().filter_map(|node| Some((node.id, waiting(rotation, node)?))).collect()
}

fn waiting(rotation: &RootRotation, node: &Node) -> Option<Waiting> {
    let issued = pem::certificates(&node.certificate.chain)
        .ok()
        .and_then(|chain| chain::issuer(&chain, &rotation.certificate));
    let wanted = name_and_key(&rotation.certificate);
    let issued_by_new = issued.is_some() && issued == wanted;
    let reported = node.description.as_ref().is_some_and(|description| {
        wanted.as_ref().is_some_and(|(name, key)| {
            description.issuer_subject == *name && description.issuer_public_key == *key
        })
    });
    let trusts = node
        .description
        .as_ref()
        .is_some_and(|description| description.trust_root.contains(rotation.certificate.trim()));
    match (node.certificate.state, issued_by_new, reported, trusts) {
        (IssueState::Pending | IssueState::Rotate, _, _, _) => Some(Waiting::Renewing),
        (_, false, _, _) => Some(Waiting::Untold),
        (_, true, false, _) => Some(Waiting::Unreported),
        (_, true, true, false) => Some(Waiting::Trust),
        (_, true, true, true) => None,
    }
}

fn name_and_key(certificate: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let found = pem::certificates(certificate.as_bytes()).ok()?;
    peer::name_and_key(&found[0]).ok()
}

/// The root after a turn: the new one, with new join tokens, since tokens carry the root's digest.
pub fn finished(root: &RootCa, random: &dyn Random) -> RootCa {
    let Some(rotation) = &root.rotation else { return root.clone() };
    let digest = root::digest(rotation.certificate.as_bytes());
    let (issuer_subject, issuer_public_key) =
        name_and_key(&rotation.certificate).unwrap_or_default();
    RootCa {
        certificate: rotation.certificate.clone(),
        key: rotation.key.clone(),
        issuer_subject,
        issuer_public_key,
        digest: root::digest_text(rotation.certificate.as_bytes()),
        join_tokens: JoinTokens {
            worker: JoinToken::generate(digest, random).to_string(),
            manager: JoinToken::generate(digest, random).to_string(),
        },
        rotation: None,
        last_forced_rotation: root.last_forced_rotation,
    }
}

#[cfg(test)]
mod tests {
    use shoal_base::random::SystemRandom;
    use shoal_identity::PeerIdentity;
    use shoal_identity::request::NodeKey;
    use shoal_identity::root::Issue;
    use shoal_model::cluster::node::{NodeDescription, NodeRole};

    use super::*;
    use crate::ca::testing::{NOW, cluster, node};
    use crate::ca::{configure, issue, signing};

    fn turning() -> Cluster {
        let mut cluster = cluster();
        cluster.spec.ca.force_rotate = 1;
        cluster.root = configure::configure(&cluster, NOW, &SystemRandom).unwrap().root;
        cluster
    }

    /// A node with a certificate of the authority's present signer, reported with `trust`.
    fn member(number: u8, signed_by: &Cluster, trust: &str) -> Node {
        let mut node = node(number, NodeRole::Worker);
        let signer = signing::local_signer(signed_by, NOW).unwrap();
        let identity = PeerIdentity { node: node.id, role: node.role, cluster: signed_by.id };
        let expiry = signed_by.spec.ca.node_cert_expiry;
        let request = NodeKey::generate().unwrap().request().unwrap();
        let issue = Issue { identity, expiry, now: NOW };
        let chain = signer.sign(&request, issue, &SystemRandom).unwrap();
        let certificates = pem::certificates(chain.as_bytes()).unwrap();
        let bundle = issue::trust_bundle(&signed_by.root);
        let (subject, key) = chain::issuer(&certificates, &bundle).unwrap();
        node.certificate.chain = chain.into_bytes();
        node.description = Some(NodeDescription {
            trust_root: trust.to_owned(),
            issuer_subject: subject,
            issuer_public_key: key,
            ..NodeDescription::default()
        });
        node
    }

    #[test]
    fn each_node_is_told_once_and_the_turn_ends_when_all_have_turned() {
        let after = turning();
        let mut before = after.clone();
        before.root.rotation = None;
        let both = issue::trust_bundle(&after.root);
        let old = before.root.certificate.clone();

        let untold = member(1, &before, &old);
        let mut told = untold.clone();
        told.id = NodeId::from_bytes([2; 16]);
        told.certificate.state = IssueState::Rotate;
        let mut unreported = member(3, &after, &both);
        unreported.description = untold.description.clone();
        let distrusting = member(4, &after, &old);
        let turned = member(5, &after, &both);

        let nodes =
            [&untold, &told, &unreported, &distrusting, &turned].map(|node| Arc::new(node.clone()));
        let mut expected = untold.clone();
        expected.certificate.state = IssueState::Rotate;
        assert_eq!(plan(&after, &nodes), Step::Tell(vec![expected]));
        assert_eq!(
            unfinished(&after, &nodes),
            [
                (untold.id, Waiting::Untold),
                (told.id, Waiting::Renewing),
                (unreported.id, Waiting::Unreported),
                (distrusting.id, Waiting::Trust),
            ]
        );
        assert_eq!(plan(&after, &nodes[1..]), Step::Wait);
        assert_eq!(plan(&after, &nodes[4..]), Step::Finish);
        assert_eq!(plan(&before, &nodes), Step::Wait);
    }

    #[test]
    fn no_more_than_a_batch_is_told_at_one_time() {
        let cluster = turning();
        let nodes = (0..=u8::try_from(BATCH_MAX).unwrap())
            .map(|number| Arc::new(node(number, NodeRole::Worker)))
            .collect::<Vec<_>>();
        let Step::Tell(told) = plan(&cluster, &nodes) else { panic!("nobody was told") };
        assert_eq!(told.len(), BATCH_MAX);
    }

    #[test]
    fn afterwards_the_new_root_is_the_root_and_old_tokens_are_dead() {
        let cluster = turning();
        let rotation = cluster.root.rotation.clone().unwrap();
        let root = finished(&cluster.root, &SystemRandom);
        assert_eq!((&root.certificate, &root.key), (&rotation.certificate, &rotation.key));
        assert_eq!((root.rotation, root.last_forced_rotation), (None, 1));
        let digest = root::digest(rotation.certificate.as_bytes());
        for token in [&root.join_tokens.worker, &root.join_tokens.manager] {
            assert_eq!(JoinToken::parse(token).unwrap().digest(), &digest);
        }
        assert_ne!(root.join_tokens.worker, root.join_tokens.manager);
    }
}

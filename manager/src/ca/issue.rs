//! Who gets a certificate, and what is written down about it.
//!
//! Pure. Source: swarmkit `ca/server.go` `IssueNodeCertificate`, `issueRenewCertificate`.

use std::sync::Arc;

use shoal_identity::{pem, token};
use shoal_model::cluster::manager::RootCa;
use shoal_model::cluster::node::{Availability, IssueState, NodeCertificate, NodeRole};
use shoal_model::cluster::{Cluster, Node, NodeId, NodeSpec};
use shoal_model::error::{Classified, ErrorKind};

/// A request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    /// Docker's words.
    #[error("A valid join token is necessary to join this cluster")]
    Token,
    #[error("node {node} not found when attempting to renew certificate")]
    Unknown { node: NodeId },
    #[error("node `{node}` was removed from the cluster")]
    Revoked { node: NodeId },
}

impl Classified for Refusal {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Token => ErrorKind::InvalidArgument,
            Self::Unknown { .. } => ErrorKind::NotFound,
            Self::Revoked { .. } => ErrorKind::Forbidden,
        }
    }
}

/// What a joining node says.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// PEM of its request.
    pub request: &'a str,
    /// Its token.
    pub token: &'a str,
    /// Whether tasks may run there.
    pub availability: Availability,
}

/// What becomes of a request to join.
#[derive(Debug, Clone, PartialEq)]
pub enum Admission {
    /// The same request came before; this is its node.
    Known(NodeId),
    /// A new node, to be stored.
    New(Box<Node>),
}

/// Decides about a request to join; `fresh` is the id that a new node gets.
///
/// # Errors
/// When the token opens nothing.
pub fn admit(
    cluster: &Cluster,
    nodes: &[Arc<Node>],
    ask: Ask<'_>,
    fresh: NodeId,
) -> Result<Admission, Refusal> {
    let tokens = &cluster.root.join_tokens;
    let role = token::role_of(ask.token, &tokens.worker, &tokens.manager).ok_or(Refusal::Token)?;
    let same = |node: &&Arc<Node>| {
        node.certificate.request == ask.request.as_bytes() && node.certificate.role == role
    };
    if let Some(known) = nodes.iter().find(same) {
        return Ok(Admission::Known(known.id));
    }
    Ok(Admission::New(Box::new(new_node(fresh, role, ask))))
}

fn new_node(id: NodeId, role: NodeRole, ask: Ask<'_>) -> Node {
    let spec = NodeSpec { role, availability: ask.availability, ..NodeSpec::default() };
    Node { spec, certificate: pending(ask.request, role), ..Node::new(id, role) }
}

/// The node with a new request, in the role that it shall have; `None`: this request is already written down.
///
/// # Errors
/// When the node is not a member, or no longer.
pub fn renew(
    cluster: &Cluster,
    node: Option<&Node>,
    id: NodeId,
    request: &str,
) -> Result<Option<Node>, Refusal> {
    if cluster.revoked.iter().any(|(revoked, _)| *revoked == id) {
        return Err(Refusal::Revoked { node: id });
    }
    let node = node.ok_or(Refusal::Unknown { node: id })?;
    if node.certificate.request == request.as_bytes() {
        return Ok(None);
    }
    // The old chain stays until there is a new one: it says until when a removed node must be refused.
    let chain = node.certificate.chain.clone();
    let certificate = NodeCertificate { chain, ..pending(request, node.role) };
    Ok(Some(Node { certificate, ..node.clone() }))
}

fn pending(request: &str, role: NodeRole) -> NodeCertificate {
    NodeCertificate {
        request: request.as_bytes().to_vec(),
        chain: Vec::new(),
        state: IssueState::Pending,
        error: String::new(),
        role,
    }
}

/// The node with its certificate (PEM of the chain), or with the reason why it gets none.
pub fn answered(node: &Node, answer: Result<String, String>) -> Node {
    let mut node = node.clone();
    node.certificate.role = node.role;
    match answer {
        Ok(chain) => {
            node.certificate.chain = chain.into_bytes();
            node.certificate.state = IssueState::Issued;
            node.certificate.error = String::new();
        }
        Err(reason) => {
            node.certificate.state = IssueState::Failed;
            node.certificate.error = reason;
        }
    }
    node
}

/// PEM of what nodes shall trust: the root, and in a turn to another one that one too. The digest in join
/// tokens is that of the first alone, which [`RootCa::certificate`] is.
pub fn trust_bundle(root: &RootCa) -> String {
    let next = root.rotation.as_ref().map_or("", |rotation| &rotation.certificate);
    let bundle = format!("{}{next}", root.certificate);
    // As it is kept by nodes, so that texts can be compared.
    pem::certificates(bundle.as_bytes()).map_or(bundle, |certificates| pem::encode(&certificates))
}

#[cfg(test)]
mod tests {
    use shoal_model::Timestamp;
    use shoal_model::cluster::manager::RootRotation;

    use super::*;
    use crate::ca::testing::{cluster, node};

    fn ask<'a>(request: &'a str, token: &'a str) -> Ask<'a> {
        Ask { request, token, availability: Availability::Drain }
    }

    #[test]
    fn a_token_makes_a_node_of_its_role_that_waits_for_a_signature() {
        let (cluster, id) = (cluster(), NodeId::from_bytes([5; 16]));
        let token = cluster.root.join_tokens.manager.clone();
        let admission = admit(&cluster, &[], ask("request", &token), id).unwrap();
        let Admission::New(made) = admission else { panic!("{admission:?}") };
        assert_eq!(
            (
                made.id,
                made.role,
                made.spec.role,
                made.spec.availability,
                made.certificate.is_asked_for()
            ),
            (id, NodeRole::Manager, NodeRole::Manager, Availability::Drain, true)
        );
        assert_eq!(made.certificate, pending("request", NodeRole::Manager));
    }

    #[test]
    fn a_wrong_token_is_refused_in_dockers_words() {
        let cluster = cluster();
        for wrong in ["", "SWMTKN-1-x-y", &cluster.root.join_tokens.worker.replace('-', "_")] {
            let refusal = admit(&cluster, &[], ask("r", wrong), NodeId::from_bytes([5; 16]));
            let refusal = refusal.unwrap_err();
            assert_eq!(refusal.to_string(), "A valid join token is necessary to join this cluster");
            assert_eq!(refusal.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn a_repeated_request_is_the_same_node_and_with_another_role_it_is_not() {
        let cluster = cluster();
        let mut known = node(3, NodeRole::Worker);
        known.certificate = pending("request", NodeRole::Worker);
        let nodes = [Arc::new(known)];
        let fresh = NodeId::from_bytes([5; 16]);
        let admitted = |token: &str| admit(&cluster, &nodes, ask("request", token), fresh).unwrap();
        let tokens = &cluster.root.join_tokens;
        assert_eq!(admitted(&tokens.worker), Admission::Known(nodes[0].id));
        assert!(matches!(admitted(&tokens.manager), Admission::New(_)));
    }

    #[test]
    fn a_renewal_takes_the_role_that_the_node_shall_have_and_keeps_the_old_chain() {
        let cluster = cluster();
        let mut old = node(3, NodeRole::Worker);
        old.certificate.chain = b"old".to_vec();
        old.role = NodeRole::Manager;
        let renewed = renew(&cluster, Some(&old), old.id, "new").unwrap().unwrap();
        let expected =
            NodeCertificate { chain: b"old".to_vec(), ..pending("new", NodeRole::Manager) };
        assert_eq!(renewed.certificate, expected);
        assert_eq!(renew(&cluster, Some(&renewed), old.id, "new").unwrap(), None);
    }

    #[test]
    fn strangers_and_removed_nodes_renew_nothing() {
        let mut cluster = cluster();
        let node = node(3, NodeRole::Worker);
        assert_eq!(
            renew(&cluster, None, node.id, "r").unwrap_err(),
            Refusal::Unknown { node: node.id }
        );
        cluster.revoked.push((node.id, Timestamp::from_nanos(0)));
        assert_eq!(
            renew(&cluster, Some(&node), node.id, "r").unwrap_err(),
            Refusal::Revoked { node: node.id }
        );
    }

    #[test]
    fn an_answer_ends_the_wait() {
        let mut waiting = node(3, NodeRole::Worker);
        waiting.certificate = pending("request", NodeRole::Worker);
        let issued = answered(&waiting, Ok("chain".to_owned()));
        assert_eq!(
            (issued.certificate.state, issued.certificate.is_asked_for()),
            (IssueState::Issued, false)
        );
        assert_eq!(issued.certificate.chain, b"chain");
        let failed = answered(&waiting, Err("because".to_owned()));
        assert_eq!(
            (failed.certificate.state, failed.certificate.is_asked_for()),
            (IssueState::Failed, false)
        );
        assert_eq!(failed.certificate.error, "because");
    }

    #[test]
    fn the_bundle_has_both_roots_in_a_turn() {
        let mut cluster = cluster();
        let old = cluster.root.certificate.clone();
        assert_eq!(trust_bundle(&cluster.root), old);
        let new = crate::ca::testing::cluster().root.certificate;
        let rotation = RootRotation { certificate: new.clone(), ..RootRotation::default() };
        cluster.root.rotation = Some(rotation);
        assert_eq!(trust_bundle(&cluster.root), format!("{old}{new}"));
    }
}

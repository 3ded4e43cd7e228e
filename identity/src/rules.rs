//! Who may call what between nodes: the one table.
//!
//! Pure. A method without a row is refused, and a test compares the table with the protocol files.

use shoal_model::cluster::node::NodeRole;

use crate::peer::PeerIdentity;

/// Whom a method serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// Anyone who reaches the port: the method checks a token or a proof itself, or tells no secret.
    Anyone,
    /// Every node of the cluster.
    Node,
    /// Managers of the cluster.
    Manager,
}

use Allowed::{Anyone, Manager, Node};

/// Ordered by path.
const TABLE: &[(&str, Allowed)] = &[
    ("/shoal.ca.v1.Ca/GetRootCertificate", Anyone),
    ("/shoal.ca.v1.Ca/GetUnlockKey", Manager),
    ("/shoal.ca.v1.Ca/IssueNodeCertificate", Anyone),
    ("/shoal.ca.v1.Ca/NodeCertificateStatus", Anyone),
    ("/shoal.dispatcher.v1.Dispatcher/AcknowledgeViews", Node),
    ("/shoal.dispatcher.v1.Dispatcher/Assignments", Node),
    ("/shoal.dispatcher.v1.Dispatcher/Attach", Node),
    ("/shoal.dispatcher.v1.Dispatcher/Detach", Node),
    ("/shoal.dispatcher.v1.Dispatcher/Heartbeat", Node),
    ("/shoal.dispatcher.v1.Dispatcher/Session", Node),
    ("/shoal.dispatcher.v1.Dispatcher/UpdateDescription", Node),
    ("/shoal.dispatcher.v1.Dispatcher/UpdateStatuses", Node),
    ("/shoal.dispatcher.v1.Liveness/AwaitViews", Manager),
    ("/shoal.dispatcher.v1.Liveness/Report", Manager),
    ("/shoal.membership.v1.Membership/Consensus", Manager),
    ("/shoal.membership.v1.Membership/Join", Manager),
    ("/shoal.node.v1.Node/Archive", Manager),
    ("/shoal.node.v1.Node/Attach", Manager),
    ("/shoal.node.v1.Node/ExecCreate", Manager),
    ("/shoal.node.v1.Node/ExecInspect", Manager),
    ("/shoal.node.v1.Node/ExecResize", Manager),
    ("/shoal.node.v1.Node/ExecStart", Manager),
    ("/shoal.node.v1.Node/Logs", Manager),
    ("/shoal.node.v1.Node/Stats", Manager),
    ("/shoal.node.v1.Node/Unarchive", Manager),
    ("/shoal.node.v1.Node/Visit", Manager),
    ("/shoal.raft.v1.Raft/Append", Manager),
    ("/shoal.raft.v1.Raft/InstallSnapshot", Manager),
    ("/shoal.raft.v1.Raft/PreVote", Manager),
    ("/shoal.raft.v1.Raft/TransferLeader", Manager),
    ("/shoal.raft.v1.Raft/Vote", Manager),
    ("/shoal.store.v1.Store/Propose", Manager),
    ("/shoal.store.v1.Store/ReadIndex", Manager),
];

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Refusal {
    #[error("no rule says who may call `{path}`")]
    NoRule { path: String },
    #[error("`{path}` needs a certificate of the cluster")]
    NoCertificate { path: String },
    #[error("`{path}` is for managers, and the caller is a worker")]
    NotManager { path: String },
}

/// Decides about a call of `path` by `caller` (`None`: without certificate).
///
/// # Errors
/// When it is refused.
pub fn decide(path: &str, caller: Option<PeerIdentity>) -> Result<(), Refusal> {
    let row = TABLE.binary_search_by(|(row, _)| row.cmp(&path));
    let Ok(row) = row else { return Err(Refusal::NoRule { path: path.to_owned() }) };
    match (TABLE[row].1, caller.map(|caller| caller.role)) {
        (Anyone, _) | (Node, Some(_)) | (Manager, Some(NodeRole::Manager)) => Ok(()),
        (Node | Manager, None) => Err(Refusal::NoCertificate { path: path.to_owned() }),
        (Manager, Some(NodeRole::Worker)) => Err(Refusal::NotManager { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::identity;

    /// Paths of all methods in the protocol files.
    fn methods() -> BTreeSet<String> {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../proto/protos");
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(directory).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let (mut package, mut service) = ("", "");
            for line in text.lines() {
                let mut words = line.trim().split([' ', '(', ';', '{']);
                match (words.next(), words.next()) {
                    (Some("package"), Some(name)) => package = name,
                    (Some("service"), Some(name)) => service = name,
                    (Some("rpc"), Some(name)) => {
                        found.insert(format!("/{package}.{service}/{name}"));
                    }
                    _ => {}
                }
            }
        }
        found
    }

    #[test]
    fn every_method_has_a_row() {
        let methods = methods();
        assert!(methods.contains("/shoal.store.v1.Store/Propose"), "the files were read");
        let rows = TABLE.iter().map(|(path, _)| (*path).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(methods.difference(&rows).collect::<Vec<_>>(), Vec::<&String>::new());
    }

    #[test]
    fn no_row_of_a_known_service_names_a_method_that_is_gone() {
        let methods = methods();
        let service = |path: &str| path.rsplit_once('/').unwrap().0.to_owned();
        let services = methods.iter().map(|path| service(path)).collect::<BTreeSet<_>>();
        let stale = TABLE
            .iter()
            .map(|(path, _)| *path)
            .filter(|path| services.contains(&service(path)) && !methods.contains(*path));
        assert_eq!(stale.collect::<Vec<_>>(), Vec::<&str>::new());
    }

    #[test]
    fn rows_are_in_order_and_single() {
        assert!(TABLE.is_sorted_by(|left, right| left.0 < right.0));
    }

    #[test]
    fn strangers_may_call_what_lets_them_join_and_nothing_else() {
        let open = TABLE.iter().filter(|(path, _)| decide(path, None).is_ok());
        assert_eq!(
            open.map(|(path, _)| *path).collect::<Vec<_>>(),
            [
                "/shoal.ca.v1.Ca/GetRootCertificate",
                "/shoal.ca.v1.Ca/IssueNodeCertificate",
                "/shoal.ca.v1.Ca/NodeCertificateStatus",
            ]
        );
    }

    #[test]
    fn each_row_is_decided_by_the_role() {
        let (worker, manager) = (identity(NodeRole::Worker), identity(NodeRole::Manager));
        let told = |path: &str, caller| decide(path, caller).map_err(|refusal| refusal.to_string());
        let session = "/shoal.dispatcher.v1.Dispatcher/Session";
        let vote = "/shoal.raft.v1.Raft/Vote";
        assert_eq!(
            [
                told(session, Some(worker)),
                told(session, Some(manager)),
                told(vote, Some(manager)),
                told(vote, Some(worker)),
                told(vote, None),
                told("/shoal.raft.v1.Raft/Other", Some(manager)),
            ],
            [
                Ok(()),
                Ok(()),
                Ok(()),
                Err(format!("`{vote}` is for managers, and the caller is a worker")),
                Err(format!("`{vote}` needs a certificate of the cluster")),
                Err("no rule says who may call `/shoal.raft.v1.Raft/Other`".to_owned()),
            ]
        );
    }
}

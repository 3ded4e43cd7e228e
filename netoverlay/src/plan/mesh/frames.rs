//! The table of frames that leave by the mesh's bridge.

use shoal_model::cluster::NodeId;
use shoal_model::cluster::mesh::Mesh;

use super::{Marks, NOWHERE, node_mac, others};
use crate::plan::ruleset::{
    Base, Chain, ChainKind, Data, Expression, FieldType, Hook, Map, Rule, Ruleset,
};

/// Map of marks to the nodes that they mean.
const PEER: &str = "peer";

/// Gives frames to nowhere the destination that their mark says. The mark ends here: what carries the frame would
/// have it too, and come back.
pub fn frames(mesh: &Mesh, own: NodeId, marks: Marks) -> Ruleset {
    let peers = others(mesh, own).map(|node| {
        let mark = marks.of(node.index).to_ne_bytes().to_vec();
        (mark, Data::Bytes(node_mac(node.index).0.to_vec()))
    });
    let peers =
        Map { key: vec![FieldType::Slot], data: vec![FieldType::Mac], elements: peers.collect() };
    let rewrite = Expression::RewriteFrame(marks.mask(), PEER.to_owned());
    let leaving = Chain {
        base: Some(Base { kind: ChainKind::Filter, hook: Hook::Egress, priority: 0 }),
        rules: vec![
            Rule(vec![Expression::FrameTo(NOWHERE), rewrite]),
            Rule(vec![Expression::ClearMark(marks.mask())]),
        ],
    };
    Ruleset {
        chains: [("leaving".to_owned(), leaving)].into(),
        maps: [(PEER.to_owned(), peers)].into(),
    }
}

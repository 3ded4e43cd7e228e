//! Backups that come back, and those that must not.

use std::sync::Arc;

use shoal_base::random::{SharedRandom, SystemRandom};
use shoal_manager_core::store::codec::SnapshotWriter;
use shoal_manager_core::store::{State, Txn};
use shoal_model::cluster::node::NodeRole;

use super::*;
use crate::ca::testing::{NOW, cluster, node};

const PASSPHRASE: &str = "correct horse";

fn random() -> SharedRandom {
    Arc::new(SystemRandom)
}

fn state() -> State {
    let mut state = State::default();
    let mut txn = Txn::new(&state, NOW);
    txn.put_cluster(cluster()).unwrap();
    for number in 1..200 {
        let mut node = node(number, NodeRole::Worker);
        // More than one block of state.
        node.certificate.chain = vec![number; 4096];
        txn.put_node(node).unwrap();
    }
    state.apply(41, &txn.finish()).unwrap();
    state
}

fn sealed(state: &State) -> Vec<Vec<u8>> {
    let cluster = state.cluster().unwrap().id;
    let sealing = Sealing::new(state.clone(), cluster, PASSPHRASE, NOW, &random()).unwrap();
    sealing.collect::<Result<_, _>>().unwrap()
}

fn open(bytes: &[u8], step: usize) -> Result<(Header, State), Error> {
    let mut opening = Opening::new(PASSPHRASE.to_owned(), random());
    for piece in bytes.chunks(step) {
        opening.push(piece)?;
    }
    opening.finish()
}

fn snapshot(state: &State) -> Vec<u8> {
    SnapshotWriter::new(state.clone()).flat_map(Result::unwrap).collect()
}

#[test]
fn a_backup_comes_back_whole_in_pieces_of_any_size() {
    let state = state();
    let pieces = sealed(&state);
    assert!(pieces.len() > 4, "header, several blocks, end: {}", pieces.len());
    for step in [997, 1 << 20] {
        let (header, back) = open(&pieces.concat(), step).unwrap();
        assert_eq!((header.cluster, header.created, header.index), (cluster().id, NOW, 41));
        assert_eq!(snapshot(&back), snapshot(&state));
    }
}

#[test]
fn a_wrong_passphrase_opens_nothing_and_nothing_is_readable() {
    let state = state();
    let bytes = sealed(&state).concat();
    let mut opening = Opening::new("wrong horse".to_owned(), random());
    assert!(matches!(opening.push(&bytes).unwrap_err(), Error::Passphrase(_)));
    let key = state.cluster().unwrap().root.key.as_bytes()[30..60].to_vec();
    assert!(!bytes.windows(key.len()).any(|window| window == key), "the key of the root is sealed");
    let short = Sealing::new(state, cluster().id, "short", NOW, &random());
    assert!(matches!(short.unwrap_err(), Error::ShortPassphrase));
}

#[test]
fn what_is_changed_left_out_moved_or_cut_is_refused() {
    let pieces = sealed(&state());
    let refused = |pieces: Vec<&[u8]>| open(&pieces.concat(), 1 << 20).unwrap_err().to_string();
    let all = || pieces.iter().map(Vec::as_slice).collect::<Vec<_>>();
    let mut left_out = all();
    left_out.remove(2);
    assert_eq!(refused(left_out), "backup is damaged in block 1");
    let mut moved = all();
    moved.swap(2, 3);
    assert_eq!(refused(moved), "backup is damaged in block 1");
    let mut cut = all();
    cut.pop();
    assert_eq!(refused(cut), "backup ends before its end: it is truncated");
    let mut longer = all();
    longer.push(b"more");
    assert!(refused(longer).starts_with("backup is damaged in block"));
    let mut changed = pieces[1].clone();
    changed[100] ^= 1;
    assert_eq!(
        refused(vec![&pieces[0], &changed]),
        "backup cannot be opened: the passphrase is wrong, or the file is damaged"
    );
    assert_eq!(refused(vec![b"something else"]), "this is no backup of a cluster");
    let header = String::from_utf8_lossy(&pieces[0]).replace("65536", "99999999").into_bytes();
    assert!(open(&header, 1 << 20).is_err());
}

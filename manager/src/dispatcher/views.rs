//! Views of networks on their way to sessions: each change is made once, whoever wants it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use shoal_manager_core::store::State;
use shoal_manager_core::view::network_view;
use shoal_model::cluster::ClusterNetworkId;
use shoal_proto::dispatcher::{AssignmentsMessage, NetworkView as Message};
use shoal_proto::view::Tallied;

/// Changes that a session may be behind; beyond that it gets the whole view.
const CHANGES_MAX: usize = 64;

/// The newest view of each network that somebody asked for.
#[derive(Debug, Default)]
pub(super) struct Views {
    known: Mutex<BTreeMap<ClusterNetworkId, Known>>,
}

#[derive(Debug)]
struct Known {
    /// Of the state that it was last compared with.
    index: u64,
    tallied: Tallied,
    /// What led here, oldest first: each goes on from the version of the one before.
    changes: VecDeque<Message>,
    /// Made when it is first wanted at this version.
    whole: Option<Message>,
}

impl Known {
    fn version(&self) -> u64 {
        self.tallied.view().version
    }

    fn advance(&mut self, state: &State, network: ClusterNetworkId) {
        self.index = state.index();
        let Some(change) = self.tallied.advance(network_view(state, network)) else { return };
        self.whole = None;
        self.changes.push_back(change);
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }

    fn whole(&mut self) -> Message {
        self.whole.get_or_insert_with(|| self.tallied.whole()).clone()
    }

    /// What leads on from a version; the whole view when that is too long ago.
    fn since(&mut self, version: u64) -> Vec<Message> {
        if version == self.version() {
            return Vec::new();
        }
        match self.changes.iter().position(|change| change.base == version) {
            Some(first) => self.changes.iter().skip(first).cloned().collect(),
            None => vec![self.whole()],
        }
    }

    /// `None`: too long ago to tell.
    fn digest_at(&self, version: u64) -> Option<Bytes> {
        if version == self.version() {
            return Some(self.tallied.digest().to_bytes().to_vec().into());
        }
        let change = self.changes.iter().find(|change| change.version == version);
        change.map(|change| change.digest.clone())
    }
}

impl Views {
    fn known(&self) -> MutexGuard<'_, BTreeMap<ClusterNetworkId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What leads from the version that a session was told to the view at `state`, and the version that it is.
    fn since(
        &self,
        state: &State,
        network: ClusterNetworkId,
        told: Option<u64>,
    ) -> (Vec<Message>, u64) {
        let mut views = self.known();
        if let Some(known) = views.get_mut(&network) {
            if known.index < state.index() {
                known.advance(state, network);
            }
        } else {
            views.retain(|id, _| state.network(*id).is_some());
            let (tallied, whole) = Tallied::new(network_view(state, network));
            let known = Known {
                index: state.index(),
                tallied,
                changes: VecDeque::new(),
                whole: Some(whole),
            };
            views.insert(network, known);
        }
        let Some(known) = views.get_mut(&network) else { return (Vec::new(), 0) };
        let messages = match told {
            Some(version) => known.since(version),
            None => vec![known.whole()],
        };
        (messages, known.version())
    }

    /// Whether a digest that a node says for a version is certainly not the one of that view.
    pub(super) fn differs(&self, network: ClusterNetworkId, version: u64, digest: &[u8]) -> bool {
        let views = self.known();
        let expected = views.get(&network).and_then(|known| known.digest_at(version));
        !digest.is_empty() && expected.is_some_and(|expected| expected[..] != *digest)
    }
}

/// The view of a network that a session was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) version: u64,
    /// Of the newest state with which that view is up to date, as far as was looked.
    pub(super) index: u64,
}

/// Which views a session was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    seen: BTreeMap<ClusterNetworkId, Seen>,
}

impl Told {
    /// What to tell, of the networks that the node's tasks are on. `touched`: only these may have changed; `None`: all.
    pub(super) fn changed(
        &mut self,
        views: &Views,
        state: &State,
        networks: impl Iterator<Item = ClusterNetworkId>,
        touched: Option<&BTreeSet<ClusterNetworkId>>,
    ) -> Vec<Message> {
        let held: BTreeSet<_> = networks.collect();
        self.seen.retain(|network, _| held.contains(network));
        let mut changed = Vec::new();
        for network in held {
            let told = self.seen.get(&network).map(|seen| seen.version);
            if told.is_some() && touched.is_some_and(|touched| !touched.contains(&network)) {
                continue;
            }
            let (messages, version) = views.since(state, network, told);
            self.seen.insert(network, Seen { version, index: state.index() });
            changed.extend(messages);
        }
        changed
    }

    /// The node has something else: it gets the whole view at the next occasion.
    pub(super) fn forget(&mut self, network: ClusterNetworkId) {
        self.seen.remove(&network);
    }

    /// The views.
    pub(super) fn seen(&self) -> &BTreeMap<ClusterNetworkId, Seen> {
        &self.seen
    }
}

/// Puts views into the last of the messages of one change.
pub(super) fn with_views(
    mut messages: Vec<AssignmentsMessage>,
    views: Vec<Message>,
) -> Vec<AssignmentsMessage> {
    if let Some(last) = messages.last_mut() {
        last.views = views;
    }
    messages
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_manager_core::store::{Change, Transaction};
    use shoal_model::cluster::Cluster;

    use super::*;
    use crate::ca::testing;

    fn network() -> ClusterNetworkId {
        ClusterNetworkId::from_bytes([1; 16])
    }

    /// Makes the view of every network another one.
    fn change(state: &mut State, port: u16) {
        let cluster = state.cluster().map_or_else(testing::cluster, |one| Cluster::clone(one));
        let cluster = Cluster { data_path_port: port, ..cluster };
        let changes = vec![Change::PutCluster(Arc::new(cluster))];
        let transaction = Transaction { changes, ..Transaction::default() };
        state.apply(state.index() + 1, &transaction).unwrap();
    }

    #[test]
    fn a_session_is_told_what_it_does_not_know() {
        let (views, mut state) = (Views::default(), State::default());
        let network = network();
        let mut told = Told::default();
        let count = |told: &mut Told, state: &State, touched: Option<&BTreeSet<_>>| {
            told.changed(&views, state, [network].into_iter(), touched).len()
        };
        let nothing = BTreeSet::new();
        assert_eq!(count(&mut told, &state, Some(&nothing)), 1, "a network that is new to it");
        assert_eq!(count(&mut told, &state, None), 0);
        state.skip(5);
        assert_eq!(count(&mut told, &state, None), 0, "it says the same at a later index");
        assert_eq!(told.changed(&views, &state, std::iter::empty(), None), []);
        assert_eq!(count(&mut told, &state, Some(&nothing)), 1, "told again after it was left");
    }

    #[test]
    fn a_network_that_was_not_looked_at_is_seen_as_it_was() {
        let (views, mut state) = (Views::default(), State::default());
        let mut told = Told::default();
        let mut look = |state: &State, touched: Option<&BTreeSet<_>>| {
            let told_of = told.changed(&views, state, [network()].into_iter(), touched).len();
            (told_of, told.seen()[&network()])
        };
        change(&mut state, 1);
        let first = Seen { version: 1, index: 1 };
        assert_eq!(look(&state, None), (1, first));
        // Woken for something else, with a view in which the network has changed.
        change(&mut state, 2);
        assert_eq!(look(&state, Some(&BTreeSet::new())), (0, first));
        let touched = BTreeSet::from([network()]);
        assert_eq!(look(&state, Some(&touched)), (1, Seen { version: 2, index: 2 }));
    }

    #[test]
    fn who_was_told_gets_changes_and_who_is_far_behind_the_whole_view() {
        let (views, mut state) = (Views::default(), State::default());
        let told = |told: &mut Told, state: &State| {
            let messages = told.changed(&views, state, [network()].into_iter(), None);
            messages.iter().map(|view| (view.base, view.version)).collect::<Vec<_>>()
        };
        let (mut near, mut far) = (Told::default(), Told::default());
        change(&mut state, 1);
        assert_eq!(told(&mut near, &state), [(0, 1)]);
        assert_eq!(told(&mut far, &state), [(0, 1)]);
        change(&mut state, 2);
        let mut other = Told::default();
        assert_eq!(told(&mut other, &state), [(0, 2)]);
        change(&mut state, 3);
        assert_eq!(told(&mut other, &state), [(2, 3)]);
        assert_eq!(told(&mut near, &state), [(1, 2), (2, 3)], "it was behind by two");
        for port in 4..80 {
            change(&mut state, port);
            told(&mut near, &state);
        }
        assert_eq!(told(&mut far, &state), [(0, 79)]);
    }

    #[test]
    fn a_digest_is_compared_with_that_of_its_version() {
        let (views, mut state) = (Views::default(), State::default());
        change(&mut state, 1);
        let (first, _) = views.since(&state, network(), None);
        change(&mut state, 2);
        let (second, _) = views.since(&state, network(), None);
        let differs = |version, digest: &[u8]| views.differs(network(), version, digest);
        assert!(!differs(2, &second[0].digest) && differs(2, &first[0].digest));
        assert!(!differs(1, &first[0].digest), "what no change says any more is not judged");
        assert!(!differs(2, &[]), "nothing is said");
        change(&mut state, 3);
        views.since(&state, network(), None);
        assert!(differs(2, &first[0].digest) && !differs(2, &second[0].digest));
    }
}

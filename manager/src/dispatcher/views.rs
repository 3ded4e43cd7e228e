//! Views of networks on their way to sessions: each is made once per change, whoever wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use shoal_manager_core::store::State;
use shoal_manager_core::view::network_view;
use shoal_model::cluster::{ClusterNetworkId, NetworkView};
use shoal_proto::codec;
use shoal_proto::dispatcher::{AssignmentsMessage, NetworkView as Encoded};

/// The newest view of each network that somebody asked for.
#[derive(Debug, Default)]
pub(super) struct Views {
    known: Mutex<BTreeMap<ClusterNetworkId, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    /// Of the state that it was last compared with.
    index: u64,
    view: Arc<NetworkView>,
    bytes: Bytes,
}

impl Views {
    /// The view of a network at `state`; the same one as before while it says the same.
    fn get(&self, state: &State, network: ClusterNetworkId) -> Known {
        let mut views = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = views.get(&network)
            && known.index >= state.index()
        {
            return known.clone();
        }
        let view = network_view(state, network);
        let known = match views.get(&network) {
            Some(known) if known.view.says_the_same(&view) => {
                Known { index: state.index(), ..known.clone() }
            }
            _ => Known { index: state.index(), bytes: codec::encode(&view), view: Arc::new(view) },
        };
        views.insert(network, known.clone());
        views.retain(|id, _| *id == network || state.network(*id).is_some());
        known
    }
}

/// Which views a session was told.
#[derive(Debug, Default)]
pub(super) struct Told {
    versions: BTreeMap<ClusterNetworkId, u64>,
}

impl Told {
    /// What to tell, of the networks that the node's tasks are on. `touched`: only these may have changed; `None`: all.
    pub(super) fn changed(
        &mut self,
        views: &Views,
        state: &State,
        networks: impl Iterator<Item = ClusterNetworkId>,
        touched: Option<&BTreeSet<ClusterNetworkId>>,
    ) -> Vec<Encoded> {
        let held: BTreeSet<_> = networks.collect();
        self.versions.retain(|network, _| held.contains(network));
        let mut changed = Vec::new();
        for network in held {
            let told = self.versions.get(&network).copied();
            if told.is_some() && touched.is_some_and(|touched| !touched.contains(&network)) {
                continue;
            }
            let known = views.get(state, network);
            let version = known.view.version;
            if told != Some(version) {
                self.versions.insert(network, version);
                let network = network.to_bytes().to_vec().into();
                changed.push(Encoded { network, version, view: known.bytes });
            }
        }
        changed
    }
}

/// Puts views into the last of the messages of one change.
pub(super) fn with_views(
    mut messages: Vec<AssignmentsMessage>,
    views: Vec<Encoded>,
) -> Vec<AssignmentsMessage> {
    if let Some(last) = messages.last_mut() {
        last.views = views;
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_told_what_it_does_not_know() {
        let (views, mut state) = (Views::default(), State::default());
        let network = ClusterNetworkId::from_bytes([1; 16]);
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
}

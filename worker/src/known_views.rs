//! The views of networks of one stream, as messages build them up. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use shoal_model::cluster::ClusterNetworkId;
use shoal_model::error::Chain;
use shoal_proto::codec;
use shoal_proto::dispatcher::NetworkView as ViewMessage;
use shoal_proto::view::{self, Tallied};

use crate::networks::ToldView;

/// The views of one stream as messages build them up.
#[derive(Debug, Default)]
pub(crate) struct KnownViews {
    views: BTreeMap<ClusterNetworkId, Tallied>,
    /// Written by a release that this one cannot read: asking again would bring the same.
    unreadable: BTreeSet<ClusterNetworkId>,
}

impl KnownViews {
    /// Takes messages in; the views that they lead to.
    ///
    /// # Errors
    /// When one does not fit what came before: the whole views are needed then.
    pub(crate) fn receive(
        &mut self,
        messages: &[ViewMessage],
    ) -> Result<Vec<ToldView>, view::Error> {
        let mut changed = BTreeSet::new();
        for message in messages {
            let id = codec::id(&message.network).map_err(|source| view::Error::Read { source })?;
            let network = ClusterNetworkId::from_bytes(id);
            if self.unreadable.contains(&network) {
                continue;
            }
            match Tallied::receive(self.views.remove(&network), message) {
                Ok(tallied) => {
                    self.views.insert(network, tallied);
                    changed.insert(network);
                }
                Err(error @ view::Error::Read { .. }) => {
                    tracing::error!(%network, error = %Chain(&error), "the view of a network cannot be read");
                    self.unreadable.insert(network);
                }
                Err(error) => return Err(error),
            }
        }
        let told = changed.iter().filter_map(|network| self.views.get(network));
        Ok(told
            .map(|tallied| ToldView {
                view: Arc::new(tallied.view().clone()),
                digest: tallied.digest().to_bytes().to_vec().into(),
            })
            .collect())
    }
}

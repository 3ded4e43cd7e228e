//! The worker's port to networks of the cluster, over `netoverlay` and the name server.

use std::sync::Arc;

use async_trait::async_trait;
use shoal_model::Failure;
use shoal_model::cluster::{ClusterNetworkId, NetworkView, NodeId};
use shoal_netoverlay::dns::Dns;
use shoal_netoverlay::network::Driver;
use shoal_netoverlay::network_id;
use shoal_worker::networks::Networks;

/// Networks of the cluster on this host.
#[derive(Debug)]
pub(crate) struct HostOverlays {
    pub(crate) networks: shoal_netoverlay::Networks,
    pub(crate) names: Dns,
    pub(crate) node: NodeId,
}

#[async_trait]
impl Networks for HostOverlays {
    /// A name that is new is known once its addresses can be reached.
    async fn apply(&self, view: Arc<NetworkView>) -> Result<(), Failure> {
        // Tasks on the network of the routing mesh have nothing to do with each other, and no names there.
        let named = view.mesh.is_none().then(|| Arc::clone(&view));
        let network = network_id(view.network);
        let applied = self.networks.apply_view(view, self.node).await;
        // Nobody is led to what is gone, whatever the kernel says.
        self.names.show_cluster(network, named);
        Ok(applied?)
    }

    async fn leave(&self, network: ClusterNetworkId) -> Result<(), Failure> {
        let network = network_id(network);
        self.names.show_cluster(network.clone(), None);
        Ok(self.networks.leave_overlay(network).await?)
    }

    async fn leave_all(&self) -> Result<(), Failure> {
        let networks = self.networks.list();
        let overlays = networks.iter().filter(|network| network.spec.driver == Driver::Overlay);
        let mut first = Ok(());
        for network in overlays {
            self.names.show_cluster(network.id.clone(), None);
            let left = self.networks.leave_overlay(network.id.clone()).await;
            first = first.and(left);
        }
        // What was told of networks that had no part here yet.
        for view in self.networks.views() {
            first = first.and(self.networks.leave_overlay(network_id(view.network)).await);
        }
        Ok(first?)
    }
}

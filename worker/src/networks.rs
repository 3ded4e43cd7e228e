//! The port through which views of networks are put into effect, and the views on their way there.
//!
//! Only the newest view of a network counts: what comes while one is being put into effect waits, and replaces what
//! waited. What fails is tried again until something newer comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use shoal_base::SharedClock;
use shoal_model::cluster::{ClusterNetworkId, NetworkView};
use shoal_model::error::Failure;
use tokio::sync::Notify;

/// Before what failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Networks of the cluster on this node. The daemon adapts it. Calls follow each other.
#[async_trait]
pub trait Networks: Send + Sync + 'static {
    /// Makes a network as its view says. Doing it again changes nothing.
    async fn apply(&self, view: Arc<NetworkView>) -> Result<(), Failure>;

    /// No task of this node is on the network any more: it goes with the last container. Unknown is a success.
    async fn leave(&self, network: ClusterNetworkId) -> Result<(), Failure>;

    /// This node leaves the cluster: all its networks go.
    async fn leave_all(&self) -> Result<(), Failure>;
}

/// A view as a manager told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldView {
    /// The view.
    pub view: Arc<NetworkView>,
    /// Of its parts.
    pub digest: Bytes,
}

/// A view that is in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) version: u64,
    pub(crate) digest: Bytes,
}

/// What shall be, and what is.
#[derive(Debug, Default)]
pub(crate) struct Views {
    state: Mutex<State>,
    changed: Notify,
    /// More is in effect than before.
    done: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// `None`: to be left.
    wished: BTreeMap<ClusterNetworkId, Option<ToldView>>,
    /// The newest that was taken in.
    newest: BTreeMap<ClusterNetworkId, u64>,
    applied: BTreeMap<ClusterNetworkId, Applied>,
}

impl Views {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a view in. One that is older than what is known is of a manager that lags behind: it will send what it
    /// learns.
    pub(crate) fn put(&self, told: ToldView) {
        let (network, version) = (told.view.network, told.view.version);
        let mut state = self.state();
        let newest = state.newest.entry(network).or_insert(version);
        if *newest <= version {
            *newest = version;
            state.wished.insert(network, Some(told));
            self.changed.notify_one();
        }
    }

    /// No task is on the network any more.
    pub(crate) fn leave(&self, network: ClusterNetworkId) {
        let mut state = self.state();
        state.newest.remove(&network);
        state.applied.remove(&network);
        state.wished.insert(network, None);
        self.changed.notify_one();
    }

    /// What is in effect.
    pub(crate) fn applied(&self) -> BTreeMap<ClusterNetworkId, Applied> {
        self.state().applied.clone()
    }

    /// Returns once more is in effect than at the last return.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(crate) async fn progress(&self) {
        self.done.notified().await;
    }

    fn take(&self) -> BTreeMap<ClusterNetworkId, Option<ToldView>> {
        std::mem::take(&mut self.state().wished)
    }

    /// What was taken and failed, unless something newer waits.
    fn put_back(&self, network: ClusterNetworkId, view: Option<ToldView>) {
        self.state().wished.entry(network).or_insert(view);
    }

    fn done(&self, told: &ToldView) {
        let mut state = self.state();
        // It may have been left meanwhile.
        if state.newest.contains_key(&told.view.network) {
            let applied = Applied { version: told.view.version, digest: told.digest.clone() };
            state.applied.insert(told.view.network, applied);
            drop(state);
            self.done.notify_one();
        }
    }
}

/// Puts views into effect, for ever.
///
/// # Cancel safety
/// What was under way is asked for again by the next start.
pub(crate) async fn run(views: impl AsRef<Views>, networks: Arc<dyn Networks>, clock: SharedClock) {
    let views = views.as_ref();
    loop {
        let mut failed = false;
        for (network, view) in views.take() {
            let result = match &view {
                Some(told) => networks.apply(Arc::clone(&told.view)).await,
                None => networks.leave(network).await,
            };
            match (result, &view) {
                (Ok(()), Some(view)) => views.done(view),
                (Ok(()), None) => {}
                (Err(error), _) => {
                    tracing::warn!(%network, %error, "network is not as its view says; trying again");
                    views.put_back(network, view);
                    failed = true;
                }
            }
        }
        // What fails does not hold back the networks that do not.
        let again = async {
            if failed {
                clock.sleep(AGAIN).await;
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = views.changed.notified() => {}
            () = again => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: ClusterNetworkId = ClusterNetworkId::from_bytes([1; 16]);

    fn view(version: u64) -> ToldView {
        let view = NetworkView {
            network: NETWORK,
            version,
            data_path_port: 4789,
            endpoints: Vec::new(),
            services: Vec::new(),
            mesh: None,
        };
        ToldView { view: Arc::new(view), digest: vec![7].into() }
    }

    fn wished(views: &Views) -> Vec<Option<u64>> {
        views.take().into_values().map(|view| view.map(|told| told.view.version)).collect()
    }

    #[test]
    fn only_the_newest_view_counts() {
        let views = Views::default();
        views.put(view(5));
        views.put(view(7));
        views.put(view(6));
        assert_eq!(wished(&views), [Some(7)]);
        views.put(view(6));
        assert_eq!(wished(&views), [], "of a manager that lags behind");
        views.put(view(8));
        views.put_back(NETWORK, Some(view(7)));
        assert_eq!(wished(&views), [Some(8)], "what failed does not come before what is newer");
        views.done(&view(8));
        let applied = Applied { version: 8, digest: vec![7].into() };
        assert_eq!(views.applied(), BTreeMap::from([(NETWORK, applied)]));
        views.leave(NETWORK);
        views.done(&view(8));
        assert_eq!((wished(&views), views.applied().len()), (vec![None], 0));
        views.put(view(1));
        assert_eq!(wished(&views), [Some(1)], "a network that comes back begins anew");
    }
}

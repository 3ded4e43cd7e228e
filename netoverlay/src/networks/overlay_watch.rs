//! What somebody else changes in the namespace of an overlay network comes back by itself.

use std::sync::{Arc, Weak};
use std::time::Duration;

use shoal_base::blocking;
use shoal_base::tasks::TaskKind;
use shoal_model::NetworkId;
use tokio::sync::oneshot;

use super::Inner;
use crate::error::Error;
use crate::kernel::namespace::Namespace;
use crate::kernel::watch::RouteWatch;

/// The kernel does not say who changed an entry, so that our own changes lead here too: one look for all that come
/// within this time.
const SETTLE: Duration = Duration::from_secs(1);

/// Ends a watch when it is dropped.
#[derive(Debug)]
pub(super) struct Lifetime {
    _end: oneshot::Sender<()>,
}

impl Lifetime {
    /// The second part completes when the first is dropped.
    pub(super) fn new() -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (end, ended) = oneshot::channel();
        (Self { _end: end }, async move { drop(ended.await) })
    }
}

impl Inner {
    /// Watches the namespace of an overlay network.
    pub(super) fn watch_place(
        self: &Arc<Self>,
        network: &NetworkId,
        namespace: &Namespace,
    ) -> Result<Lifetime, Error> {
        let fail = |source| Error::OverlayNamespace {
            network: network.to_string(),
            step: "watch",
            source,
        };
        let socket = namespace.run(RouteWatch::socket).map_err(fail)?;
        let watch = socket.and_then(RouteWatch::new).map_err(Error::OpenHost)?;
        let (weak, clock) = (Arc::downgrade(self), self.ports.clock.clone());
        let network = network.clone();
        let (lifetime, ended) = Lifetime::new();
        self.ports.tasks.spawn(TaskKind::NetworkRepair, async move {
            let looking = async {
                while watch.changed().await.is_ok() {
                    clock.sleep(SETTLE).await;
                    if !look(&weak, network.clone()).await {
                        return;
                    }
                }
            };
            tokio::select! {
                () = looking => {}
                () = ended => {}
            }
        });
        Ok(lifetime)
    }
}

/// `false`: the networks are gone.
async fn look(weak: &Weak<Inner>, network: NetworkId) -> bool {
    let Some(inner) = weak.upgrade() else { return false };
    let name = network.clone();
    let looked = blocking::run("look at an overlay network", move || inner.mend_overlay(&network));
    match looked.await {
        Ok(Ok(false)) => {}
        Ok(Ok(true)) => {
            tracing::info!(network = %name, "overlay network changed by another program restored")
        }
        Ok(Err(error)) => {
            let error = shoal_model::error::Chain(&error).to_string();
            tracing::warn!(network = %name, error, "overlay network not restored");
        }
        Err(_) => return false,
    }
    true
}

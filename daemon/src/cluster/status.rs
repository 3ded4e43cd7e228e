//! How the cluster is, backups of it, and members that are none any more.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use shoal_api::ports::ByteStream;
use shoal_base::tasks::TaskKind;
use shoal_manager::backup::Sealing;
use shoal_manager::consensus::Overview as Consensus;
use shoal_manager::overview;
use shoal_model::cluster::NodeId;
use shoal_model::cluster::membership::{LocalState, Membership};
use shoal_model::cluster::overview::Overview;
use shoal_model::error::{ErrorKind, Failure};
use shoal_worker::agent::View;

use super::member::{Member, refused};
use super::survive::lost_job;
use super::{Current, Host};

/// The managers of which this node was told.
fn managers(view: &View) -> Vec<(NodeId, SocketAddr)> {
    let told = view.about.iter().flat_map(|about| &about.managers);
    let readable = |(node, address): (&NodeId, &String)| match address.parse() {
        Ok(address) => Some((*node, address)),
        Err(error) => {
            tracing::error!(manager = %node, address, %error, "a manager's address cannot be read");
            None
        }
    };
    told.filter_map(readable).collect()
}

impl Host {
    /// How the cluster is. Without a leader: as far as this manager knows.
    pub(super) async fn overview(&self) -> Result<Overview, Failure> {
        let manager = self.manager()?;
        let (state, consensus) = match manager.control.consensus().await {
            Ok(consensus) => match manager.store.read().await {
                Ok(state) => (state, consensus),
                Err(_) => (manager.store.view(), consensus),
            },
            Err(_) => (manager.store.view(), Consensus::alone(&manager.raft.status())),
        };
        let Some(cluster) = state.cluster() else {
            return Err(Failure::new(ErrorKind::Unavailable, "this manager has no cluster yet"));
        };
        let asked = manager.raft.member().node;
        let now = self.around.clock.now();
        let mut overview = overview::compose(&state, cluster, &consensus, asked, now);
        if let Some(reason) = manager.raft.status().disk_full {
            overview.warnings.push(format!("this manager cannot write: {reason}"));
        }
        Ok(overview)
    }

    /// All objects of the cluster, sealed with a passphrase.
    pub(super) async fn backup(&self, passphrase: String) -> Result<ByteStream, Failure> {
        let state = self.manager()?.store.read().await?;
        let Some(cluster) = state.cluster().map(|cluster| cluster.id) else {
            return Err(Failure::new(ErrorKind::Unavailable, "this manager has no cluster yet"));
        };
        let (now, random) = (self.around.clock.now(), self.around.random.clone());
        let sealing = shoal_base::blocking::run("begin backup", move || {
            Sealing::new(state, cluster, &passphrase, now, &random)
        });
        let sealing = sealing.await.map_err(|lost| lost_job(&lost))??;
        let pieces = stream::unfold(Some(sealing), |sealing| async {
            let mut sealing = sealing?;
            let made = shoal_base::blocking::run("write backup", move || {
                let piece = sealing.next();
                (piece, sealing)
            });
            match made.await {
                Ok((None, _)) => None,
                Ok((Some(Ok(piece)), sealing)) => Some((Ok(Bytes::from(piece)), Some(sealing))),
                Ok((Some(Err(error)), _)) => Some((Err(Failure::from(error)), None)),
                Err(lost) => Some((Err(lost_job(&lost)), None)),
            }
        });
        Ok(pieces.boxed())
    }

    /// What `docker info` and everybody else may know of this host's membership.
    pub(super) fn membership(&self) -> Membership {
        let mut membership = Membership::default();
        match self.current() {
            Current::Inactive => {}
            Current::Pending => membership.state = LocalState::Pending,
            Current::Locked => membership.state = LocalState::Locked,
            Current::Broken { message, .. } => {
                membership.state = LocalState::Error;
                membership.error = message;
            }
            Current::Member(member) => {
                membership.state = LocalState::Active;
                membership.node = Some(member.node());
                membership.is_manager = member.manager().is_some();
                let own = member.record().advertise;
                membership.address = own.ip().to_string();
                membership.managers = managers(&member.view().borrow());
                if membership.managers.is_empty() && membership.is_manager {
                    membership.managers = vec![(member.node(), own)];
                }
            }
        }
        membership
    }

    /// Has a member run, and looks out for its end: managers may have removed it while it was away.
    pub(super) fn adopt(self: &Arc<Self>, member: Arc<Member>) {
        let (view, node) = (member.view(), member.node());
        self.set(Current::Member(member));
        let host = Arc::clone(self);
        self.tasks.spawn(TaskKind::WorkerSession, async move {
            let Some(why) = refused(view, &host.around.clock).await else { return };
            let _permit = host.permit().await;
            let Current::Member(member) = host.current() else { return };
            // A manager's own word decides there.
            if member.node() != node || member.is_manager() {
                return;
            }
            tracing::error!(why, "this node is no member of the cluster any more; its tasks end");
            let message = format!(
                "this node was removed from the cluster: {why}. Leave it with `docker swarm leave`"
            );
            host.set(Current::Broken { message, expired: false });
            if let Err(error) = member.leave().await {
                tracing::error!(%error, "tasks of a cluster that removed this node stay behind");
            }
        });
    }
}

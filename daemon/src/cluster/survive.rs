//! A cluster that goes on with one manager: `--force-new-cluster`, and `restore` from a backup.

use std::sync::Arc;

use futures_util::StreamExt as _;
use shoal_api::ports::ByteStream;
use shoal_identity::Keeper;
use shoal_manager::assembly::{self, Manager, Survivor};
use shoal_manager::backup::Opening;
use shoal_manager_core::store::State;
use shoal_manager_raft::RaftId;
use shoal_model::cluster::node::{Availability, ManagerAddress};
use shoal_model::cluster::overview::Restore;
use shoal_model::cluster::request::Init;
use shoal_model::cluster::{Node, NodeId};
use shoal_model::error::{Chain, ErrorKind, Failure, Unfit};

use super::member::{Around, Member, start_manager};
use super::record::{Phase, Record};
use super::{Current, Host, LEAD_WAIT, addresses, found, unfit};

/// Starts a manager. One that is to be the only one first has the cluster say so; then the record does not any more,
/// and is written. `new`: the manager's node, when the cluster does not have it.
pub(super) async fn start(
    record: &mut Record,
    keeper: &Keeper,
    new: Option<Box<Node>>,
    around: &Around,
) -> Result<Manager, Failure> {
    let manager = start_manager(record, keeper.clone(), around).await?;
    if record.alone
        && let Err(error) = take_over(&manager, record, keeper, new, around).await
    {
        manager.shut_down().await;
        return Err(error);
    }
    Ok(manager)
}

async fn take_over(
    manager: &Manager,
    record: &mut Record,
    keeper: &Keeper,
    new: Option<Box<Node>>,
    around: &Around,
) -> Result<(), Failure> {
    let survivor = Survivor {
        node: keeper.credentials().identity().node,
        manager: ManagerAddress { raft_id: record.raft_id, address: record.advertise },
        new,
    };
    tokio::select! {
        taken = manager.take_over(&survivor) => taken?,
        () = around.clock.sleep(LEAD_WAIT) => return Err(Failure::new(
            ErrorKind::DeadlineExceeded,
            "the only manager did not lead in time",
        )),
    }
    record.alone = false;
    record.phase = Phase::Member;
    around.directory.write(record)
}

impl Host {
    /// Takes this manager for the only one; the others are lost. What the cluster holds stays.
    pub(super) async fn force_new_cluster(
        self: &Arc<Self>,
        request: &Init,
    ) -> Result<NodeId, Failure> {
        let member = match self.current() {
            Current::Member(member) if member.is_manager() => member,
            Current::Member(_) => return Err(unfit(Unfit::Worker)),
            Current::Locked => return Err(unfit(Unfit::Locked)),
            Current::Broken { expired: true, .. } => return Err(unfit(Unfit::Expired)),
            Current::Broken { .. } | Current::Pending | Current::Inactive => {
                return Err(unfit(Unfit::NotAMember));
            }
        };
        let host = addresses::of_host()?;
        let listen = addresses::listen(&request.listen, &host)?;
        let advertise = addresses::advertise(&request.advertise, listen, &host)?;
        let data_path = addresses::data_path(&request.data_path, &host)?;
        let (keeper, before) = (member.keeper.clone(), member.record());
        let mut record = before.clone();
        record.listen = listen;
        record.advertise = advertise;
        if let Some(data_path) = data_path {
            record.data_path = Some(data_path);
        }
        record.remotes = Vec::new();
        record.alone = true;
        tracing::warn!("--force-new-cluster: this manager goes on alone");
        self.set(Current::Pending);
        member.stop().await;
        // Its files must be free before they are opened again.
        drop(member);
        let forced = match self.around.directory.write(&record) {
            Ok(()) => self.run(keeper, record).await,
            Err(error) => Err(error),
        };
        match forced {
            Ok(Current::Member(member)) => {
                let node = member.node();
                self.adopt(member);
                Ok(node)
            }
            Ok(_) => Err(Failure::new(ErrorKind::Internal, "not a member")),
            Err(error) => {
                tracing::error!(%error, "--force-new-cluster failed; going on as before");
                match self.around.directory.write(&before) {
                    Ok(()) => self.resume(before, None).await,
                    Err(error) => {
                        let message = error.chain();
                        self.set(Current::Broken { message, expired: false });
                    }
                }
                Err(error)
            }
        }
    }

    /// Makes a cluster of one manager, this one, from a backup. Gives its node.
    pub(super) async fn restore(
        self: &Arc<Self>,
        request: Restore,
        backup: ByteStream,
    ) -> Result<NodeId, Failure> {
        let _permit = self.permit().await;
        if !matches!(self.current(), Current::Inactive) {
            return Err(unfit(Unfit::AlreadyAMember));
        }
        let host = addresses::of_host()?;
        let listen = addresses::listen(&request.listen, &host)?;
        let advertise = addresses::advertise(&request.advertise, listen, &host)?;
        let data_path = addresses::data_path(&request.data_path, &host)?;
        let state = self.open_backup(request.passphrase, backup).await?;
        let raft_id = RaftId::random(&*self.around.random);
        let mut record = Record::new(Phase::Initializing, listen, advertise, raft_id.0);
        record.data_path = data_path;
        record.alone = true;
        self.set(Current::Pending);
        match self.begin_restored(state, record, advertise, data_path).await {
            Ok(member) => {
                let (node, mut view) = (member.node(), member.view());
                self.adopt(member);
                tokio::select! {
                    _ = view.wait_for(|view| view.session.is_some()) => {}
                    () = self.around.clock.sleep(LEAD_WAIT) => {}
                }
                Ok(node)
            }
            Err(error) => {
                if let Err(left) = self.forget() {
                    tracing::error!(error = %left, "a restore that failed left something behind");
                }
                self.set(Current::Inactive);
                Err(error)
            }
        }
    }

    async fn open_backup(
        &self,
        passphrase: String,
        mut backup: ByteStream,
    ) -> Result<State, Failure> {
        let mut opening = Opening::new(passphrase, self.around.random.clone());
        while let Some(bytes) = backup.next().await {
            let bytes = bytes?;
            let pushed = shoal_base::blocking::run("open backup", move || {
                let pushed = opening.push(&bytes);
                (opening, pushed)
            });
            let pushed = pushed.await.map_err(|lost| lost_job(&lost))?;
            opening = pushed.0;
            pushed.1?;
        }
        let (header, state) = opening.finish()?;
        tracing::info!(cluster = %header.cluster, index = header.index, "restoring a backup");
        Ok(state)
    }

    async fn begin_restored(
        &self,
        state: State,
        mut record: Record,
        advertise: std::net::SocketAddr,
        data_path: Option<std::net::IpAddr>,
    ) -> Result<Arc<Member>, Failure> {
        let around = &self.around;
        let Some(cluster) = state.cluster().cloned() else {
            return Err(Failure::invalid("there is no cluster in the backup"));
        };
        record.raft = cluster.spec.raft.clone();
        around.directory.write(&record)?;
        let manager = ManagerAddress { raft_id: record.raft_id, address: advertise };
        let (node, stored) = found::first_manager(
            &cluster,
            Availability::Active,
            manager,
            data_path,
            around.clock.now(),
            &*around.random,
        )?;
        let unlock = found::lock(&cluster).map(|lock| lock.key);
        self.files.save(&stored, unlock.as_ref())?;
        let keeper = Keeper::new(self.files.clone(), stored, unlock, around.clock.clone())?;
        let log = assembly::Log {
            directory: around.directory.raft(),
            raft_id: RaftId(record.raft_id),
            advertise: record.advertise.to_string(),
        };
        assembly::begin_with(log, &keeper, &around.random, around.disk.clone(), state).await?;
        let manager = start(&mut record, &keeper, Some(Box::new(node)), around).await?;
        self.start(keeper, record, Some(manager)).await
    }
}

pub(super) fn lost_job(lost: &shoal_base::blocking::Lost) -> Failure {
    Failure::new(ErrorKind::Internal, Chain(lost).to_string())
}

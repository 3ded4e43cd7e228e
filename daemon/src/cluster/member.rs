//! A node that is a member: its worker, and its manager while it has that role.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shoal_base::random::SharedRandom;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_base::{SharedClock, SharedDisk};
use shoal_engine::events::Bus;
use shoal_identity::Keeper;
use shoal_identity::renew::{Managers, Renewer};
use shoal_manager::assembly::{Manager, Options, Surroundings};
use shoal_manager_raft::{Begin, RaftId};
use shoal_model::Failure;
use shoal_model::cluster::NodeId;
use shoal_model::cluster::node::NodeRole;
use shoal_worker::agent::{self, View, Worker};
use shoal_worker::executor::Executor;
use shoal_worker::networks::Networks;
use shoal_worker::node_api;
use tokio::sync::{Notify, watch};

use super::Runner;
use super::node_api::Listening;
use super::record::{Directory, Record};
use super::worker::{Dial, secrets};

/// Before a manager that did not start is tried again.
const AGAIN: Duration = Duration::from_secs(2);
/// A worker that is refused for so long is no member any more.
const REFUSED: Duration = Duration::from_secs(10);
/// A manager has so long to hear that this node leaves.
const GOODBYE: Duration = Duration::from_secs(3);

/// What a member needs of its surroundings.
#[derive(Clone)]
pub(super) struct Around {
    pub(super) clock: SharedClock,
    pub(super) random: SharedRandom,
    pub(super) disk: SharedDisk,
    pub(super) directory: Directory,
    /// Where the cluster's events are published.
    pub(super) events: Bus,
}

/// A member.
pub(super) struct Member {
    pub(super) keeper: Keeper,
    around: Around,
    record: Mutex<Record>,
    worker: Worker,
    view: watch::Receiver<View>,
    manager: watch::Sender<Option<Arc<Manager>>>,
    /// Of everything but the manager, which has its own.
    tasks: Tasks,
    executor: Arc<dyn Executor>,
    networks: Arc<dyn Networks>,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("keeper", &self.keeper).finish_non_exhaustive()
    }
}

/// Addresses of managers as the worker knows them, for renewals.
#[derive(Debug)]
struct Known {
    view: watch::Receiver<View>,
    seeds: Vec<String>,
}

impl Managers for Known {
    fn addresses(&self) -> Vec<String> {
        let view = self.view.borrow();
        let known = view.about.as_ref().map(|about| about.managers.values().cloned().collect());
        known.filter(|known: &Vec<String>| !known.is_empty()).unwrap_or_else(|| self.seeds.clone())
    }
}

impl Member {
    /// Starts worker, node API and certificate renewal; `manager` when one runs already.
    pub(super) async fn start(
        keeper: Keeper,
        record: Record,
        manager: Option<Arc<Manager>>,
        runner: Runner,
        api: Option<Listening>,
        around: Around,
    ) -> Result<Arc<Self>, Failure> {
        let tasks = Tasks::new();
        let mut seeds = record.remotes.clone();
        // A worker's own address has nobody to ask.
        seeds.extend(manager.as_ref().map(|_| record.advertise.to_string()));
        let options = agent::Options {
            directory: around.directory.worker().to_owned(),
            seeds: seeds.clone(),
            secrets: secrets(&keeper, &around.random),
        };
        let ports = agent::Ports {
            executor: runner.executor.clone(),
            networks: runner.networks.clone(),
            connector: Arc::new(Dial {
                credentials: keeper.credentials().clone(),
                own: (record.advertise, record.listen),
            }),
            clock: around.clock.clone(),
            random: around.random.clone(),
            disk: around.disk.clone(),
            tasks: tasks.clone(),
        };
        let worker = Worker::start(options, ports).await?;
        if let Some(Listening { listener, .. }) = api {
            node_api::serve(listener, keeper.credentials(), runner.executor.clone(), &tasks);
        }
        let view = worker.view();
        let renew = Arc::new(Notify::new());
        let renewer = Renewer {
            keeper: keeper.clone(),
            managers: Arc::new(Known { view: view.clone(), seeds }),
            now: renew.clone(),
            clock: around.clock.clone(),
            random: around.random.clone(),
        };
        tasks.spawn(TaskKind::Certificates, renewer.run());
        let member = Arc::new(Self {
            keeper,
            around,
            record: Mutex::new(record),
            worker,
            view,
            manager: watch::Sender::new(manager),
            tasks: tasks.clone(),
            executor: runner.executor,
            networks: runner.networks,
        });
        tasks.spawn(TaskKind::Certificates, Arc::clone(&member).follow_managers(renew));
        let published =
            super::events::publish(member.manager.subscribe(), member.around.events.clone());
        tasks.spawn(TaskKind::Stream, published);
        tasks.spawn(TaskKind::ClusterListener, Arc::clone(&member).follow_role());
        Ok(member)
    }

    pub(super) fn node(&self) -> NodeId {
        self.keeper.credentials().identity().node
    }

    pub(super) fn manager(&self) -> Option<Arc<Manager>> {
        self.manager.borrow().clone()
    }

    pub(super) fn worker(&self) -> &Worker {
        &self.worker
    }

    pub(super) fn is_manager(&self) -> bool {
        self.keeper.credentials().identity().role == NodeRole::Manager
    }

    pub(super) fn record(&self) -> Record {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the last manager said.
    pub(super) fn view(&self) -> watch::Receiver<View> {
        self.view.clone()
    }

    fn change_record(&self, change: impl FnOnce(&mut Record)) -> Result<(), Failure> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = record.clone();
        change(&mut changed);
        if changed != *record {
            self.around.directory.write(&changed)?;
            *record = changed;
        }
        Ok(())
    }

    /// Follows what sessions say: trusted roots, the role (which needs another certificate), where managers are.
    async fn follow_managers(self: Arc<Self>, renew: Arc<Notify>) {
        let mut view = self.view.clone();
        loop {
            let about = view.borrow_and_update().about.clone();
            if let Some(about) = about {
                let bundle = String::from_utf8_lossy(&about.root_ca).into_owned();
                if !bundle.is_empty()
                    && !self.is_manager()
                    && let Err(error) = self.keeper.trust(&bundle)
                {
                    tracing::warn!(error = %shoal_model::error::Chain(&error), "the cluster's roots are not taken over");
                }
                let role = self.keeper.credentials().identity().role;
                if about.node.as_ref().is_some_and(|node| node.role != role || is_to_rotate(node)) {
                    renew.notify_one();
                }
                let is_unknown = about.node.as_ref().is_some_and(|node| {
                    node.role == NodeRole::Manager && node.manager.is_none() && !is_to_rotate(node)
                });
                // Demoted and promoted again before it noticed: the manager that runs is in no list of managers.
                if is_unknown && let Some(manager) = self.manager() {
                    self.announce(manager);
                }
                let own = self.record().advertise.to_string();
                let others: Vec<String> =
                    about.managers.values().filter(|address| **address != own).cloned().collect();
                if !others.is_empty()
                    && let Err(error) = self.change_record(|record| record.remotes = others)
                {
                    tracing::warn!(%error, "the managers' addresses are not kept");
                }
            }
            if view.changed().await.is_err() {
                return;
            }
        }
    }

    /// Starts and stops the manager as the certificate says.
    async fn follow_role(self: Arc<Self>) {
        let mut credentials = self.keeper.credentials().follow();
        loop {
            let role = credentials.borrow_and_update().identity.role;
            let running = self.manager();
            match (role, running) {
                (NodeRole::Manager, None) => {
                    if let Err(error) = self.start_manager().await {
                        tracing::error!(%error, "the manager did not start");
                        self.around.clock.sleep(AGAIN).await;
                        continue;
                    }
                }
                (NodeRole::Worker, Some(manager)) => {
                    self.manager.send_replace(None);
                    manager.shut_down().await;
                    drop(manager);
                    // Another log begins if the node is promoted again.
                    let fresh = RaftId::random(&*self.around.random).0;
                    let forgotten = self
                        .around
                        .directory
                        .remove_raft()
                        .and_then(|()| self.change_record(|record| record.raft_id = fresh));
                    if let Err(error) = forgotten {
                        tracing::error!(%error, "the raft log of the former manager stays");
                    }
                }
                _ => {}
            }
            if credentials.changed().await.is_err() {
                return;
            }
        }
    }

    async fn start_manager(&self) -> Result<(), Failure> {
        let record = self.record();
        let manager = start_manager(&record, self.keeper.clone(), &self.around).await?;
        let manager = Arc::new(manager);
        self.manager.send_replace(Some(manager.clone()));
        self.announce(manager);
        Ok(())
    }

    /// Tells the cluster where this node's manager is. Saying it twice changes nothing.
    fn announce(&self, manager: Arc<Manager>) {
        let known = Known { view: self.view.clone(), seeds: self.record().remotes };
        let clock = self.around.clock.clone();
        self.tasks.spawn(TaskKind::ClusterListener, async move {
            manager.join(&known.addresses(), &clock).await;
        });
    }

    /// Ends everything; containers run on.
    pub(super) async fn stop(&self) {
        // First of all: until another leads, nothing can be written.
        if let Some(manager) = self.manager() {
            manager.hand_over().await;
        }
        self.tasks.shut_down().await;
        if let Some(manager) = self.manager.send_replace(None) {
            manager.shut_down().await;
        }
    }

    /// Ends everything and removes the containers of all tasks.
    pub(super) async fn leave(&self) -> Result<(), Failure> {
        tokio::select! {
            () = self.worker.leave() => {}
            () = self.around.clock.sleep(GOODBYE) => tracing::info!("no manager heard the goodbye"),
        }
        self.stop().await;
        clear(&*self.executor, &*self.networks).await
    }
}

/// Removes the containers of all tasks of a node, and its networks. Attempts every step.
pub(super) async fn clear(executor: &dyn Executor, networks: &dyn Networks) -> Result<(), Failure> {
    let mut first = Ok(());
    for task in executor.list().await? {
        if let Err(error) = executor.remove(task).await {
            tracing::warn!(%task, %error, "a task's container stays behind");
            first = first.and(Err(error));
        }
    }
    first.and(networks.leave_all().await)
}

/// Waits until managers refuse this node as a stranger, and none takes it. `None`: the member has ended.
pub(super) async fn refused(
    mut view: watch::Receiver<View>,
    clock: &SharedClock,
) -> Option<String> {
    loop {
        let refused = view.wait_for(|view| view.refused.is_some()).await.ok()?.refused.clone();
        let taken = tokio::select! {
            taken = view.wait_for(|view| view.session.is_some()) => Some(taken.map(drop)),
            () = clock.sleep(REFUSED) => None,
        };
        if let Some(taken) = taken {
            taken.ok()?;
            continue;
        }
        // Between two refusals there may be managers that do not answer at all.
        let decided =
            view.wait_for(|view| view.session.is_some() || view.refused.is_some()).await.ok()?;
        if decided.session.is_none() {
            return refused;
        }
    }
}

fn is_to_rotate(node: &shoal_model::cluster::Node) -> bool {
    node.certificate.state == shoal_model::cluster::node::IssueState::Rotate
}

/// Starts a manager from what is on disk.
pub(super) async fn start_manager(
    record: &Record,
    keeper: Keeper,
    around: &Around,
) -> Result<Manager, Failure> {
    let options = Options {
        directory: around.directory.raft(),
        raft_id: RaftId(record.raft_id),
        listen: record.listen,
        advertise: record.advertise.to_string(),
        raft: record.raft.clone(),
        begin: if record.alone { Begin::Alone } else { Begin::AsStored },
        ready: !record.alone,
        feature_level: crate::lab::feature_level(),
    };
    let surroundings = Surroundings {
        keeper,
        clock: around.clock.clone(),
        random: around.random.clone(),
        disk: around.disk.clone(),
    };
    Ok(Manager::start(options, surroundings).await?)
}

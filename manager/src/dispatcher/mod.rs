//! The manager side of workers' sessions. They end on any manager.
//!
//! Assignments are served from this manager's own replica: [`hub`] follows its changes and wakes the sessions that
//! they concern. Statuses are batched by [`statuses`] and committed through the store, which brings them to the leader.
//! Signs of life go to the leader through [`liveness`]; only there is decided who is down.
//!
//! With the assignments go the views of the networks that they use ([`views`]). A task that is to stop is held until
//! they are in effect everywhere ([`drain`]).

mod attach;
mod cut_off;
mod drain;
pub mod encode;
mod hub;
pub mod liveness;
mod server;
pub mod statuses;
mod views;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::Mutex;

use shoal_base::SharedClock;
use shoal_base::random::SharedRandom;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_manager_core::liveness::RegistrationLimit;
use shoal_model::Timestamp;
use shoal_model::cluster::NodeId;
use shoal_proto::dispatcher::dispatcher_server::DispatcherServer;
use shoal_proto::dispatcher::liveness_server::LivenessServer;

use self::cut_off::CutOff;
use self::drain::Waits;
use self::hub::Hub;
use self::liveness::{Beats, Leading, ReachManagers};
use self::statuses::Statuses;
use self::views::Views;
use crate::store::Store;

/// Of one message from a worker: statuses and a description.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Serves sessions. Clones are the same dispatcher.
#[derive(Clone)]
pub struct Dispatcher {
    own: NodeId,
    store: Store,
    managers: Arc<dyn ReachManagers>,
    clock: SharedClock,
    random: SharedRandom,
    tasks: Tasks,
    hub: Arc<Hub>,
    statuses: Statuses,
    beats: Arc<Beats>,
    leading: Arc<Leading>,
    limit: Arc<Mutex<RegistrationLimit>>,
    views: Arc<Views>,
    waits: Arc<Waits>,
    cut_off: Arc<CutOff>,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("sessions", &self.hub.count()).finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// The dispatcher of manager `own`. What it spawns ends with `tasks`.
    pub fn new(
        own: NodeId,
        store: Store,
        managers: Arc<dyn ReachManagers>,
        clock: SharedClock,
        random: SharedRandom,
        tasks: Tasks,
    ) -> Self {
        let hub = Arc::new(Hub::default());
        let leading = Arc::new(Leading::new(clock.clone()));
        let beats = Arc::new(Beats::default());
        let (statuses, committing) = statuses::start(store.clone(), clock.clone());
        tasks.spawn(TaskKind::ClusterListener, committing);
        tasks.spawn(
            TaskKind::ClusterListener,
            hub::follow(store.clone(), Arc::clone(&hub), Arc::clone(&leading)),
        );
        let reporter = liveness::Reporter {
            store: store.clone(),
            leader: Arc::clone(&managers),
            clock: clock.clone(),
            hub: Arc::clone(&hub),
            beats: Arc::clone(&beats),
            leading: Arc::clone(&leading),
        };
        tasks.spawn(TaskKind::ClusterListener, reporter.run());
        let cut_off = Arc::new(CutOff::default());
        tasks.spawn(
            TaskKind::ClusterListener,
            cut_off::watch(store.clone(), Arc::clone(&hub), Arc::clone(&cut_off), clock.clone()),
        );
        let (limit, views, waits) = Default::default();
        Self {
            own,
            store,
            managers,
            clock,
            random,
            tasks,
            hub,
            statuses,
            beats,
            leading,
            limit,
            views,
            waits,
            cut_off,
        }
    }

    /// For the listener of workers and managers.
    pub fn services(&self) -> (DispatcherServer<Self>, LivenessServer<Self>) {
        let sessions =
            DispatcherServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let liveness =
            LivenessServer::new(self.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX);
        (sessions, liveness)
    }

    /// Decides who is down, while this manager leads.
    ///
    /// # Cancel safety
    /// Dropping the future ends it: the next leader begins with fresh clocks.
    pub async fn lead(&self) {
        liveness::lead(&self.store, &self.clock, &self.leading).await;
    }

    fn now(&self) -> Timestamp {
        monotonic(&self.clock)
    }
}

fn monotonic(clock: &SharedClock) -> Timestamp {
    Timestamp::from_nanos(i64::try_from(clock.monotonic().as_nanos()).unwrap_or(i64::MAX))
}

//! Logs of services and tasks, gathered from the nodes that have them.
//!
//! [`plan`] says what is where, [`node`] asks one node, [`follow`] goes on with what comes,
//! [`book`] says how far it is. Nothing is kept: the end of
//! the reader ends every stream.
//!
//! Source: moby `daemon/cluster/services.go ServiceLogs`, swarmkit `manager/logbroker`.

mod book;
mod follow;
mod node;
mod plan;

#[cfg(test)]
mod tests;

use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use shoal_base::tasks::Tasks;
use shoal_base::{SharedClock, merge};
use shoal_identity::Credentials;
use shoal_manager_core::control::find;
use shoal_manager_core::store::State;
use shoal_model::cluster::ServiceId;
use shoal_model::cluster::logs::{LogLine, LogQuery};
use shoal_model::error::{ErrorKind, Failure};

use crate::control::Error;
use crate::store::Store;
use node::{Ask, Item, Nodes};
use plan::{Plan, Selection, plan};

pub(crate) use plan::address;

/// Lines of many tasks. An error says that some are missing; lines may follow it.
pub type Lines = BoxStream<'static, Result<LogLine, Failure>>;

/// Reads logs wherever they are. Clones are the same.
#[derive(Debug, Clone)]
pub struct Logs {
    store: Store,
    nodes: Nodes,
    /// Own those that follow.
    tasks: Tasks,
}

impl Logs {
    /// As the node of these credentials.
    pub fn new(store: Store, credentials: Credentials, clock: SharedClock, tasks: Tasks) -> Self {
        Self { store, nodes: Nodes { credentials, clock }, tasks }
    }

    /// Logs of a service's tasks, by its id, name, or prefix of the id.
    ///
    /// # Errors
    /// When there is no such service, or no leader. What nodes do not tell is an error in the stream.
    pub async fn of_service(&self, reference: &str, query: LogQuery) -> Result<Lines, Error> {
        let state = self.store.read().await?;
        let service = find::service(&state, reference).map_err(Error::Refused)?.id;
        Ok(self.read(&state, Selection::Service(service), Some(service), query))
    }

    /// The log of a task, by its id or a prefix of it.
    ///
    /// # Errors
    /// When there is no such task, or no leader. What its node does not tell is an error in the stream.
    pub async fn of_task(&self, reference: &str, query: LogQuery) -> Result<Lines, Error> {
        let state = self.store.read().await?;
        let task = find::task(&state, reference).map_err(Error::Refused)?;
        Ok(self.read(&state, Selection::Task(task.id), task.service, query))
    }

    fn read(
        &self,
        state: &State,
        selection: Selection,
        service: Option<ServiceId>,
        query: LogQuery,
    ) -> Lines {
        if query.follow {
            let wanted = follow::Wanted { selection, service, query };
            return follow::stream(self.store.clone(), self.nodes.clone(), &self.tasks, wanted);
        }
        let Plan { nodes, reasons } = plan(state, selection);
        let streams = nodes.into_iter().map(|(node, place)| {
            let ask = Ask { node, service, tasks: place.tasks, query: query.clone() };
            self.nodes.lines(self.nodes.channel(node, &place.address), ask)
        });
        with_reasons(merge::in_order(streams.collect(), Item::at).boxed(), reasons)
    }
}

/// The lines first, then, in one error, why there are not more.
fn with_reasons(items: BoxStream<'static, Item>, reasons: Vec<String>) -> Lines {
    stream::unfold((items, reasons), |(mut items, mut reasons)| async move {
        loop {
            match items.next().await {
                Some(Item::Line(line)) => return Some((Ok(line), (items, reasons))),
                Some(Item::Unreadable(reason) | Item::Broken { reason }) => reasons.push(reason),
                None if reasons.is_empty() => return None,
                None => {
                    return Some((Err(incomplete(&reasons)), (stream::empty().boxed(), vec![])));
                }
            }
        }
    })
    .boxed()
}

fn incomplete(reasons: &[String]) -> Failure {
    Failure::new(
        ErrorKind::Unavailable,
        format!(
            "warning: incomplete log stream. some logs could not be retrieved for the following reasons: {}",
            reasons.join(", ")
        ),
    )
}

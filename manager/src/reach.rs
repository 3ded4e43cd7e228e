//! The node API of a task's node, as one client of this manager calls it (ADR 0008).

use std::time::Duration;

use shoal_base::SharedClock;
use shoal_identity::tls::Expected;
use shoal_identity::{Credentials, connect};
use shoal_manager_core::control::find;
use shoal_manager_core::store::State;
use shoal_model::cluster::{Task, TaskId};
use shoal_model::error::{ErrorKind, Failure};
use shoal_proto::node::node_client::NodeClient;
use shoal_proto::status;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::control::Error;
use crate::logs::address;
use crate::store::Store;

/// A node must begin to answer within this time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reaches the nodes of tasks. Clones are the same.
#[derive(Debug, Clone)]
pub struct Reach {
    pub(crate) store: Store,
    credentials: Credentials,
    clock: SharedClock,
}

/// Errors are those of the store, of the connection to the node, and what the node says.
#[allow(clippy::missing_errors_doc, reason = "as said")]
impl Reach {
    /// As the node of these credentials.
    pub fn new(store: Store, credentials: Credentials, clock: SharedClock) -> Self {
        Self { store, credentials, clock }
    }

    /// A task by its id or a prefix of it, and its node.
    pub(crate) async fn find(&self, task: &str) -> Result<(TaskId, NodeClient<Channel>), Failure> {
        let state = self.store.read().await.map_err(Error::from)?;
        let task = find::task(&state, task).map_err(Error::Refused)?;
        Ok((task.id, self.client(&state, task)?))
    }

    /// The node of a task. Each caller has a connection of its own: one that reads slowly stops nobody else.
    pub(crate) fn client(
        &self,
        state: &State,
        task: &Task,
    ) -> Result<NodeClient<Channel>, Failure> {
        let not_scheduled = || {
            let message = format!("task {} has not been scheduled", task.id);
            Failure::new(ErrorKind::Conflict, message)
        };
        let node = task.node.ok_or_else(not_scheduled)?;
        let not_available =
            || Failure::new(ErrorKind::Unavailable, format!("node {node} is not available"));
        let address = address(state.node(node)).ok_or_else(not_available)?;
        let channel = connect::channel(&self.credentials, &address, Expected::Node(node))?;
        Ok(NodeClient::new(channel))
    }

    /// What the node answers, within a limit of time.
    pub(crate) async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            answer = call => {
                answer.map(Response::into_inner).map_err(|error| status::failure(&error))
            }
            () = self.clock.sleep(PATIENCE) => {
                Err(Failure::new(ErrorKind::DeadlineExceeded, "the task's node did not answer"))
            }
        }
    }
}

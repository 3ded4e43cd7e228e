//! Plain containers of nodes on networks of the cluster.

use std::time::Duration;

use shoal_manager_core::control::attachments;
use shoal_manager_core::store::State;
use shoal_model::cluster::{NodeId, Task, TaskId, TaskState};
use shoal_model::error::Failure;
use shoal_proto::codec;
use shoal_proto::dispatcher::{AttachRequest, AttachResponse};
use shoal_proto::status;
use tonic::Status;

use super::Dispatcher;
use crate::control::{Error, RandomIds};

/// A leader gives addresses within this time.
const PATIENCE: Duration = Duration::from_secs(15);

impl Dispatcher {
    /// Makes the task of an attachment and waits for its addresses. What does not get any is taken back.
    pub(super) async fn attach_container(
        &self,
        node: NodeId,
        request: AttachRequest,
    ) -> Result<AttachResponse, Status> {
        let wish = attachments::Wish {
            network: request.network,
            container: request.container,
            name: request.name,
            aliases: request.aliases,
            addresses: request.addresses,
        };
        let mut ids = RandomIds(self.random.clone());
        // The network may have been made by way of another manager a moment ago.
        self.store.read().await.map_err(|error| failed(error.into()))?;
        let made = self
            .store
            .update(|txn| attachments::attach(txn, &mut ids, node, &wish).map_err(Error::from));
        let task = made.await.map_err(failed)?.value;
        let given = tokio::select! {
            given = self.given(task) => given,
            () = self.clock.sleep(PATIENCE) => {
                Err(Status::unavailable("no manager has given the container its addresses in time"))
            }
        };
        if given.is_err() {
            self.detach_container(node, task).await?;
        }
        given
    }

    pub(super) async fn detach_container(&self, node: NodeId, task: TaskId) -> Result<(), Status> {
        let taken = self.store.update(|txn| {
            let own = txn.task(task).is_some_and(|task| task.node == Some(node));
            if own { attachments::detach(txn, task).map_err(Error::from) } else { Ok(()) }
        });
        taken.await.map(|_| ()).map_err(failed)
    }

    async fn given(&self, id: TaskId) -> Result<AttachResponse, Status> {
        loop {
            let (_, mut changes) = self.store.watch();
            loop {
                let view = self.store.view();
                let task = view.task(id).ok_or_else(|| Status::aborted("it was taken back"))?;
                if let Some(answer) = answer(&view, task)? {
                    return Ok(answer);
                }
                drop(view);
                // Lagging only means to look again.
                if changes.next().await.is_err() {
                    break;
                }
            }
        }
    }
}

/// `None`: it is still open.
fn answer(view: &State, task: &Task) -> Result<Option<AttachResponse>, Status> {
    if !task.status.error.is_empty() {
        return Err(Status::resource_exhausted(task.status.error.clone()));
    }
    if task.status.state < TaskState::Assigned {
        return Ok(None);
    }
    let attachment = task.networks.first();
    let network = attachment.and_then(|attachment| view.network(attachment.network));
    let (Some(attachment), Some(network)) = (attachment, network) else {
        return Err(Status::aborted("the network was removed meanwhile"));
    };
    Ok(Some(AttachResponse {
        task: task.id.to_bytes().to_vec().into(),
        network: codec::encode(&**network),
        attachment: codec::encode(attachment),
    }))
}

fn failed(error: Error) -> Status {
    status::of(&Failure::from(error))
}

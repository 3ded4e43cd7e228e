//! Plain containers of this node on networks of the cluster: what is asked of a manager.

use std::sync::Arc;

use shoal_model::cluster::task::NetworkAttachment;
use shoal_model::cluster::{ClusterNetwork, TaskId};
use shoal_model::error::{ErrorKind, Failure};
use shoal_proto::dispatcher::{AttachRequest, DetachRequest};
use shoal_proto::{codec, status};

use crate::session::{Live, Shared};

/// What a container wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// Name, id or unique prefix of an id.
    pub network: String,
    /// Id of the container.
    pub container: String,
    /// Its name.
    pub name: String,
    /// Further names of it on the network.
    pub aliases: Vec<String>,
    /// Addresses that it must have; none: any.
    pub addresses: Vec<String>,
}

/// What it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The task that stands for the attachment; it is among this node's assignments until its container ends.
    pub task: TaskId,
    /// The network.
    pub network: Arc<ClusterNetwork>,
    /// The addresses.
    pub attachment: NetworkAttachment,
}

fn live(shared: &Shared) -> Result<Live, Failure> {
    let unreachable = || {
        let text = "no manager of the cluster is reachable";
        Failure::new(ErrorKind::Unavailable, text)
    };
    shared.live().ok_or_else(unreachable)
}

pub(crate) async fn attach(shared: &Shared, wish: &Wish) -> Result<Given, Failure> {
    let Live { mut client, session } = live(shared)?;
    let request = AttachRequest {
        session: session.to_bytes().to_vec().into(),
        network: wish.network.clone(),
        container: wish.container.clone(),
        name: wish.name.clone(),
        addresses: wish.addresses.clone(),
        aliases: wish.aliases.clone(),
    };
    let answer = client.attach(request).await.map_err(|error| status::failure(&error))?;
    let answer = answer.into_inner();
    let read = |error: codec::Error| {
        let text =
            format!("a manager's answer cannot be read: {}", shoal_model::error::Chain(&error));
        Failure::new(ErrorKind::Internal, text)
    };
    Ok(Given {
        task: codec::id(&answer.task).map(TaskId::from_bytes).map_err(read)?,
        network: codec::decode("network", &answer.network).map(Arc::new).map_err(read)?,
        attachment: codec::decode("attachment", &answer.attachment).map_err(read)?,
    })
}

pub(crate) async fn detach(shared: &Shared, task: TaskId) -> Result<(), Failure> {
    let Live { mut client, session } = live(shared)?;
    let (session, task) = (session.to_bytes().to_vec().into(), task.to_bytes().to_vec().into());
    let answer = client.detach(DetachRequest { session, task }).await;
    answer.map(|_| ()).map_err(|error| status::failure(&error))
}

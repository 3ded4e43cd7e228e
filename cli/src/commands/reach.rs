//! Where a container is: on this host, or in the cluster as that of a task, wherever it runs.

use crate::client::{self, Client, Request, url::segment};
use shoal_gotemplate::value::Value;

/// What a name stands for.
#[derive(Debug)]
pub(super) enum Found {
    /// A container of this host, as `inspect` shows it.
    Container(Value),
    /// A task of the cluster, as the API shows it.
    Task(Value),
}

impl Found {
    /// The path beneath which the API does things with it.
    pub(super) fn base(&self) -> String {
        match self {
            Self::Container(details) => container(details.at("Id").text()),
            Self::Task(task) => format!("/shoal/tasks/{}", segment(task.at("ID").text())),
        }
    }
}

/// The path of a container of this host.
pub(super) fn container(name: &str) -> String {
    format!("/containers/{}", segment(name))
}

/// Finds a container of this host, else a task.
///
/// # Errors
/// What the daemon says of the container, where there is no such task either.
pub(super) async fn find(client: &Client, name: &str) -> Result<Found, client::Error> {
    match client.value(Request::get(format!("{}/json", container(name)))).await {
        Ok(details) => Ok(Found::Container(details)),
        Err(absent) if absent.status() == 404 => {
            match client.value(Request::get(format!("/tasks/{}", segment(name)))).await {
                Ok(task) => Ok(Found::Task(task)),
                // Neither a task, or this host is no manager.
                Err(error) if matches!(error.status(), 404 | 503) => Err(absent),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// The path of what a name stands for; that of a container where it stands for nothing, of which the next request tells.
pub(super) async fn base(client: &Client, name: &str) -> String {
    match find(client, name).await {
        Ok(found) => found.base(),
        Err(_) => container(name),
    }
}

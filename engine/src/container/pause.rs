//! Freezing and thawing, terminal size, limits of a running container.

use std::sync::Arc;

use shoal_model::container::Phase;
use shoal_shim_protocol::config::TerminalSize;
use shoal_shim_protocol::message::Request;

use super::lifecycle::Verb;
use super::owner::Owner;
use super::{Container, permit};
use crate::error::Error;

/// Freezes a container.
///
/// # Errors
/// When it does not run or is frozen already.
pub(crate) async fn pause(container: &Arc<Container>) -> Result<(), Error> {
    container.ask(|owner| Box::pin(owner.freeze(Verb::Pause))).await?
}

/// Thaws a container.
///
/// # Errors
/// When it is not frozen.
pub(crate) async fn unpause(container: &Arc<Container>) -> Result<(), Error> {
    container.ask(|owner| Box::pin(owner.freeze(Verb::Unpause))).await?
}

/// Sets the size of a container's terminal.
///
/// # Errors
/// When it does not run or has none.
pub(crate) async fn resize(container: &Arc<Container>, size: TerminalSize) -> Result<(), Error> {
    container.permit(Verb::Resize)?;
    container
        .ask(move |owner| {
            Box::pin(async move {
                permit(&owner.container.view.borrow(), Verb::Resize)?;
                let Some(client) = owner.client() else { return Ok(()) };
                let resized = client.command(&Request::Resize { exec: None, size }).await;
                resized.map_err(owner.shim_error())?;
                let size = [("height", size.rows.to_string()), ("width", size.columns.to_string())];
                owner.publish("resize", &size);
                Ok(())
            })
        })
        .await?
}

/// Pids of all processes of a container, as the host sees them.
///
/// # Errors
/// When it does not run.
pub(crate) async fn pids(container: &Arc<Container>) -> Result<Vec<u32>, Error> {
    container.permit(Verb::Top)?;
    let client = crate::shim_client::Client::new(container.paths.socket());
    let pids = client.pids().await;
    pids.map_err(|source| Error::Shim { container: container.id.clone(), source })
}

impl Owner {
    async fn freeze(&mut self, verb: Verb) -> Result<(), Error> {
        permit(&self.container.view.borrow(), verb)?;
        let Some(client) = self.client() else { return Ok(()) };
        let (request, phase, action) = match verb {
            Verb::Pause => (Request::Pause, Phase::Paused, "pause"),
            _ => (Request::Resume, Phase::Running, "unpause"),
        };
        client.command(&request).await.map_err(self.shim_error())?;
        self.change(|view| view.state.phase = phase);
        self.publish(action, &[]);
        Ok(())
    }
}

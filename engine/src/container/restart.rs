//! Restart by the user: stop if it runs, then start.

use std::sync::Arc;

use shoal_model::container::StopOptions;

use super::lifecycle::Verb;
use super::{Container, is_not_modified, start, stop};
use crate::core::Core;
use crate::error::Error;

/// Restarts a container.
///
/// # Errors
/// Those of stop and start.
pub(crate) async fn restart(
    core: &Core,
    container: &Arc<Container>,
    options: &StopOptions,
) -> Result<(), Error> {
    container.permit(Verb::Restart)?;
    let auto_remove = container.view().record.spec.host.auto_remove;
    if auto_remove && container.view().counts_as_running() {
        // Source: moby `daemon/restart.go`: the container must survive its own restart.
        container.ask(|owner| Box::pin(async { owner.keep_once = true })).await?;
    }
    match stop::stop(core, container, options).await {
        Ok(()) => {}
        Err(error) if is_not_modified(&error) => {}
        Err(error) => return Err(error),
    }
    container
        .ask(|owner| {
            Box::pin(async {
                owner.start(start::Starter::User).await?;
                owner.publish("restart", &[]);
                Ok(())
            })
        })
        .await?
}

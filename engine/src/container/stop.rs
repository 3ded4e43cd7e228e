//! Stopping: the container's signal, patience, then SIGKILL.

use std::sync::Arc;
use std::time::Duration;

use shoal_model::container::{StopOptions, WaitCondition};

use super::kill::Wish;
use super::lifecycle::Verb;
use super::view::View;
use super::{Container, wait};
use crate::core::Core;
use crate::error::Error;
use crate::signal::{self, Signal};

/// Seconds between signal and SIGKILL when neither the user nor the image says.
const TIMEOUT_DEFAULT: i64 = 10;
/// How long a SIGKILL may take before the whole container is killed, and how often that is tried.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// What a stop does. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    /// First signal.
    pub signal: Signal,
    /// Until SIGKILL; `None`: for ever.
    pub patience: Option<Duration>,
}

/// Decides how to stop a container.
///
/// # Errors
/// When a signal is unknown.
pub(crate) fn plan(view: &View, options: &StopOptions) -> Result<Plan, Error> {
    let spec = &view.record.spec;
    let text = options.signal.as_deref().filter(|text| !text.is_empty());
    let text = text.or_else(|| spec.stop_signal.as_deref().filter(|text| !text.is_empty()));
    let signal = match text {
        None => signal::TERM,
        Some(text) => signal::parse(text).ok_or_else(|| Error::Invalid {
            field: "signal",
            reason: format!("unknown signal `{text}`"),
        })?,
    };
    let seconds = options.timeout.or(spec.stop_timeout).unwrap_or(TIMEOUT_DEFAULT);
    Ok(Plan { signal, patience: u64::try_from(seconds).ok().map(Duration::from_secs) })
}

/// Stops a container and waits for its end.
///
/// # Errors
/// `NotModified` when it does not run; what the shim refuses.
pub(crate) async fn stop(
    core: &Core,
    container: &Arc<Container>,
    options: &StopOptions,
) -> Result<(), Error> {
    // What is being started is stopped, too: dockerd's lock waits for the start.
    container.turn().await?;
    container.permit(Verb::Stop)?;
    let plan = plan(&container.view(), options)?;
    let mut ended = wait::register(container.view.subscribe(), WaitCondition::NotRunning);
    signal_stop(container, plan.signal).await?;
    let patience = async {
        match plan.patience {
            Some(patience) => core.clock.sleep(patience).await,
            None => std::future::pending().await,
        }
    };
    let stopped = tokio::select! {
        biased;
        _ = &mut ended => true,
        () = patience => false,
    };
    if !stopped {
        signal_stop(container, signal::KILL).await?;
        tokio::select! {
            _ = &mut ended => {}
            () = core.clock.sleep(KILL_PATIENCE) => {
                return Err(Error::Conflict {
                    container: container.view().name().to_owned(),
                    reason: "it did not end after SIGKILL".to_owned(),
                });
            }
        }
    }
    container
        .ask(|owner| {
            Box::pin(async {
                owner.publish("stop", &[]);
                // So that `unless-stopped` knows it after a crash of the host.
                owner.write_record().await
            })
        })
        .await
        // Removed by its own policy meanwhile (`--rm`): stopped all the same.
        .unwrap_or(Ok(()))
}

async fn signal_stop(container: &Arc<Container>, signal: Signal) -> Result<(), Error> {
    let sent = container
        .ask(move |owner| Box::pin(owner.kill(signal, Wish::StayDown)))
        .await
        .unwrap_or(Ok(()));
    match sent {
        // It ended just before the signal.
        Err(Error::Phase { .. }) => Ok(()),
        other => other,
    }
}

//! Signals.

use std::sync::Arc;

use shoal_model::container::Phase;
use shoal_shim_protocol::message::{FailureKind, Request};

use super::lifecycle::Verb;
use super::owner::Owner;
use super::{Container, permit};
use crate::error::Error;
use crate::shim_client;
use crate::signal::{self, Signal};

/// Sends a signal (name with or without `SIG`, or number) to the init process.
///
/// # Errors
/// When the signal is unknown or the container does not run.
pub(crate) async fn kill(container: &Arc<Container>, text: &str) -> Result<(), Error> {
    let signal = signal::parse(text).ok_or_else(|| Error::Invalid {
        field: "signal",
        reason: format!("unknown signal `{text}`"),
    })?;
    container.permit(Verb::Kill)?;
    let ended = super::wait::register(
        container.view.subscribe(),
        shoal_model::container::WaitCondition::NotRunning,
    );
    container.ask(move |owner| Box::pin(owner.kill(signal, Wish::of(signal)))).await??;
    if signal == signal::KILL {
        // As docker: a kill returns when the container is dead.
        ended.await;
    }
    Ok(())
}

/// Whether a signal is the user's word that the container shall stay down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// It shall end and not come back.
    StayDown,
    /// Just a signal.
    Other,
}

impl Wish {
    /// SIGKILL of the user ends it for good; other signals are the program's affair.
    ///
    /// Source: moby `daemon/kill.go killWithSignal` (the stop signal counts too, there by its value).
    fn of(signal: Signal) -> Self {
        if signal == signal::KILL { Self::StayDown } else { Self::Other }
    }
}

/// Whether the shim says that its container does not run any more.
fn ended_already(error: &shim_client::Error) -> bool {
    error.refusal().is_some_and(|failure| failure.kind == FailureKind::Conflict)
}

impl Owner {
    /// Sends a signal. A container that waits for its restart just stays down.
    pub(crate) async fn kill(&mut self, signal: Signal, wish: Wish) -> Result<(), Error> {
        permit(&self.container.view.borrow(), Verb::Kill)?;
        let phase = self.container.view.borrow().state.phase;
        if wish == Wish::StayDown {
            self.mark_stopped();
        }
        if phase == Phase::Restarting {
            self.restart_at = None;
            self.change(|view| view.state.phase = Phase::Exited);
            return Ok(());
        }
        let Some(client) = self.client() else { return Ok(()) };
        let sent = client.command(&Request::Kill { signal: signal.number(), all: false }).await;
        match sent {
            Ok(()) => {}
            // It ended in this moment: the exit is about to be heard.
            Err(error) if error.is_gone() || ended_already(&error) => {}
            Err(error) => return Err(self.shim_error()(error)),
        }
        if phase == Phase::Paused && signal == crate::signal::KILL {
            // A frozen process dies only when it is thawed.
            if let Err(error) = client.command(&Request::Resume).await
                && !error.is_gone()
            {
                tracing::warn!(container = %self.container.id, %error, "failed to thaw");
            }
        }
        self.publish("kill", &[("signal", signal.number().to_string())]);
        Ok(())
    }

    /// Remembers that the user wants it down, before it goes down.
    pub(crate) fn mark_stopped(&mut self) {
        self.change(|view| Arc::make_mut(&mut view.record).stopped_by_user = true);
    }
}

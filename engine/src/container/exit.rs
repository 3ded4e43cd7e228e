//! The end of a run: report first, clean up, then restart or remove.

use std::sync::Arc;
use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::container::{ExitStatus, Phase};
use shoal_model::error::Chain as Causes;
use shoal_shim_protocol::state::{Exit, Outcome, OutcomeFile};

use super::owner::{Owner, Run};
use super::restart_policy::{self, Decision};
use super::shim;
use crate::mounts::own_filesystem;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub status: ExitStatus,
    /// How long it ran; unknown counts as zero.
    pub ran: Duration,
    /// Why there is no proper exit; empty otherwise.
    pub error: String,
}

impl Ended {
    pub(crate) fn from_exit(exit: &Exit) -> Self {
        let at = Timestamp::from_nanos(exit.finished_at_ns);
        let ran = match exit.started_at_ns {
            0 => Duration::ZERO,
            started => at.since(Timestamp::from_nanos(started)),
        };
        let code = i32::from(exit.code);
        Self {
            status: ExitStatus { code, oom_killed: exit.oom_killed, at },
            ran,
            error: String::new(),
        }
    }

    pub(crate) fn of_failed_start(code: i32, at: Timestamp) -> Self {
        Self {
            status: ExitStatus { code, oom_killed: false, at },
            ran: Duration::ZERO,
            error: String::new(),
        }
    }

    pub(crate) fn from_outcome(outcome: &Outcome, at: Timestamp) -> Self {
        match outcome {
            Outcome::Exited(exit) => Self::from_exit(exit),
            Outcome::StartFailed(failure) => Self {
                error: failure.message.clone(),
                ..Self::of_failed_start(i32::from(failure.kind.exit_code()), at)
            },
        }
    }

    /// The run is over, but nobody knows how: the host or the shim went down.
    pub(crate) fn unknown(at: Timestamp, error: &str) -> Self {
        Self {
            status: ExitStatus { code: 255, oom_killed: false, at },
            ran: Duration::ZERO,
            error: error.to_owned(),
        }
    }
}

/// Reads the outcome file; `None` when there is none that can be understood.
pub(crate) fn read_outcome(path: &std::path::Path) -> Option<Outcome> {
    let bytes = std::fs::read(path).ok()?;
    let file: OutcomeFile = serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "bad outcome file"))
        .ok()?;
    Some(file.outcome)
}

impl Owner {
    /// The init process ended.
    pub(crate) async fn exited(&mut self, ended: Ended) {
        let run = self.run.take();
        if let Some(run) = &run {
            run.ended.cancel();
        }
        let joined = self.joined_networks();
        self.report(&ended);
        self.clean_up(run).await;
        self.publish_networks("disconnect", &joined).await;
        if self.restart_at.is_none() && self.container.view.borrow().record.spec.host.auto_remove {
            self.remove_automatically().await;
        }
    }

    /// The shim's connection ended without an exit: it was killed, and its container with it.
    pub(crate) async fn shim_died(&mut self) {
        let Some(mut run) = self.run.take() else { return };
        run.ended.cancel();
        let paths = self.container.paths.clone();
        // A zombie would still count as a living shim.
        if let Some(mut child) = run.child.take()
            && let Err(error) = child.wait().await
        {
            tracing::warn!(container = %self.container.id, %error, "a shim cannot be waited for");
        }
        if let Err(error) = shim::clean_up_after_killed(&self.core, &paths.run).await {
            tracing::error!(container = %self.container.id, error = %Causes(&error),
                "failed to clean up after a killed shim");
        }
        let text = "the shim of the container was killed";
        let mut ended = match read_outcome(&paths.outcome()) {
            Some(outcome) => Ended::from_outcome(&outcome, self.core.clock.now()),
            None => Ended::unknown(self.core.clock.now(), text),
        };
        if ended.error.is_empty() {
            text.clone_into(&mut ended.error);
        }
        self.run = Some(run);
        self.exited(ended).await;
    }

    /// Shows the end to everybody, and what the restart policy makes of it.
    pub(crate) fn report(&mut self, ended: &Ended) {
        self.decide_restart(ended.clone());
        self.report_end(ended);
    }

    /// Shows the end to everybody, with what was decided about a restart.
    pub(crate) fn report_end(&mut self, ended: &Ended) {
        self.exec_sessions_ended();
        let restarting = self.restart_at.is_some();
        let count = self.chain.restarts;
        self.change(|view| {
            view.state.phase = if restarting { Phase::Restarting } else { Phase::Exited };
            view.state.pid = 0;
            view.state.exit = Some(ended.status.clone());
            view.state.error.clone_from(&ended.error);
            view.network = None;
            view.exits += 1;
            if restarting {
                std::sync::Arc::make_mut(&mut view.record).restart_count = count;
            }
        });
        self.publish(
            "die",
            &[
                ("exitCode", ended.status.code.to_string()),
                ("execDuration", ended.ran.as_secs().to_string()),
            ],
        );
    }

    /// Asks the restart policy and remembers its answer.
    pub(crate) fn decide_restart(&mut self, ended: Ended) {
        let view = self.container.view.borrow();
        let ended = restart_policy::Ended {
            code: ended.status.code,
            ran: ended.ran,
            by_user: view.record.stopped_by_user,
        };
        match restart_policy::after_exit(&view.record.spec.host.restart_policy, ended, self.chain) {
            Decision::Stay => self.restart_at = None,
            Decision::Restart { wait, chain } => {
                self.chain = chain;
                self.restart_at = Some(self.core.clock.monotonic() + wait);
            }
        }
    }

    /// Undoes what a start made. Attempts every step; failures are logged and retried by the next
    /// daemon, which removes leftovers.
    pub(crate) async fn clean_up(&mut self, run: Option<Run>) {
        let id = self.container.id.clone();
        let paths = self.container.paths.clone();
        let client = match &run {
            Some(run) => run.client.clone(),
            None => crate::shim_client::Client::new(paths.socket()),
        };
        if paths.run.exists()
            && let Err(error) = shim::shut_down(&client).await
        {
            tracing::warn!(container = %id, error = %Causes(&error), "failed to end a shim");
        }
        if let Err(error) = shim::remove_run_directory(&paths.run) {
            tracing::warn!(container = %id, error = %Causes(&error), "a run directory stays");
        }
        if let Err(error) = crate::mounts::shared_memory::detach(&paths.shared_memory()) {
            tracing::warn!(container = %id, error = %Causes(&error), "shared memory stays mounted");
        }
        self.let_go_of_volumes().await;
        if let Err(failure) = self.core.networking.detach(&id).await {
            tracing::warn!(container = %id, error = %failure, "a sandbox stays");
        }
        // Reaped here, or by tokio's orphan queue when it takes longer to die.
        drop(run);
    }

    /// Nobody but running containers needs the file systems of volumes.
    async fn let_go_of_volumes(&self) {
        let view = self.view();
        if !view.record.mounts.iter().any(|mount| own_filesystem(mount).is_some()) {
            return;
        }
        let (volumes, id) = (Arc::clone(&self.core.volumes), view.record.id.clone());
        let unmount = move || volumes.let_go(&id);
        match shoal_base::blocking::run("unmount a container's volumes", unmount).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(container = %view.record.id, error = %Causes(&error), "a volume stays mounted");
            }
            Err(error) => {
                tracing::warn!(container = %view.record.id, %error, "volumes may stay mounted");
            }
        }
    }

    /// Starts again because the policy says so.
    pub(crate) async fn restart_by_policy(&mut self) {
        self.restart_at = None;
        if let Err(error) = self.start(super::start::Starter::Policy).await {
            tracing::warn!(container = %self.container.id, error = %Causes(&error),
                "restart by policy failed");
        }
    }
}

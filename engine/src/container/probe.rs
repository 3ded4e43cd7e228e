//! Running health probes: an exec in the container, its output, its verdict.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use shoal_base::tasks::TaskKind;
use shoal_model::Timestamp;
use shoal_model::container::{HealthProbe, Phase};
use shoal_model::error::Chain;
use shoal_model::exec::{ExecSpec, ExecStart};
use tokio_util::sync::CancellationToken;

use super::Container;
use super::health::{self, Check, OUTPUT_BYTES_MAX, TIMED_OUT};
use super::owner::Owner;
use crate::core::Core;
use crate::error::Error;
use crate::exec::{self, Exec};

/// Probes a container until its run ends.
pub(crate) fn spawn(
    core: &Arc<Core>,
    container: &Arc<Container>,
    check: Check,
    started: Timestamp,
    ended: CancellationToken,
) {
    let (core, container) = (Arc::clone(core), Arc::clone(container));
    core.tasks.clone().spawn(TaskKind::HealthProbe, async move {
        ended.run_until_cancelled(probe_for_ever(core, container, check, started)).await;
    });
}

async fn probe_for_ever(
    core: Arc<Core>,
    container: Arc<Container>,
    check: Check,
    started: Timestamp,
) {
    loop {
        let Some(health) = container.view.borrow().state.health.clone() else { return };
        let wait = health::next_wait(&check, &health, started, core.clock.now());
        core.clock.sleep(wait).await;
        if container.view.borrow().state.phase != Phase::Running {
            continue;
        }
        let probe = probe(&core, &container, &check).await;
        let step = check.clone();
        let told = container
            .ask(move |owner| Box::pin(async move { owner.probed(&step, started, probe) }))
            .await;
        if told.is_err() {
            return;
        }
    }
}

/// One probe, as docker does it: an exec with its own events, killed when it takes too long.
async fn probe(core: &Arc<Core>, container: &Arc<Container>, check: &Check) -> HealthProbe {
    let start = core.clock.now();
    let spec = ExecSpec {
        command: check.command.clone(),
        attach_stdout: true,
        attach_stderr: true,
        ..ExecSpec::default()
    };
    let mut output = Vec::new();
    let exec = exec::register(core, container, spec);
    let deadline = core.clock.sleep(check.timeout);
    let result = tokio::select! {
        biased;
        result = run(core, container, &exec, &mut output) => Some(result),
        () = deadline => None,
    };
    let (exit_code, text) = match result {
        Some(Ok(code)) => (code, String::from_utf8_lossy(&output).into_owned()),
        Some(Err(error)) => (1, Chain(&error).to_string()),
        None => {
            exec::kill(container, &exec).await;
            let timeout = format_timeout(check.timeout);
            (TIMED_OUT, format!("Health check exceeded timeout ({timeout})"))
        }
    };
    exec::forget(core, &exec.id);
    HealthProbe { start, end: core.clock.now(), exit_code, output: text }
}

async fn run(
    core: &Arc<Core>,
    container: &Arc<Container>,
    exec: &Arc<Exec>,
    output: &mut Vec<u8>,
) -> Result<i32, Error> {
    let session = exec::start(core, container, exec, ExecStart::default()).await?;
    if let Some(mut session) = session {
        while let Some(Ok(chunk)) = session.output.next().await {
            let room = OUTPUT_BYTES_MAX.saturating_sub(output.len());
            output.extend_from_slice(&chunk.bytes[..chunk.bytes.len().min(room)]);
        }
    }
    Ok(exec.ended().await)
}

/// As Go prints durations of whole seconds below an hour, and milliseconds.
fn format_timeout(timeout: Duration) -> String {
    let (seconds, millis) = (timeout.as_secs(), timeout.subsec_millis());
    match (seconds / 60, seconds % 60, millis) {
        (0, 0, millis) => format!("{millis}ms"),
        (0, seconds, 0) => format!("{seconds}s"),
        (0, seconds, millis) => {
            format!("{}s", format!("{seconds}.{millis:03}").trim_end_matches('0'))
        }
        (minutes, seconds, _) => format!("{minutes}m{seconds}s"),
    }
}

impl Owner {
    /// Takes a finished probe into account.
    fn probed(&mut self, check: &Check, started: Timestamp, probe: HealthProbe) {
        let current = self.container.view.borrow().state.started;
        if self.run.is_none() || current != Some(started) {
            return;
        }
        let Some(mut state) = self.container.view.borrow().state.health.clone() else { return };
        let changed = health::step(check, &mut state, started, probe);
        let status = state.status.as_str();
        self.change(|view| view.state.health = Some(state));
        if changed {
            self.publish(format!("health_status: {status}"), &[]);
        }
    }
}

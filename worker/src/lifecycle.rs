//! The life of one task on its node, as a state machine. Pure.
//!
//! The observed state only moves forward. What to do is decided from the phase, the wish of the managers and the
//! rules; each operation of the executor is an effect, and its result an event. A new operation cancels the one before.
//!
//! Source: swarmkit `design/task_model.md`, `agent/exec/controller.go Do`. Ours: retries, re-runs without
//! managers, `on_disconnect` (DESIGN §4.4).

mod rules;

use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::TaskState;
use shoal_model::cluster::task::TaskStatus;

pub use self::rules::Rules;
use crate::executor::{End, Found, Outcome, Stage};

/// Prepare, when something is unavailable, is tried so often.
pub const PREPARE_TRIES: u32 = 6;
/// First delay of a retry; doubles.
const RETRY_DELAY: Duration = Duration::from_secs(1);
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// For so long a worker looks for a manager before it runs a task again by itself.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time. Deadlines are monotonic; what is reported is of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Now {
    pub monotonic: Timestamp,
    pub wall: Timestamp,
}

/// What the executor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the executor's methods")]
pub enum Operation {
    Find,
    Prepare,
    Start,
    Settle,
    Wait,
    Shutdown { grace: Duration },
    Remove,
}

/// Why an operation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// For the user.
    pub message: String,
    /// Whether a later attempt may succeed.
    pub transient: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The task is taken up, anew or after a restart.
    Resume,
    /// What managers want, and what spec and service say.
    #[allow(missing_docs, reason = "the names say it")]
    Wish { desired: TaskState, rules: Rules },
    /// The task is no longer part of the set.
    Unassigned,
    /// No manager is reachable.
    CutOff,
    /// A manager is reachable, and its complete set has come.
    Connected,
    /// A deadline may have passed.
    Tick,
    /// Of [`Operation::Find`].
    Found(Result<Option<Found>, Trouble>),
    /// Of [`Operation::Prepare`].
    Prepared(Result<Found, Trouble>),
    /// Of [`Operation::Start`].
    Started(Result<Found, Trouble>),
    /// Of [`Operation::Settle`]: `None`: healthy.
    Settled(Result<Option<Outcome>, Trouble>),
    /// Of [`Operation::Wait`].
    Waited(Result<Outcome, Trouble>),
    /// Of [`Operation::Shutdown`].
    Stopped(Result<Option<Found>, Trouble>),
    /// Of [`Operation::Remove`].
    Removed(Result<(), Trouble>),
}

/// What the driver must do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Begin an operation, cancelling the one before.
    Run(Operation),
    /// Write the memory to disk and report the status.
    Report,
    /// Nothing is left: drop the task.
    Forget,
}

/// What outlives a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What was observed.
    pub status: TaskStatus,
    /// Runs without managers, by the wall clock.
    pub reruns: Vec<Timestamp>,
    /// How many there were; `reruns` is bounded.
    pub runs: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// An operation is under way.
    Busy(Operation, After),
    /// An operation failed and is tried again.
    Retry {
        operation: Operation,
        after: After,
        at: Timestamp,
    },
    /// Waits to be wanted.
    Prepared,
    /// Ended without managers; is run again then.
    Rerun {
        at: Timestamp,
        end: Ending,
    },
    Ended,
    Gone,
}

/// What follows an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// The next step of the usual course.
    Next,
    /// Of a shutdown: it was wanted.
    Shutdown,
    /// Of a shutdown: no manager was reachable for so long.
    CutOff(Duration),
    /// Of a shutdown: it was not healthy.
    Unhealthy,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Ending {
    error: String,
    exit_code: Option<i32>,
}

/// One task.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    memory: Memory,
    desired: TaskState,
    rules: Rules,
    assigned: bool,
    cut_off: Option<Timestamp>,
    phase: Phase,
    tries: u32,
}

impl Lifecycle {
    /// A task with what is known of it. Begin with [`Event::Resume`].
    pub fn new(memory: Memory, desired: TaskState, rules: Rules) -> Self {
        Self {
            memory,
            desired,
            rules,
            assigned: true,
            cut_off: None,
            phase: Phase::Busy(Operation::Find, After::Next),
            tries: 0,
        }
    }

    /// What was observed.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// When [`Event::Tick`] is due.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let own = match self.phase {
            Phase::Retry { at, .. } | Phase::Rerun { at, .. } => Some(at),
            Phase::Busy(..) | Phase::Prepared | Phase::Ended | Phase::Gone => None,
        };
        own.into_iter().chain(self.disconnect_deadline()).min()
    }

    /// Takes one event in.
    pub fn step(&mut self, now: Now, event: Event, out: &mut Vec<Effect>) {
        let before = self.memory.clone();
        match event {
            Event::Resume => self.run(Operation::Find, After::Next, out),
            Event::Wish { desired, rules } => {
                self.desired = self.desired.max(desired);
                self.rules = rules;
            }
            Event::Unassigned => self.assigned = false,
            Event::CutOff => drop(self.cut_off.get_or_insert(now.monotonic)),
            Event::Connected => {
                self.cut_off = None;
                if let Phase::Rerun { end, .. } = &self.phase {
                    let end = end.clone();
                    self.fail_for_good(now, end);
                }
            }
            Event::Tick => {}
            Event::Found(result) => self.found(now, result, out),
            Event::Prepared(result) => self.prepared(now, result),
            Event::Started(result) => self.started(now, result, out),
            Event::Settled(result) => self.settled(now, result, out),
            Event::Waited(result) => self.waited(now, result, out),
            Event::Stopped(result) => self.stopped(now, result),
            Event::Removed(result) => self.removed(now, result, out),
        }
        self.decide(now, out);
        if self.memory != before {
            out.push(Effect::Report);
        }
    }

    /// What follows from where the task stands.
    fn decide(&mut self, now: Now, out: &mut Vec<Effect>) {
        if let Some(reason) = self.reason_to_stop(now) {
            self.stop(now, reason, out);
        }
        match &self.phase {
            Phase::Ended if !self.assigned => self.run(Operation::Remove, After::Shutdown, out),
            Phase::Prepared if self.desired >= TaskState::Running => {
                self.observe(now, TaskState::Starting, "starting");
                self.run(Operation::Start, After::Next, out);
            }
            &Phase::Retry { operation, after, at } if at <= now.monotonic => {
                self.run(operation, after, out);
            }
            Phase::Rerun { at, .. } if *at <= now.monotonic => {
                self.memory.runs += 1;
                self.memory.reruns.push(now.wall);
                self.rules.bound(&mut self.memory.reruns);
                self.run(Operation::Remove, After::Next, out);
            }
            Phase::Busy(..)
            | Phase::Retry { .. }
            | Phase::Prepared
            | Phase::Rerun { .. }
            | Phase::Ended
            | Phase::Gone => {}
        }
    }

    fn reason_to_stop(&self, now: Now) -> Option<After> {
        if !self.assigned || self.desired >= TaskState::Shutdown {
            return Some(After::Shutdown);
        }
        let passed = self.disconnect_deadline().is_some_and(|at| at <= now.monotonic);
        self.rules.stop_after.filter(|_| passed).map(After::CutOff)
    }

    fn disconnect_deadline(&self) -> Option<Timestamp> {
        if self.memory.status.state.is_terminal() || self.is_stopping() {
            return None;
        }
        Some(self.cut_off?.after(self.rules.stop_after?))
    }

    fn is_stopping(&self) -> bool {
        matches!(
            self.phase,
            Phase::Busy(Operation::Shutdown { .. }, _)
                | Phase::Retry { operation: Operation::Shutdown { .. }, .. }
        )
    }

    fn stop(&mut self, now: Now, reason: After, out: &mut Vec<Effect>) {
        match self.phase {
            Phase::Ended | Phase::Gone => {}
            // Being removed for good.
            Phase::Busy(Operation::Remove, After::Shutdown)
            | Phase::Retry { operation: Operation::Remove, after: After::Shutdown, .. } => {}
            Phase::Rerun { .. } => match reason {
                After::CutOff(after) => self.fail_for_good(now, cut_off(after)),
                After::Next | After::Shutdown | After::Unhealthy => {
                    self.observe(now, TaskState::Shutdown, "shutdown");
                    self.phase = Phase::Ended;
                }
            },
            _ if self.is_stopping() => {}
            // Ended while its state is known: only what is left of it is looked for.
            Phase::Busy(Operation::Find, _) | Phase::Retry { operation: Operation::Find, .. }
                if self.memory.status.state.is_terminal() =>
            {
                self.phase = Phase::Ended;
            }
            Phase::Busy(..) | Phase::Retry { .. } | Phase::Prepared => {
                self.run(Operation::Shutdown { grace: self.rules.grace }, reason, out);
            }
        }
    }

    fn run(&mut self, operation: Operation, after: After, out: &mut Vec<Effect>) {
        self.phase = Phase::Busy(operation, after);
        out.push(Effect::Run(operation));
    }

    /// Tries again later.
    fn retry(&mut self, now: Now, operation: Operation, after: After) {
        let delay = (RETRY_DELAY * 2u32.saturating_pow(self.tries.min(10))).min(RETRY_DELAY_MAX);
        self.tries += 1;
        self.phase = Phase::Retry { operation, after, at: now.monotonic.after(delay) };
    }

    /// Moves the observed state forward; an earlier one is not taken.
    fn observe(&mut self, now: Now, state: TaskState, message: &str) {
        let status = &mut self.memory.status;
        if state > status.state {
            status.state = state;
            status.at = now.wall;
            message.clone_into(&mut status.message);
            if !state.is_terminal() {
                status.error.clear();
            }
        }
    }

    fn remember(&mut self, found: &Found) {
        self.memory.status.container = Some(found.container.clone());
        self.memory.status.ports.clone_from(&found.ports);
    }

    fn prepare(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.observe(now, TaskState::Accepted, "accepted");
        self.observe(now, TaskState::Preparing, "preparing");
        self.run(Operation::Prepare, After::Next, out);
    }

    fn found(&mut self, now: Now, result: Result<Option<Found>, Trouble>, out: &mut Vec<Effect>) {
        let found = match result {
            Ok(found) => found,
            Err(_) => return self.retry(now, Operation::Find, After::Next),
        };
        self.tries = 0;
        let state = self.memory.status.state;
        if state.is_terminal() {
            self.phase = Phase::Ended;
            return;
        }
        if let Some(found) = &found {
            self.remember(found);
        }
        match found.map(|found| found.stage) {
            None | Some(Stage::Created) if state <= TaskState::Ready => self.prepare(now, out),
            Some(Stage::Created) if state == TaskState::Starting => {
                self.run(Operation::Start, After::Next, out);
            }
            None => self.fail(now, "the container of the task is gone".to_owned(), None),
            Some(Stage::Created) => {
                self.fail(now, "the container of the task was replaced".to_owned(), None);
            }
            Some(Stage::Running) => {
                self.observe(now, TaskState::Starting, "starting");
                self.run(Operation::Settle, After::Next, out);
            }
            Some(Stage::Ended(end)) => {
                self.observe(now, TaskState::Starting, "starting");
                self.ended(now, end);
            }
        }
    }

    fn prepared(&mut self, now: Now, result: Result<Found, Trouble>) {
        match result {
            Ok(found) => {
                self.tries = 0;
                self.remember(&found);
                self.observe(now, TaskState::Ready, "prepared");
                self.phase = Phase::Prepared;
            }
            Err(trouble) if trouble.transient && self.tries + 1 < PREPARE_TRIES => {
                self.memory.status.error = trouble.message;
                self.retry(now, Operation::Prepare, After::Next);
            }
            Err(trouble) => self.fail(now, trouble.message, None),
        }
    }

    fn started(&mut self, now: Now, result: Result<Found, Trouble>, out: &mut Vec<Effect>) {
        match result {
            Ok(found) => {
                self.remember(&found);
                self.run(Operation::Settle, After::Next, out);
            }
            Err(trouble) => self.fail(now, trouble.message, None),
        }
    }

    fn settled(
        &mut self,
        now: Now,
        result: Result<Option<Outcome>, Trouble>,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(None) => {
                self.tries = 0;
                self.observe(now, TaskState::Running, "started");
                self.run(Operation::Wait, After::Next, out);
            }
            Ok(Some(outcome)) => self.over(now, outcome, out),
            Err(_) => self.retry(now, Operation::Find, After::Next),
        }
    }

    fn waited(&mut self, now: Now, result: Result<Outcome, Trouble>, out: &mut Vec<Effect>) {
        match result {
            Ok(outcome) => self.over(now, outcome, out),
            Err(_) => self.retry(now, Operation::Find, After::Next),
        }
    }

    fn over(&mut self, now: Now, outcome: Outcome, out: &mut Vec<Effect>) {
        match outcome {
            Outcome::Ended(end) => self.ended(now, end),
            Outcome::Unhealthy => {
                let shutdown = Operation::Shutdown { grace: self.rules.grace };
                self.run(shutdown, After::Unhealthy, out);
            }
        }
    }

    fn ended(&mut self, now: Now, end: End) {
        if end.exit_code != 0 || !end.error.is_empty() {
            let error = match end.error.is_empty() {
                true => format!("task: non-zero exit ({})", end.exit_code),
                false => format!("task: non-zero exit ({}): {}", end.exit_code, end.error),
            };
            return self.fail(now, error, Some(end.exit_code));
        }
        if let Some(at) = self.rerun_at(now, false) {
            let end = Ending { error: String::new(), exit_code: Some(0) };
            self.phase = Phase::Rerun { at, end };
            return;
        }
        self.complete(now);
    }

    fn complete(&mut self, now: Now) {
        self.set_exit(Some(0));
        self.observe(now, TaskState::Complete, "finished");
        self.phase = Phase::Ended;
    }

    fn fail(&mut self, now: Now, error: String, exit_code: Option<i32>) {
        let end = Ending { error, exit_code };
        match self.rerun_at(now, true) {
            Some(at) => self.phase = Phase::Rerun { at, end },
            None => self.fail_for_good(now, end),
        }
    }

    fn fail_for_good(&mut self, now: Now, end: Ending) {
        if end.error.is_empty() {
            return self.complete(now);
        }
        let state = match self.memory.status.state < TaskState::Starting {
            true => TaskState::Rejected,
            false => TaskState::Failed,
        };
        self.set_exit(end.exit_code);
        let message = self.memory.status.message.clone();
        self.observe(now, state, &message);
        self.memory.status.error = end.error;
        self.phase = Phase::Ended;
    }

    fn set_exit(&mut self, exit_code: Option<i32>) {
        if let Some(container) = &mut self.memory.status.container {
            container.pid = 0;
            container.exit_code = exit_code.unwrap_or(container.exit_code);
        }
    }

    fn rerun_at(&self, now: Now, failed: bool) -> Option<Timestamp> {
        let cut_off = self.cut_off?;
        if !self.assigned || self.desired != TaskState::Running {
            return None;
        }
        let delay = self.rules.rerun_delay(now.wall, &self.memory.reruns, failed)?;
        Some(now.monotonic.after(delay).max(cut_off.after(PATIENCE)))
    }

    fn stopped(&mut self, now: Now, result: Result<Option<Found>, Trouble>) {
        let Phase::Busy(operation, after) = self.phase else { return };
        let found = match result {
            Ok(found) => found,
            Err(trouble) => {
                self.memory.status.error = trouble.message;
                return self.retry(now, operation, after);
            }
        };
        self.tries = 0;
        let exit_code = found.as_ref().map(|found| found.container.exit_code);
        if let Some(found) = &found {
            self.remember(found);
        }
        match after {
            After::Next | After::Shutdown => {
                self.set_exit(exit_code);
                self.memory.status.error.clear();
                self.observe(now, TaskState::Shutdown, "shutdown");
                self.phase = Phase::Ended;
            }
            After::CutOff(time) => self.fail_for_good(now, cut_off(time)),
            After::Unhealthy => {
                self.fail(now, "task: unhealthy container".to_owned(), exit_code);
            }
        }
    }

    fn removed(&mut self, now: Now, result: Result<(), Trouble>, out: &mut Vec<Effect>) {
        let Phase::Busy(operation, after) = self.phase else { return };
        match (result, after) {
            (Err(_), _) => self.retry(now, operation, after),
            (Ok(()), After::Next) => {
                self.tries = 0;
                self.prepare(now, out);
            }
            (Ok(()), _) => {
                self.phase = Phase::Gone;
                out.push(Effect::Forget);
            }
        }
    }
}

fn cut_off(after: Duration) -> Ending {
    let error = format!("stopped by its node, which reached no manager for {after:?}");
    Ending { error, exit_code: None }
}

#[cfg(test)]
mod tests;

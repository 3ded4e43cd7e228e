//! One step of an update.

use std::sync::Arc;
use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::service::{
    FailureAction, UpdateConfig, UpdateOrder, UpdateState, UpdateStatus,
};
use shoal_model::cluster::task::RestartHistory;
use shoal_model::cluster::{TaskId, TaskState};

use super::assess::{Rule, Standing, assess, is_old};
use super::roll_back;
use crate::orchestrator::Place;
use crate::orchestrator::board::{Board, Creation};
use crate::orchestrator::gate::Waiting;
use crate::restart;

const IN_PROGRESS: &str = "update in progress";
/// An update without progress for so long has failed, where the service does not say otherwise.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

/// Brings the update of a service on: begins it, begins further places as lanes become free, ends, halts or reverses it.
///
/// At most `parallelism` places hold a lane at a time; a place holds one from its new task's creation until that runs, and
/// the delay after. Nothing is remembered between steps but what is in the store.
pub fn step(board: &mut Board<'_>) {
    if board.service().spec.mode.is_job() || !begin_if_needed(board) {
        return;
    }
    if is_held(board) {
        return;
    }
    let service = board.service();
    let Some(update) = service.update.clone() else { return };
    let config = config_of(board, update.state);
    let deadline = service.spec.extensions.update_deadline.unwrap_or(DEFAULT_DEADLINE);
    let rule = Rule { update: &update, config: &config, deadline };
    let survey = Survey::of(board, rule);
    record(board, &survey);
    if survey.exceeds(&update, &config) && act(board, &config, &survey, deadline) {
        return;
    }
    for at in &survey.wakes {
        board.wake(*at, None);
    }
    if survey.is_over(board.now()) {
        complete(board);
        return;
    }
    let lanes = usize::try_from(config.parallelism).unwrap_or(usize::MAX);
    let lanes = if lanes == 0 { usize::MAX } else { lanes };
    for &(_, place) in survey.old.iter().take(lanes.saturating_sub(survey.busy)) {
        renew(board, place, config.order);
    }
}

/// Whether a place calls for an update that is not under way.
pub fn is_due(board: &Board<'_>, place: Place) -> bool {
    let service = board.service();
    let may_begin = match service.update.as_ref().map(|update| update.state) {
        None | Some(UpdateState::Completed | UpdateState::RollbackCompleted) => true,
        Some(UpdateState::Paused | UpdateState::RollbackPaused) => false,
        // Then services are planned whole anyway.
        Some(UpdateState::Updating | UpdateState::RollbackStarted) => false,
    };
    may_begin && !service.spec.mode.is_job() && is_old(board, place)
}

/// Sees whether there is something to update; counts what, when it begins. `false`: nothing to do.
fn begin_if_needed(board: &mut Board<'_>) -> bool {
    let state = board.service().update.as_ref().map(|update| update.state);
    let begins = match state {
        None | Some(UpdateState::Completed | UpdateState::RollbackCompleted) => true,
        Some(UpdateState::Paused | UpdateState::RollbackPaused) => return false,
        Some(UpdateState::Updating | UpdateState::RollbackStarted) => false,
    };
    let counted = board.service().update.as_ref().is_some_and(|update| update.total > 0);
    if !begins && counted {
        return true;
    }
    let old = board.places().into_iter().filter(|&place| is_old(board, place)).count();
    let total = u32::try_from(old).unwrap_or(u32::MAX);
    if begins && total == 0 {
        return false;
    }
    let now = board.now();
    board.change_service(|service| match &mut service.update {
        Some(update) if !begins => update.total = total,
        update => {
            *update = Some(UpdateStatus {
                state: UpdateState::Updating,
                started: now,
                completed: None,
                message: IN_PROGRESS.to_owned(),
                total,
                failed: 0,
                progressed: now,
            });
        }
    });
    true
}

/// Whether the update waits for other services; its message says for which.
fn is_held(board: &mut Board<'_>) -> bool {
    let message = match board.gate() {
        [] => IN_PROGRESS.to_owned(),
        gate => format!("update {}", Waiting(gate)),
    };
    let now = board.now();
    board.change_service(|service| {
        let Some(update) = &mut service.update else { return };
        if update.state == UpdateState::Updating && update.message != message {
            (update.message, update.progressed) = (message, now);
        }
    });
    !board.gate().is_empty()
}

fn config_of(board: &Board<'_>, state: UpdateState) -> UpdateConfig {
    let spec = &board.service().spec;
    let config = if state == UpdateState::RollbackStarted { &spec.rollback } else { &spec.update };
    config.clone().unwrap_or_default()
}

/// All places of a service in an update.
#[derive(Debug, Default)]
struct Survey {
    /// Places to begin with, those that do not run first.
    old: Vec<(bool, Place)>,
    /// Lanes that are taken.
    busy: usize,
    /// Whether new tasks are on their way.
    pending: bool,
    /// All new tasks have been watched for long enough at this time.
    proven: Timestamp,
    /// When a place last advanced.
    progressed: Option<Timestamp>,
    /// Places that failed; the first of them, and whether it just does not get on.
    failed: u32,
    example: Option<(TaskId, bool)>,
    wakes: Vec<Timestamp>,
}

impl Survey {
    fn of(board: &Board<'_>, rule: Rule<'_>) -> Self {
        let mut survey = Self::default();
        for place in board.places() {
            survey.add(assess(board, place, rule), place, board.now());
        }
        survey.old.sort_unstable();
        survey
    }

    fn add(&mut self, standing: Standing, place: Place, now: Timestamp) {
        let free = match standing {
            Standing::Settled => return,
            Standing::Old { running } => {
                self.old.push((running, place));
                return;
            }
            Standing::Busy { deadline } => {
                self.pending = true;
                deadline
            }
            Standing::Advanced { at, free, proven } => {
                self.progressed = self.progressed.max(Some(at));
                self.proven = self.proven.max(proven);
                if proven > now {
                    self.wakes.push(proven);
                }
                free
            }
            Standing::Failed { task, stuck, free } => {
                self.failed += 1;
                self.example.get_or_insert((task, stuck));
                free
            }
        };
        if free > now {
            self.busy += 1;
            self.wakes.push(free);
        }
    }

    fn exceeds(&self, update: &UpdateStatus, config: &UpdateConfig) -> bool {
        let failed = self.failed.max(update.failed);
        let total = update.total.max(1);
        self.example.is_some()
            && f64::from(failed) / f64::from(total) > f64::from(config.max_failure_ratio)
    }

    fn is_over(&self, now: Timestamp) -> bool {
        self.old.is_empty() && !self.pending && self.proven <= now
    }
}

/// Writes down what history may lose. Not each advance, which can be seen from the tasks: every write of a service
/// makes the user's next one be out of sequence.
fn record(board: &mut Board<'_>, survey: &Survey) {
    board.change_service(|service| {
        let Some(update) = &mut service.update else { return };
        if survey.failed > update.failed {
            update.failed = survey.failed;
            update.progressed = survey.progressed.unwrap_or(update.progressed);
        }
    });
}

/// Does what the user wants when too much fails. `false`: go on.
fn act(board: &mut Board<'_>, config: &UpdateConfig, survey: &Survey, patience: Duration) -> bool {
    let Some((task, stuck)) = survey.example else { return false };
    let why = if stuck {
        format!("no progress of task {task} for {} s", patience.as_secs())
    } else {
        format!("failure or early termination of task {task}")
    };
    let reverses = board
        .service()
        .update
        .as_ref()
        .is_some_and(|update| update.state == UpdateState::RollbackStarted);
    match config.failure_action {
        FailureAction::Continue => false,
        FailureAction::Pause => {
            halt(board, reverses, why);
            true
        }
        FailureAction::Rollback if reverses => {
            halt(board, reverses, why);
            true
        }
        FailureAction::Rollback => {
            let message = format!("update rolled back due to {why}");
            match roll_back(board.service(), &message, board.now()) {
                Ok(service) => board.change_service(|present| *present = service),
                Err(none) => halt(board, reverses, format!("{why}; {none}")),
            }
            true
        }
    }
}

fn halt(board: &mut Board<'_>, reverses: bool, why: String) {
    board.change_service(|service| {
        let Some(update) = &mut service.update else { return };
        update.state = if reverses { UpdateState::RollbackPaused } else { UpdateState::Paused };
        update.message = format!("update paused due to {why}");
    });
}

fn complete(board: &mut Board<'_>) {
    let now = board.now();
    board.change_service(|service| {
        let Some(update) = &mut service.update else { return };
        let (state, message) = if update.state == UpdateState::RollbackStarted {
            (UpdateState::RollbackCompleted, "rollback completed")
        } else {
            (UpdateState::Completed, "update completed")
        };
        update.state = state;
        update.message = message.to_owned();
        update.completed = Some(now);
    });
}

/// Begins to replace the old task of a place. Where an earlier update left several, one that runs is kept until the
/// new one does.
fn renew(board: &mut Board<'_>, place: Place, order: UpdateOrder) {
    let old = board.wanted_in(place);
    let running = old.iter().rev().find(|task| task.status.state == TaskState::Running);
    let kept = running.filter(|_| order == UpdateOrder::StartFirst).map(|task| task.id);
    let last = old.last().or_else(|| board.newest(place)).map(|task| task.id);
    let Some(predecessor) = kept.or(last) else { return };
    for task in old.iter().filter(|task| Some(task.id) != kept) {
        board.set_desired(task.id, TaskState::Shutdown);
    }
    let spec = Arc::clone(&board.service().spec.task);
    let spec = Some((spec, board.service().spec_version));
    let history = RestartHistory { predecessor: Some(predecessor), ..RestartHistory::default() };
    // Starts at once when nothing in the place is stopping.
    board.create(Creation { place, spec, desired: TaskState::Ready, history });
    restart::settle(board, place);
}

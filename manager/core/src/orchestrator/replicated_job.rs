//! Replicated jobs: so many completions, so many at a time. Each completion has a slot of its own.
//!
//! Source: swarmkit `manager/orchestrator/jobs/replicated/reconciler.go`. Differs: a slot whose task failed for good is
//! given up and not begun again.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use shoal_model::cluster::service::ServiceMode;
use shoal_model::cluster::{Task, TaskState, Version};

use super::board::{Board, is_wanted};
use super::replicated::{create, free_slots};
use crate::restart;

/// Goals of a job: most at a time, completions. Neither said: one of each; only one said: both are that.
pub fn goals(max_concurrent: Option<u64>, total_completions: Option<u64>) -> (usize, usize) {
    let most = max_concurrent.filter(|most| *most > 0);
    let total = total_completions.or(most).unwrap_or(1);
    let most = match (most, max_concurrent) {
        (Some(most), _) => most,
        // Zero: no limit.
        (None, Some(_)) => total,
        (None, None) => 1,
    };
    let clamp = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    (clamp(most), clamp(total))
}

/// Begins as many slots as may run now.
pub fn advance(board: &mut Board<'_>) {
    let service = board.service();
    let ServiceMode::ReplicatedJob { max_concurrent, total_completions } = service.spec.mode else {
        return;
    };
    let (most, total) = goals(max_concurrent, total_completions);
    let iteration = board.iteration();
    let (mut used, mut active, mut over) = (BTreeSet::new(), Vec::new(), 0);
    for place in board.places() {
        let tasks = board.tasks_in(place).filter(|task| is_current(task, iteration));
        let tasks: Vec<_> = tasks.collect();
        if tasks.is_empty() {
            continue;
        }
        used.insert(place);
        let completed = tasks.iter().any(|task| task.status.state == TaskState::Complete);
        if completed || restart::is_finished(board, place) {
            over += 1;
        } else if tasks.iter().any(|task| is_wanted(task)) {
            active.push(place);
        }
    }
    let allowed = most.min(total.saturating_sub(over));
    if active.len() < allowed {
        let new: Vec<_> = free_slots(&used).take(allowed - active.len()).collect();
        for place in new {
            create(board, place, TaskState::Complete);
        }
    } else {
        let excess = active.len() - allowed;
        active.sort_by_cached_key(|&place| {
            let mut tasks = board.tasks_in(place);
            let running = tasks.any(|task| task.status.state == TaskState::Running);
            (running, Reverse(place))
        });
        for &place in active.iter().take(excess) {
            board.retire_place(place, TaskState::Remove);
        }
    }
}

fn is_current(task: &Task, iteration: Option<Version>) -> bool {
    task.job_iteration == iteration && task.desired != TaskState::Remove
}

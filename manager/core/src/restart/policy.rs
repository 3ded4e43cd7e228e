//! Whether another attempt follows the end of a task, and when.

use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::task::{RestartCondition, RestartHistory};
use shoal_model::cluster::{Task, TaskState};

/// Start of the back-off where the user names none.
const DEFAULT_DELAY: Duration = Duration::from_secs(5);
/// Second delay where the user wants the first to be zero.
const FIRST_STEP: Duration = Duration::from_millis(100);
/// The back-off grows to this, or to the user's delay where that is longer.
pub const DELAY_MAX: Duration = Duration::from_secs(300);
/// A task that ran for so long was healthy: the back-off starts anew.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// Whether another attempt may follow the end of this task. The answer is about the time of its end, so that it
/// stays the same however often and however late it is asked for.
pub fn allows_another(task: &Task) -> bool {
    let policy = task.spec.restart.as_ref();
    let condition = policy.and_then(|policy| policy.condition).unwrap_or_default();
    let completed = task.status.state == TaskState::Complete;
    let by_condition = match condition {
        RestartCondition::None => false,
        RestartCondition::OnFailure => !completed,
        RestartCondition::Any => !(completed && task.job_iteration.is_some()),
    };
    let most = policy.and_then(|policy| policy.max_attempts).filter(|most| *most > 0);
    let is_left = most.is_none_or(|most| {
        u64::try_from(counted(task, task.status.at).count()).is_ok_and(|counted| counted < most)
    });
    by_condition && is_left
}

/// What the next attempt after the end of this task inherits, and in it when it may start; whom it succeeds is
/// the caller's to say.
pub(super) fn next_history(task: &Task, now: Timestamp) -> RestartHistory {
    let policy = task.spec.restart.as_ref();
    let succeeded = task.status.state == TaskState::Complete;
    let healthy = task.status.ran_for().is_some_and(|ran| ran >= HEALTHY_AFTER);
    let before = if succeeded || healthy { 0 } else { task.history.consecutive };
    let base = policy.and_then(|policy| policy.delay).unwrap_or(DEFAULT_DELAY);
    // Attempts are only worth remembering where they are counted.
    let counts = policy.and_then(|policy| policy.max_attempts).is_some_and(|most| most > 0);
    let attempts = if counts { counted(task, now).chain([now]).collect() } else { Vec::new() };
    RestartHistory {
        attempts,
        consecutive: if succeeded { 0 } else { before.saturating_add(1) },
        not_before: Some(now.after(back_off(base, before))).max(task.history.not_before),
        predecessor: None,
    }
}

/// The delay after so many earlier failures in a row.
pub fn back_off(base: Duration, failures: u32) -> Duration {
    let (start, doublings) = match failures {
        0 => return base,
        _ if base.is_zero() => (FIRST_STEP, failures - 1),
        _ => (base, failures),
    };
    let factor = 2u32.saturating_pow(doublings);
    start.saturating_mul(factor).min(DELAY_MAX.max(base))
}

/// The attempts before this task that lie within the window before `at`.
fn counted(task: &Task, at: Timestamp) -> impl Iterator<Item = Timestamp> {
    let window = task.spec.restart.as_ref().and_then(|policy| policy.window);
    let window = window.filter(|window| !window.is_zero());
    let attempts = task.history.attempts.iter().copied();
    attempts.filter(move |attempt| window.is_none_or(|window| at.since(*attempt) <= window))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_to_the_cap() {
        let seconds = |base, failures| back_off(Duration::from_secs(base), failures).as_secs();
        let five: Vec<_> = (0..9).map(|failures| seconds(5, failures)).collect();
        assert_eq!(five, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(seconds(5, u32::MAX), 300);
        assert_eq!((seconds(600, 0), seconds(600, 7)), (600, 600), "the user may wait for longer");
    }

    #[test]
    fn no_delay_is_none_once_and_no_tight_loop_after() {
        let delays: Vec<_> = (0..4).map(|n| back_off(Duration::ZERO, n).as_millis()).collect();
        assert_eq!(delays, [0, 100, 200, 400]);
        assert_eq!(back_off(Duration::ZERO, 40), DELAY_MAX);
    }
}

//! What a task's spec and service say about stopping and running again. Pure.

use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::AssignedTask;
use shoal_model::cluster::service::OnDisconnect;
use shoal_model::cluster::task::{RestartCondition, RestartPolicy};

const GRACE: Duration = Duration::from_secs(10);
const DELAY: Duration = Duration::from_secs(5);
const DELAY_MAX: Duration = Duration::from_secs(5 * 60);
/// Re-runs that are remembered when no window says how many matter.
const REMEMBERED: usize = 64;

/// What a task's spec and service say, defaults applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Between stop signal and kill.
    pub grace: Duration,
    /// What follows an end.
    pub restart: RestartPolicy,
    /// Without managers for so long the task is stopped; `None`: it stays.
    pub stop_after: Option<Duration>,
}

impl Rules {
    /// Of a task.
    pub fn of(assigned: &AssignedTask) -> Self {
        let spec = &assigned.task.spec;
        Self {
            grace: spec.stop_grace_period.unwrap_or(GRACE),
            restart: spec.restart.clone().unwrap_or_default(),
            stop_after: match assigned.on_disconnect {
                OnDisconnect::Keep => None,
                OnDisconnect::Stop(after) => Some(after),
            },
        }
    }

    /// How long to wait before the next run; `None`: there is none. Doubles with each run that counts.
    pub(super) fn rerun_delay(
        &self,
        now: Timestamp,
        reruns: &[Timestamp],
        failed: bool,
    ) -> Option<Duration> {
        match self.restart.condition.unwrap_or_default() {
            RestartCondition::None => return None,
            RestartCondition::OnFailure if !failed => return None,
            RestartCondition::OnFailure | RestartCondition::Any => {}
        }
        let window = self.restart.window.filter(|window| !window.is_zero());
        let counts = |&&time: &&Timestamp| window.is_none_or(|window| now.since(time) < window);
        let count = reruns.iter().filter(counts).count();
        let attempts = self.restart.max_attempts.filter(|&max| max > 0);
        if attempts.is_some_and(|max| u64::try_from(count).unwrap_or(u64::MAX) >= max) {
            return None;
        }
        let doublings = u32::try_from(count.min(10)).unwrap_or(10);
        let delay = self.restart.delay.unwrap_or(DELAY);
        Some((delay * 2u32.pow(doublings)).min(DELAY_MAX.max(delay)))
    }

    /// Drops what need not be remembered.
    pub(super) fn bound(&self, reruns: &mut Vec<Timestamp>) {
        let wanted = self.restart.max_attempts.and_then(|max| usize::try_from(max).ok());
        let keep = wanted.unwrap_or(REMEMBERED).max(REMEMBERED);
        if reruns.len() > keep {
            reruns.drain(..reruns.len() - keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(condition: RestartCondition, max_attempts: u64, window: u64) -> Rules {
        Rules {
            restart: RestartPolicy {
                condition: Some(condition),
                delay: Some(Duration::from_secs(1)),
                max_attempts: Some(max_attempts),
                window: Some(Duration::from_secs(window)),
            },
            ..Rules::default()
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_parts(seconds, 0)
    }

    #[test]
    fn conditions_attempts_and_window_decide() {
        let none = rules(RestartCondition::None, 0, 0);
        assert_eq!(none.rerun_delay(at(0), &[], true), None);
        let failure = rules(RestartCondition::OnFailure, 2, 0);
        assert_eq!(failure.rerun_delay(at(0), &[], false), None);
        assert_eq!(failure.rerun_delay(at(9), &[at(1)], true), Some(Duration::from_secs(2)));
        assert_eq!(failure.rerun_delay(at(9), &[at(1), at(2)], true), None);
        let window = rules(RestartCondition::Any, 2, 5);
        assert_eq!(window.rerun_delay(at(9), &[at(1), at(5)], true), Some(Duration::from_secs(2)));
    }

    #[test]
    fn the_delay_is_capped() {
        let any = rules(RestartCondition::Any, 0, 0);
        assert_eq!(any.rerun_delay(at(0), &[at(0); 30], true), Some(DELAY_MAX));
    }
}

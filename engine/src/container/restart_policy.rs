//! Whether and when a container that ended is started again. Pure.
//!
//! Source: moby `restartmanager/restartmanager.go`; docker docs "Start containers automatically".

use std::time::Duration;

use shoal_model::container::RestartPolicy;

/// First wait before a restart.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before a restart.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A run at least this long makes the next wait the first again.
pub const GOOD_RUN: Duration = Duration::from_secs(10);

/// What an exit says to the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Exit code.
    pub code: i32,
    /// How long it ran.
    pub ran: Duration,
    /// The user stopped or killed it.
    pub by_user: bool,
}

/// What the policy remembers between exits of one chain of restarts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Chain {
    /// Restarts made by the policy since the user's last start.
    pub restarts: u32,
    /// Wait before the last restart; zero: none yet.
    pub wait: Duration,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It stays exited.
    Stay,
    /// Start it again after `wait`, remembering `chain`.
    Restart {
        /// How long.
        wait: Duration,
        /// The new memory.
        chain: Chain,
    },
}

/// Decides after an exit.
pub fn after_exit(policy: &RestartPolicy, ended: Ended, chain: Chain) -> Decision {
    let wanted = !ended.by_user
        && match policy {
            RestartPolicy::No => false,
            RestartPolicy::Always | RestartPolicy::UnlessStopped => true,
            RestartPolicy::OnFailure { max_retries } => {
                ended.code != 0 && (*max_retries == 0 || chain.restarts < *max_retries)
            }
        };
    if !wanted {
        return Decision::Stay;
    }
    let wait = if chain.wait.is_zero() || ended.ran >= GOOD_RUN {
        BACKOFF_FIRST
    } else {
        (chain.wait * 2).min(BACKOFF_MAX)
    };
    Decision::Restart { wait, chain: Chain { restarts: chain.restarts + 1, wait } }
}

/// How a container stood when the daemon went down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// It was started at least once.
    pub started_before: bool,
    /// The user's last word was stop or kill.
    pub stopped_by_user: bool,
    /// It ended while nobody watched (daemon down, or host restarted).
    pub ended_unwatched: bool,
    /// Its last exit code.
    pub code: i32,
    /// Restarts so far.
    pub restarts: u32,
}

/// Decides for a container that does not run when the daemon comes up.
pub fn at_daemon_start(policy: &RestartPolicy, found: Found) -> bool {
    found.started_before
        && match policy {
            RestartPolicy::No => false,
            RestartPolicy::Always => true,
            RestartPolicy::UnlessStopped => !found.stopped_by_user,
            RestartPolicy::OnFailure { max_retries } => {
                !found.stopped_by_user
                    && found.ended_unwatched
                    && found.code != 0
                    && (*max_retries == 0 || found.restarts < *max_retries)
            }
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRASH: Ended = Ended { code: 1, ran: Duration::from_secs(1), by_user: false };

    #[test]
    fn waits_double_to_a_minute_and_fall_back_after_a_good_run() {
        let mut chain = Chain::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            let Decision::Restart { wait, chain: next } =
                after_exit(&RestartPolicy::Always, CRASH, chain)
            else {
                panic!("always restarts")
            };
            waits.push(wait.as_millis());
            chain = next;
        }
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]
        );
        let good = Ended { ran: GOOD_RUN, ..CRASH };
        assert_eq!(
            after_exit(&RestartPolicy::Always, good, chain),
            Decision::Restart {
                wait: BACKOFF_FIRST,
                chain: Chain { restarts: 13, wait: BACKOFF_FIRST }
            }
        );
    }

    #[test]
    fn policies_decide() {
        let restarts = |policy: &RestartPolicy, code, by_user, restarts| {
            let ended = Ended { code, by_user, ..CRASH };
            after_exit(policy, ended, Chain { restarts, wait: Duration::ZERO }) != Decision::Stay
        };
        let limited = RestartPolicy::OnFailure { max_retries: 2 };
        let endless = RestartPolicy::OnFailure { max_retries: 0 };
        let table: Vec<bool> = vec![
            restarts(&RestartPolicy::No, 1, false, 0),
            restarts(&RestartPolicy::Always, 0, false, 0),
            restarts(&RestartPolicy::Always, 0, true, 0),
            restarts(&RestartPolicy::UnlessStopped, 0, false, 0),
            restarts(&RestartPolicy::UnlessStopped, 0, true, 0),
            restarts(&limited, 0, false, 0),
            restarts(&limited, 1, false, 1),
            restarts(&limited, 1, false, 2),
            restarts(&endless, 1, false, 99),
        ];
        assert_eq!(table, [false, true, false, true, false, false, true, false, true]);
    }

    #[test]
    fn daemon_start_honours_the_users_stop() {
        let found = Found {
            started_before: true,
            stopped_by_user: true,
            ended_unwatched: false,
            code: 137,
            restarts: 0,
        };
        let never = Found { started_before: false, stopped_by_user: false, ..found };
        let crashed = Found { stopped_by_user: false, ended_unwatched: true, ..found };
        let on_failure = RestartPolicy::OnFailure { max_retries: 0 };
        let decide =
            |policy: &RestartPolicy| [found, never, crashed].map(|f| at_daemon_start(policy, f));
        assert_eq!(decide(&RestartPolicy::No), [false, false, false]);
        assert_eq!(decide(&RestartPolicy::Always), [true, false, true]);
        assert_eq!(decide(&RestartPolicy::UnlessStopped), [false, false, true]);
        assert_eq!(decide(&on_failure), [false, false, true]);
    }
}

//! The health state machine: when to probe, and what a result means. Pure.
//!
//! Source: moby `daemon/health.go`; Dockerfile reference "HEALTHCHECK".

use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::container::{HealthProbe, HealthState, HealthStatus, Healthcheck};

/// Bytes of a probe's output that are kept.
pub const OUTPUT_BYTES_MAX: usize = 4096;
/// Probes kept in the log.
pub const LOG_LENGTH: usize = 5;
/// A probe that timed out shows this exit code.
pub const TIMED_OUT: i32 = -1;

/// A check with docker's defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Arguments of the probe.
    pub command: Vec<String>,
    /// Between probes.
    pub interval: Duration,
    /// For one probe.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy.
    pub retries: u32,
    /// In which failures do not count.
    pub start_period: Duration,
    /// Between probes in the start period.
    pub start_interval: Duration,
}

/// Makes the check of a merged spec; `shell` runs `CMD-SHELL`. `None`: there is none.
pub fn check(healthcheck: Option<&Healthcheck>, shell: Option<&[String]>) -> Option<Check> {
    let healthcheck = healthcheck?;
    let command = match healthcheck.test.split_first() {
        Some((kind, arguments)) if kind == "CMD" && !arguments.is_empty() => arguments.to_vec(),
        Some((kind, arguments)) if kind == "CMD-SHELL" && !arguments.is_empty() => {
            let default = ["/bin/sh".to_owned(), "-c".to_owned()];
            let shell = shell.filter(|shell| !shell.is_empty()).unwrap_or(&default);
            shell.iter().cloned().chain(arguments.first().cloned()).collect()
        }
        _ => return None,
    };
    let or = |duration: Duration, default: u64| {
        if duration.is_zero() { Duration::from_secs(default) } else { duration }
    };
    Some(Check {
        command,
        interval: or(healthcheck.interval, 30),
        timeout: or(healthcheck.timeout, 30),
        retries: if healthcheck.retries == 0 { 3 } else { healthcheck.retries },
        start_period: healthcheck.start_period,
        start_interval: or(healthcheck.start_interval, 5),
    })
}

/// Health of a container that just started.
pub fn starting() -> HealthState {
    HealthState { status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() }
}

/// How long to wait before the next probe. `started` is the container's start.
pub fn next_wait(
    check: &Check,
    state: &HealthState,
    started: Timestamp,
    now: Timestamp,
) -> Duration {
    let in_start_period =
        state.status == HealthStatus::Starting && now.since(started) < check.start_period;
    if in_start_period { check.start_interval } else { check.interval }
}

/// Takes a finished probe into account. Returns whether the verdict changed.
pub fn step(
    check: &Check,
    state: &mut HealthState,
    started: Timestamp,
    probe: HealthProbe,
) -> bool {
    let before = state.status;
    if probe.exit_code == 0 {
        state.failing_streak = 0;
        state.status = HealthStatus::Healthy;
    } else {
        // In the start period a failure changes nothing until the first success.
        let forgiven = state.status == HealthStatus::Starting
            && probe.start.since(started) < check.start_period;
        if !forgiven {
            state.failing_streak += 1;
            if state.failing_streak >= check.retries {
                state.status = HealthStatus::Unhealthy;
            }
        }
    }
    state.log.push(probe);
    let excess = state.log.len().saturating_sub(LOG_LENGTH);
    state.log.drain(..excess);
    state.status != before
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    fn example(start_period: u64) -> Check {
        let spec = Healthcheck {
            test: vec!["CMD-SHELL".to_owned(), "true".to_owned()],
            retries: 2,
            start_period: Duration::from_secs(start_period),
            ..Healthcheck::default()
        };
        check(Some(&spec), None).unwrap()
    }

    /// Plays `(second, exit code)` probes and renders verdict, streak and next wait.
    fn play(check: &Check, probes: &[(i64, i32)]) -> String {
        let start = Timestamp::from_parts(0, 0);
        let mut state = starting();
        let lines = probes.iter().map(|&(second, exit_code)| {
            let at = Timestamp::from_parts(second, 0);
            let probe = HealthProbe { start: at, end: at, exit_code, output: String::new() };
            let changed = step(check, &mut state, start, probe);
            let wait = next_wait(check, &state, start, at).as_secs();
            let mark = if changed { " *" } else { "" };
            let (status, streak) = (state.status.as_str(), state.failing_streak);
            format!("{second} {exit_code} -> {status} {streak} next {wait}{mark}\n")
        });
        lines.collect()
    }

    #[test]
    fn retries_make_unhealthy_and_one_success_heals() {
        expect![[r#"
            5 1 -> starting 1 next 30
            35 -1 -> unhealthy 2 next 30 *
            65 1 -> unhealthy 3 next 30
            95 0 -> healthy 0 next 30 *
            125 1 -> healthy 1 next 30
            155 1 -> unhealthy 2 next 30 *
        "#]]
        .assert_eq(&play(&example(0), &[(5, 1), (35, -1), (65, 1), (95, 0), (125, 1), (155, 1)]));
    }

    #[test]
    fn start_period_forgives_until_the_first_success() {
        expect![[r#"
            5 1 -> starting 0 next 5
            10 1 -> starting 0 next 5
            15 0 -> healthy 0 next 30 *
            16 1 -> healthy 1 next 30
            17 1 -> unhealthy 2 next 30 *
        "#]]
        .assert_eq(&play(&example(60), &[(5, 1), (10, 1), (15, 0), (16, 1), (17, 1)]));
        expect![[r#"
            59 1 -> starting 0 next 5
            64 1 -> starting 1 next 30
            94 1 -> unhealthy 2 next 30 *
        "#]]
        .assert_eq(&play(&example(60), &[(59, 1), (64, 1), (94, 1)]));
    }

    #[test]
    fn commands_and_defaults() {
        let of = |test: &[&str], shell: Option<&[String]>| {
            let test = test.iter().map(|&word| word.to_owned()).collect();
            check(Some(&Healthcheck { test, ..Healthcheck::default() }), shell).map(|c| c.command)
        };
        assert_eq!(of(&["NONE"], None), None);
        assert_eq!(of(&[], None), None);
        assert_eq!(of(&["CMD"], None), None);
        assert_eq!(of(&["CMD", "a", "b"], None).unwrap(), ["a", "b"]);
        assert_eq!(of(&["CMD-SHELL", "a b"], None).unwrap(), ["/bin/sh", "-c", "a b"]);
        let bash = ["bash".to_owned(), "-ec".to_owned()];
        assert_eq!(of(&["CMD-SHELL", "a b"], Some(&bash)).unwrap(), ["bash", "-ec", "a b"]);
        assert_eq!(example(0).timeout, Duration::from_secs(30));
    }

    #[test]
    fn the_log_keeps_five() {
        let check = example(0);
        let mut state = starting();
        for second in 0..7 {
            let at = Timestamp::from_parts(second, 0);
            let probe = HealthProbe { start: at, end: at, exit_code: 0, output: String::new() };
            step(&check, &mut state, Timestamp::from_parts(0, 0), probe);
        }
        let kept: Vec<i64> = state.log.iter().map(|probe| probe.start.seconds()).collect();
        assert_eq!(kept, [2, 3, 4, 5, 6]);
    }
}

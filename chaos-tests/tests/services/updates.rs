//! Updates: order, parallelism, delay, and what follows when they fail.

use std::time::Duration;

use shoal_chaos_tests::command::monotonic;

use crate::{SLEEP, lab};

/// States and images of the tasks that are wanted.
const WANTED: [&str; 5] =
    ["ps", "--filter", "desired-state=running", "--format", "{{.Image}} {{.CurrentState}}"];

#[test]
fn updates_keep_order_and_do_what_failures_ask_for() {
    let lab = lab("update", 3, 1, &[]);
    order(&lab);
    failures(&lab);
    delay(&lab);
}

fn order(lab: &shoal_chaos_tests::service_lab::ServiceLab) {
    let monitor = ["--update-monitor", "300ms"];
    lab.create("first", &[&monitor[..], &["--update-order", "start-first"]].concat(), &SLEEP)
        .unwrap();
    let old = lab.ps("first", "{{.ID}}").unwrap();
    // A new task that never becomes healthy leaves the old one alone, though it is looked for long.
    lab.docker(&[
        "service",
        "update",
        "-d",
        "--no-resolve-image",
        "--health-cmd",
        "false",
        "--health-interval",
        "200ms",
        "--health-retries",
        "1000",
        "first",
    ])
    .unwrap();
    lab.until("the second task to be there", || {
        Ok(lab.ps("first", "{{.CurrentState}}")?.iter().any(|state| state.starts_with("Starting")))
    })
    .unwrap();
    let states = lab.ps("first", "{{.ID}} {{.DesiredState}}").unwrap();
    assert!(states.contains(&format!("{} Running", old[0])), "{states:?}");
    assert_eq!(states.len(), 2);
    lab.docker(&["service", "update", "-q", "--no-resolve-image", "--no-healthcheck", "first"])
        .unwrap();
    lab.await_replicas("first", "1/1").unwrap();

    lab.create("stop", &[&monitor[..], &["--update-order", "stop-first"]].concat(), &SLEEP)
        .unwrap();
    lab.docker(&["service", "update", "-q", "--no-resolve-image", "--env-add", "A=1", "stop"])
        .unwrap();
    let states = lab.ps("stop", "{{.DesiredState}}").unwrap();
    assert_eq!(states, ["Running", "Shutdown"]);
    lab.remove(&["first", "stop"]).unwrap();
}

fn failures(lab: &shoal_chaos_tests::service_lab::ServiceLab) {
    let restart = ["--restart-delay", "100ms", "--update-monitor", "1s", "--replicas", "3"];
    // It never runs: what ran for a moment would let the next place begin before its end is known.
    let bad = ["--no-resolve-image", "--args", "/no/such/program"];
    for action in ["pause", "continue", "rollback"] {
        let flags = [&restart[..], &["--update-failure-action", action]].concat();
        lab.create(action, &flags, &SLEEP).unwrap();
        let update = [&["service", "update", "-d"], &bad[..], &[action]].concat();
        lab.docker(&update).unwrap();
        let state = match action {
            "pause" => "paused",
            "continue" => "completed",
            _ => "rollback_completed",
        };
        lab.until(&format!("the update to be {state}"), || {
            Ok(lab.inspect(action, "{{.UpdateStatus.State}}")? == state)
        })
        .unwrap();
        let message = lab.inspect(action, "{{.UpdateStatus.Message}}").unwrap();
        match action {
            "pause" => {
                assert!(
                    message
                        .starts_with("update paused due to failure or early termination of task "),
                    "{message}"
                );
                // Two of three go on with what they had.
                let running = lab.docker(&[&["service"], &WANTED[..], &[action]].concat()).unwrap();
                let good = running.lines().filter(|line| line.contains(" Running "));
                assert_eq!(good.count(), 2, "{running}");
            }
            "continue" => assert_eq!(message, "update completed"),
            _ => {
                assert_eq!(message, "rollback completed");
                lab.await_replicas(action, "3/3").unwrap();
                let args =
                    lab.inspect(action, "{{.Spec.TaskTemplate.ContainerSpec.Args}}").unwrap();
                assert_eq!(args, "[sleep 1000]");
            }
        }
        let errors = lab.ps(action, "{{.Error}}").unwrap();
        assert!(errors.iter().any(|error| error.contains("/no/such/program")), "{errors:?}");
    }
    // A paused update goes on with the next wish.
    lab.docker(&["service", "update", "-q", "--no-resolve-image", "--args", "sleep 1001", "pause"])
        .unwrap();
    assert_eq!(lab.inspect("pause", "{{.UpdateStatus.State}}").unwrap(), "completed");
    lab.await_replicas("pause", "3/3").unwrap();
    lab.remove(&["pause", "continue", "rollback"]).unwrap();
}

fn delay(lab: &shoal_chaos_tests::service_lab::ServiceLab) {
    let flags = [
        "--replicas",
        "4",
        "--update-parallelism",
        "2",
        "--update-delay",
        "2s",
        "--update-monitor",
        "100ms",
    ];
    lab.create("slow", &flags, &SLEEP).unwrap();
    lab.docker(&[
        "service",
        "update",
        "-d",
        "--no-resolve-image",
        "--image",
        "busybox:two",
        "slow",
    ])
    .unwrap();
    let new = || {
        let running = lab.docker(&[&["service"], &WANTED[..], &["slow"]].concat())?;
        Ok::<_, anyhow::Error>(
            running.lines().filter(|line| line.starts_with("busybox:two")).count(),
        )
    };
    lab.until("half of the update", || Ok(new()? >= 2)).unwrap();
    let half = monotonic();
    assert_eq!(new().unwrap(), 2);
    lab.until("the other half", || Ok(new()? > 2)).unwrap();
    // Seen a call of the client late, both.
    let between = monotonic() - half;
    assert!(between >= Duration::from_millis(1500), "the delay is two seconds: {between:?}");
    lab.until("all of the update", || Ok(new()? == 4)).unwrap();
    lab.remove(&["slow"]).unwrap();
}

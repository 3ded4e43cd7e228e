//! Global services and jobs.

use crate::{SLEEP, lab};

const PLACES: &str = "{{.Node}} {{.DesiredState}}";

#[test]
fn global_services_follow_nodes() {
    let lab = lab("global", 3, 1, &[]);
    let created = lab
        .docker(&[
            "service",
            "create",
            "--no-resolve-image",
            "--stop-signal",
            "SIGKILL",
            "--mode",
            "global",
            "--name",
            "all",
            "busybox",
            "sleep",
            "1000",
        ])
        .unwrap();
    assert!(created.lines().last().unwrap().ends_with(" converged"), "{created}");
    assert_eq!(lab.ps("all", PLACES).unwrap(), ["h1 Running", "h2 Running", "h3 Running"]);
    assert_eq!(lab.replicas("all").unwrap(), "3/3");
    lab.begin("some", &["--mode", "global", "--constraint", "node.labels.disk==ssd"], &SLEEP)
        .unwrap();
    assert_eq!(lab.replicas("some").unwrap(), "0/0");

    lab.docker(&["node", "update", "--label-add", "disk=ssd", "h2"]).unwrap();
    lab.until("a task on h2", || Ok(lab.ps("some", "{{.Node}}")? == ["h2"])).unwrap();
    lab.docker(&["node", "update", "--label-rm", "disk", "h2"]).unwrap();
    lab.until("no task on h2", || Ok(lab.containers(2, "some")?.is_empty())).unwrap();

    // Paused: what runs stays. Drained: it goes. Active: it comes back.
    let on_h3 = lab.containers(3, "all").unwrap();
    lab.docker(&["node", "update", "--availability", "pause", "h3"]).unwrap();
    lab.create("late", &["--replicas", "4"], &SLEEP).unwrap();
    let mut nodes = lab.ps("late", "{{.Node}}").unwrap();
    nodes.dedup();
    assert_eq!(nodes, ["h1", "h2"]);
    assert_eq!(lab.containers(3, "all").unwrap(), on_h3);
    lab.docker(&["node", "update", "--availability", "drain", "h3"]).unwrap();
    lab.until("h3 to be empty", || Ok(lab.run(3, &["ps", "-q"])?.is_empty())).unwrap();
    lab.await_replicas("all", "2/2").unwrap();
    lab.docker(&["node", "update", "--availability", "active", "h3"]).unwrap();
    lab.await_replicas("all", "3/3").unwrap();
    let refused = lab.refused(&["service", "scale", "all=2"]).unwrap();
    assert_eq!(refused, "all: scale can only be used with replicated or replicated-job mode");
    lab.remove(&["all", "some", "late"]).unwrap();
}

#[test]
fn jobs_run_to_completion() {
    let lab = lab("jobs", 3, 1, &[]);
    let created = lab
        .docker(&[
            "service",
            "create",
            "--no-resolve-image",
            "--name",
            "job",
            "--mode",
            "replicated-job",
            "--replicas",
            "5",
            "--max-concurrent",
            "2",
            "busybox",
            "true",
        ])
        .unwrap();
    assert_eq!(created.lines().last().unwrap(), "job complete");
    assert_eq!(lab.replicas("job").unwrap(), "0/2 (5/5 completed)");
    let tasks = lab.ps("job", "{{.DesiredState}} {{.Error}}").unwrap();
    assert_eq!(tasks, ["Complete "; 5]);
    // A job runs again when its template changes.
    let again = lab.docker(&["service", "update", "--no-resolve-image", "--force", "job"]).unwrap();
    assert_eq!(again.lines().last().unwrap(), "job complete");
    assert_eq!(lab.replicas("job").unwrap(), "0/2 (5/5 completed)");

    lab.begin(
        "bad",
        &["--mode", "replicated-job", "--restart-max-attempts", "2", "--restart-delay", "100ms"],
        &["sh", "-c", "exit 4"],
    )
    .unwrap();
    let failed = "Shutdown \"task: non-zero exit (4)\"";
    lab.until("three attempts", || {
        Ok(lab.ps("bad", "{{.DesiredState}} {{.Error}}")? == [failed; 3])
    })
    .unwrap();
    assert_eq!(lab.replicas("bad").unwrap(), "0/1 (0/1 completed)");

    let created = lab
        .docker(&[
            "service",
            "create",
            "--no-resolve-image",
            "--name",
            "each",
            "--mode",
            "global-job",
            "busybox",
            "true",
        ])
        .unwrap();
    assert_eq!(created.lines().last().unwrap(), "job complete");
    let places = lab.ps("each", "{{.Node}} {{.DesiredState}}").unwrap();
    assert_eq!(places, ["h1 Complete", "h2 Complete", "h3 Complete"]);
    assert_eq!(lab.replicas("each").unwrap(), "0/3 (3/3 completed)");
    let refused = lab
        .refused(&[
            "service",
            "create",
            "-d",
            "--no-resolve-image",
            "--name",
            "x",
            "--mode",
            "global-job",
            "--replicas",
            "2",
            "busybox",
        ])
        .unwrap();
    assert_eq!(refused, "replicas can only be used with replicated or replicated-job mode");
    lab.remove(&["job", "bad", "each"]).unwrap();
}

//! Hosts that die, daemons that are killed, leaders that go in the middle of an update.

use std::time::Duration;

use shoal_chaos_tests::service_lab::ServiceLab;

use crate::{SLEEP, lab};

fn leader(lab: &ServiceLab, asked: u8) -> anyhow::Result<u8> {
    let nodes = lab.run(asked, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"])?;
    let line = nodes.lines().find(|line| line.ends_with(" Leader"));
    let name = line.and_then(|line| line.strip_prefix('h')?.strip_suffix(" Leader"));
    Ok(name.ok_or_else(|| anyhow::anyhow!("no leader: {nodes}"))?.parse()?)
}

#[test]
fn services_outlive_hosts_daemons_and_leaders() {
    let lab = lab("faults", 5, 3, &[]);
    worker_daemon(&lab);
    dead_host(&lab);
    leader_in_update(&lab);
}

/// The daemon of a worker is killed and comes back: nothing is restarted, nothing moves.
fn worker_daemon(lab: &ServiceLab) {
    lab.create("web", &["--replicas", "5"], &SLEEP).unwrap();
    let tasks = lab.ps("web", "{{.ID}} {{.Node}} {{.DesiredState}}").unwrap();
    let containers = lab.containers(5, "web").unwrap();
    let pid = || lab.run(5, &["inspect", "-f", "{{.State.Pid}}", &containers[0]]).unwrap();
    assert_eq!(containers.len(), 1);
    let before = pid();
    lab.kill(5).unwrap();
    lab.start(5).unwrap();
    assert_eq!(lab.containers(5, "web").unwrap(), containers);
    assert_eq!(pid(), before);
    lab.until("the node to be ready", || {
        Ok(lab.docker(&["node", "ls", "--filter", "name=h5", "--format", "{{.Status}}"])?
            == "Ready")
    })
    .unwrap();
    // Once a new task runs, the worker has dealt with all that it was told of before.
    lab.create("marker", &["--constraint", "node.hostname==h5"], &SLEEP).unwrap();
    lab.docker(&["service", "rm", "marker"]).unwrap();
    assert_eq!(lab.ps("web", "{{.ID}} {{.Node}} {{.DesiredState}}").unwrap(), tasks);
    assert_eq!(lab.containers(5, "web").unwrap(), containers);
}

/// A host that dies is replaced within the grace of its heartbeats; it comes back empty.
fn dead_host(lab: &ServiceLab) {
    lab.crash(5).unwrap();
    let on = |host: &str| {
        let format = [
            "service",
            "ps",
            "--filter",
            "desired-state=running",
            "--format",
            "{{.Node}} {{.CurrentState}}",
        ];
        let lines = lab.docker(&[&format[..], &["web"]].concat())?;
        let running = lines.lines().filter(|line| line.contains(" Running"));
        Ok::<_, anyhow::Error>(running.filter(|line| line.starts_with(host)).count())
    };
    lab.until_within("five tasks elsewhere", Duration::from_secs(120), || {
        Ok(on("")? == 5 && on("h5")? == 0)
    })
    .unwrap();
    let node = ["node", "ls", "--filter", "name=h5", "--format", "{{.Status}}"];
    assert_eq!(lab.docker(&node).unwrap(), "Down");
    lab.start(5).unwrap();
    lab.until("the node to be ready", || Ok(lab.docker(&node)? == "Ready")).unwrap();
    lab.until("the old tasks to end", || Ok(lab.run(5, &["ps", "-q"])?.is_empty())).unwrap();
    lab.remove(&["web"]).unwrap();
}

/// The leader is killed in the middle of an update; the next one goes on with it.
fn leader_in_update(lab: &ServiceLab) {
    lab.create(
        "web",
        &[
            "--replicas",
            "6",
            "--update-delay",
            "1s",
            "--update-monitor",
            "500ms",
            "--constraint",
            "node.role==worker",
        ],
        &SLEEP,
    )
    .unwrap();
    lab.docker(&["service", "update", "-d", "--no-resolve-image", "--image", "busybox:two", "web"])
        .unwrap();
    let first = leader(lab, 1).unwrap();
    let asked = if first == 1 { 2 } else { 1 };
    let format = [
        "service",
        "ps",
        "--filter",
        "desired-state=running",
        "--format",
        "{{.Image}} {{.CurrentState}}",
    ];
    let new = || {
        let lines = lab.run(asked, &[&format[..], &["web"]].concat())?;
        let updated = lines.lines().filter(|line| line.starts_with("busybox:two Running"));
        Ok::<_, anyhow::Error>(updated.count())
    };
    lab.until("two new tasks", || Ok(new()? >= 2)).unwrap();
    lab.kill(first).unwrap();
    assert!(new().unwrap_or(0) < 6);
    lab.until("another leader", || Ok(leader(lab, asked)? != first)).unwrap();
    lab.until("the end of the update", || {
        let state =
            lab.run(asked, &["service", "inspect", "-f", "{{.UpdateStatus.State}}", "web"])?;
        Ok(state == "completed" && new()? == 6)
    })
    .unwrap();
    // Each slot was updated once: one task of each image.
    let tasks = lab.run(asked, &["service", "ps", "--format", "{{.Image}}", "web"]).unwrap();
    assert_eq!(tasks.lines().filter(|line| *line == "busybox:two").count(), 6, "{tasks}");
    lab.start(first).unwrap();
    lab.until("the old leader to follow", || Ok(leader(lab, first)? != first)).unwrap();
    lab.remove(&["web"]).unwrap();
}

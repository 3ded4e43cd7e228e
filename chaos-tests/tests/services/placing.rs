//! Where tasks go, why they do not, and how they are restarted and stopped.

use std::time::Duration;

use shoal_chaos_tests::command::monotonic;
use shoal_chaos_tests::service_lab::ServiceLab;

use crate::{SLEEP, lab};

#[test]
fn tasks_go_where_they_fit_and_say_why_not() {
    let lab = lab(
        "place",
        3,
        1,
        &["--node-generic-resource", "gpu=a", "--node-generic-resource", "gpu=b,fpga=1"],
    );
    let resources = "{{json .Description.Resources.GenericResources}}";
    assert_eq!(
        lab.docker(&["node", "inspect", "-f", resources, "h2"]).unwrap(),
        r#"[{"DiscreteResourceSpec":{"Kind":"fpga","Value":1}},{"NamedResourceSpec":{"Kind":"gpu","Value":"a"}},{"NamedResourceSpec":{"Kind":"gpu","Value":"b"}}]"#
    );
    too_many(&lab, "gpu", &["--generic-resource", "gpu=2"], "insufficient resources on 3 nodes");
    too_many(
        &lab,
        "port",
        &["-p", "published=8081,target=80,mode=host"],
        "host-mode port already in use on 3 nodes",
    );
    too_many(&lab, "max", &["--replicas-max-per-node", "1"], "max replicas per node limit exceed");
    never(&lab, "cpu", &["--reserve-cpu", "500"], "insufficient resources on 3 nodes)");
    never(
        &lab,
        "where",
        &["--constraint", "node.hostname==h9"],
        "scheduling constraints not satisfied on 3 nodes)",
    );
    never(
        &lab,
        "meant",
        &["--constraint", "node.rol==worker"],
        "scheduling constraints not satisfied on 3 nodes): no node has a `node.rol`, did you mean `node.role`?",
    );
    limits(&lab);
}

/// Three of four tasks run, one on each node; the fourth says why not, and runs as soon as there is room.
fn too_many(lab: &ServiceLab, name: &str, flags: &[&str], why: &str) {
    lab.begin(name, &[flags, &["--replicas", "4"]].concat(), &SLEEP).unwrap();
    lab.await_replicas(
        name,
        &if name == "max" { "3/4 (max 1 per node)".to_owned() } else { "3/4".to_owned() },
    )
    .unwrap();
    let mut nodes = lab.ps(name, "{{.Node}}").unwrap();
    nodes.retain(|node| !node.is_empty());
    assert_eq!(nodes, ["h1", "h2", "h3"]);
    let mut errors = lab.ps(name, "{{.CurrentState}} {{.Error}}").unwrap();
    errors.retain(|line| line.starts_with("Pending"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains(&format!("no suitable node ({why}")), "{errors:?}");
    lab.docker(&["service", "scale", "-d", &format!("{name}=3")]).unwrap();
    let scaled = if name == "max" { "3/3 (max 1 per node)" } else { "3/3" };
    lab.await_replicas(name, scaled).unwrap();
    lab.remove(&[name]).unwrap();
}

fn never(lab: &ServiceLab, name: &str, flags: &[&str], why: &str) {
    lab.begin(name, flags, &SLEEP).unwrap();
    let wanted = [format!("\"no suitable node ({why}\"")];
    lab.until("the reason", || Ok(lab.ps(name, "{{.Error}}")? == wanted)).unwrap();
    lab.remove(&[name]).unwrap();
}

fn limits(lab: &ServiceLab) {
    lab.create(
        "limits",
        &[
            "--constraint",
            "node.hostname==h2",
            "--limit-memory",
            "32m",
            "--limit-cpu",
            "0.5",
            "--limit-pids",
            "20",
            "--reserve-memory",
            "16m",
            "--generic-resource",
            "gpu=1",
        ],
        &SLEEP,
    )
    .unwrap();
    let container = lab.containers(2, "limits").unwrap().remove(0);
    let format = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.MemoryReservation}}";
    assert_eq!(
        lab.run(2, &["inspect", "-f", format, &container]).unwrap(),
        "33554432 500000000 20 16777216"
    );
    let gpu = lab.exec(2, "limits", &["sh", "-c", "echo $DOCKER_RESOURCE_GPU"]).unwrap();
    assert!(["a\n", "b\n"].contains(&gpu.as_str()), "{gpu}");
    lab.remove(&["limits"]).unwrap();
}

#[test]
fn tasks_are_restarted_stopped_and_waited_for() {
    let lab = lab("restart", 2, 1, &[]);
    // A command that exits at once, with a limit of attempts.
    lab.begin(
        "exits",
        &["--restart-max-attempts", "2", "--restart-delay", "200ms"],
        &["sh", "-c", "exit 3"],
    )
    .unwrap();
    let failed = "Shutdown \"task: non-zero exit (3)\"";
    let ended = || Ok(lab.ps("exits", "{{.DesiredState}} {{.Error}}")? == [failed; 3]);
    lab.until("three attempts", ended).unwrap();
    lab.begin("once", &["--restart-condition", "on-failure"], &["true"]).unwrap();
    lab.until("the end", || Ok(lab.ps("once", "{{.DesiredState}} {{.Error}}")? == ["Shutdown "]))
        .unwrap();
    lab.begin("never", &["--restart-condition", "none"], &["false"]).unwrap();
    lab.until("the end", || {
        Ok(lab.ps("never", "{{.DesiredState}} {{.Error}}")?
            == ["Shutdown \"task: non-zero exit (1)\""])
    })
    .unwrap();
    lab.begin("nothere", &["--restart-delay", "100ms"], &["/no/such/program"]).unwrap();
    lab.until("the reason", || {
        let errors = lab.ps("nothere", "{{.Error}}")?;
        Ok(errors.iter().any(|error| error.contains("/no/such/program")))
    })
    .unwrap();
    lab.docker(&["service", "create", "-d", "--no-resolve-image", "--name", "noimage", "nosuch:1"])
        .unwrap();
    lab.until("the reason", || Ok(lab.ps("noimage", "{{.Error}}")?[0].contains("nosuch:1")))
        .unwrap();
    assert_eq!(lab.replicas("noimage").unwrap(), "0/1");
    // A fourth one would have come long before what the others waited for.
    assert!(ended().unwrap_or_else(|error: anyhow::Error| panic!("{error}")));
    lab.remove(&["exits", "once", "never", "nothere", "noimage"]).unwrap();

    health(&lab);
    grace(&lab);
}

/// Running means healthy, and what becomes unhealthy is replaced.
fn health(lab: &ServiceLab) {
    let flags = [
        "--health-cmd",
        "test -f /ok",
        "--health-interval",
        "200ms",
        "--health-retries",
        "3",
        "--health-start-period",
        "60s",
        "--restart-delay",
        "100ms",
        "--constraint",
        "node.hostname==h2",
    ];
    lab.begin("health", &flags, &["sh", "-c", "sleep 6; touch /ok; sleep 1000"]).unwrap();
    lab.until("a container", || Ok(lab.containers(2, "health")?.len() == 1)).unwrap();
    let state = &lab.ps("health", "{{.CurrentState}}").unwrap()[0];
    // What managers were told last may be older than the container.
    let before = ["Assigned", "Accepted", "Preparing", "Ready", "Starting"];
    assert!(before.iter().any(|name| state.starts_with(name)), "{state}");
    assert_eq!(lab.replicas("health").unwrap(), "0/1");
    lab.await_replicas("health", "1/1").unwrap();
    lab.exec(2, "health", &["rm", "/ok"]).unwrap();
    let unhealthy = "Shutdown \"task: unhealthy container\"".to_owned();
    lab.until("the reason", || {
        Ok(lab.ps("health", "{{.DesiredState}} {{.Error}}")?.contains(&unhealthy))
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", lab.ps("health", "{{.Error}}")));
    lab.await_replicas("health", "1/1").unwrap();
    lab.remove(&["health"]).unwrap();
}

/// The whole grace period is given before a container is killed.
fn grace(lab: &ServiceLab) {
    lab.docker(&[
        "service",
        "create",
        "-q",
        "--no-resolve-image",
        "--name",
        "grace",
        "--stop-grace-period",
        "3s",
        "--constraint",
        "node.hostname==h2",
        "busybox",
        "sleep",
        "1000",
    ])
    .unwrap();
    let began = monotonic();
    lab.remove(&["grace"]).unwrap();
    let took = monotonic() - began;
    assert!((Duration::from_secs(3)..Duration::from_secs(6)).contains(&took), "{took:?}");
    let trap = "trap 'sleep 1; exit 0' TERM; while :; do sleep 0.1; done";
    lab.docker(&[
        "service",
        "create",
        "-q",
        "--no-resolve-image",
        "--name",
        "grace",
        "--stop-grace-period",
        "20s",
        "--constraint",
        "node.hostname==h2",
        "busybox",
        "sh",
        "-c",
        trap,
    ])
    .unwrap();
    let began = monotonic();
    lab.remove(&["grace"]).unwrap();
    let took = monotonic() - began;
    assert!((Duration::from_secs(1)..Duration::from_secs(5)).contains(&took), "{took:?}");
}

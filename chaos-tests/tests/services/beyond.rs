//! What Docker lacks: reasons, revisions, deadlines of updates, drains that are waited for, hosts that are cut off.

use std::time::Duration;

use serde_json::Value;
use shoal_chaos_tests::command::{monotonic, run};
use shoal_chaos_tests::service_lab::ServiceLab;

use crate::{SLEEP, lab};

#[test]
fn what_docker_lacks() {
    let lab = lab("beyond", 3, 1, &[]);
    reasons(&lab);
    revisions(&lab);
    deadline(&lab);
    labels(&lab);
    drain(&lab);
    cut_off(&lab);
}

/// Times and ids differ from run to run.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = match (line.find(" ("), line.find("): ")) {
            (Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to + 1..]),
            _ => line.to_owned(),
        };
        let line = match (line.find(" for "), line.find(" s: ")) {
            (Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to + 2..]),
            _ => line,
        };
        out += &line;
        out.push('\n');
    }
    out
}

/// Each task that is not where it should be is told of, with what each filter said and what would help.
fn reasons(lab: &ServiceLab) {
    lab.begin(
        "many",
        &["--replicas", "4", "--replicas-max-per-node", "1", "--constraint", "node.role==worker"],
        &SLEEP,
    )
    .unwrap();
    lab.await_replicas("many", "2/4 (max 1 per node)").unwrap();
    let verdict = "no suitable node (max replicas per node limit exceed; scheduling constraints not satisfied on 1 node)";
    lab.until("both reasons", || {
        let errors = lab.ps("many", "{{.Error}}")?;
        Ok(errors.iter().filter(|error| error.contains("no suitable node")).count() == 2)
    })
    .unwrap();
    let said = lab.said(1, &["service", "explain", "many"]).unwrap();
    let reason = lab.ps("many", "{{.Error}}").unwrap().pop().unwrap();
    let reason = reason.trim_matches('"');
    let finding = |slot: &str| {
        format!(
            "many.{slot}: pending instead of running: {reason}\n    constraints: 1 node turned away\n    replicas per node: 2 nodes \
             turned away\n    try: label more nodes, or ask for less with constraints\n    try: raise the limit of replicas \
             per node, or add nodes\n"
        )
    };
    let lines: Vec<&str> = said.lines().filter(|line| line.starts_with("many.")).collect();
    let slots: Vec<&str> = lines.iter().map(|line| &line[5..6]).collect();
    let wanted = format!(
        "many: 2 tasks are where they should be, 2 are not.\n{}{}",
        finding(slots[0]),
        finding(slots[1])
    );
    assert_eq!(without_numbers(&said), wanted, "{verdict}");

    // A command that exits at once: the attempt before says why, here and in `ps`.
    lab.begin("exits", &["--restart-delay", "1h"], &["sh", "-c", "exit 3"]).unwrap();
    let waiting = "; the attempt before it: task: non-zero exit (3)";
    lab.until("the reason", || {
        Ok(lab.said(1, &["service", "explain", "exits"])?.contains(waiting))
    })
    .unwrap();
    let said = lab.said(1, &["service", "explain", "exits"]).unwrap();
    assert!(said.contains("exits.1 ("), "{said}");
    assert!(said.contains("waits for its restart delay, "), "{said}");
    assert!(said.ends_with("    try: read the service's logs"), "{said}");
    let shown =
        ["service", "ps", "--no-trunc", "--format", "{{.DesiredState}} {{.Error}}", "exits"];
    let shown = lab.said(1, &shown).unwrap();
    let first = shown.lines().next().unwrap();
    assert!(first.starts_with("Ready \"waits for its restart delay, "), "{shown}");
    assert!(first.ends_with(&format!("{waiting}\"")), "{shown}");
    // docker's own client is told what it knows of, and no more.
    let errors = lab.ps("exits", "{{.DesiredState}} {{.Error}}").unwrap();
    assert_eq!(errors, ["Ready ", "Shutdown \"task: non-zero exit (3)\""]);

    lab.begin("over", &["--restart-condition", "none"], &["sh", "-c", "exit 4"]).unwrap();
    lab.until("the end", || {
        let said = lab.said(1, &["service", "explain", "over"])?;
        Ok(said.contains("task: non-zero exit (4); its restart policy allows no further attempt"))
    })
    .unwrap();
    lab.create("well", &["--replicas", "2"], &SLEEP).unwrap();
    assert_eq!(
        lab.said(1, &["service", "explain", "well"]).unwrap(),
        "well: 2 tasks are where they should be."
    );
    let json = lab.said(1, &["service", "explain", "--format", "json", "well"]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["Settled"], 2);
    let missing = lab.shoal_refused(&["service", "explain", "nothere"]).unwrap();
    assert_eq!(missing, "Error response from daemon: service nothere not found");
    lab.remove(&["many", "exits", "over", "well"]).unwrap();
}

/// The wishes of a service are kept, as many as it says, and each can be gone back to.
fn revisions(lab: &ServiceLab) {
    let monitor = ["--update-monitor", "100ms", "--rollback-monitor", "100ms"];
    lab.create("web", &[&monitor[..], &["--label", "io.shoal.revisions=3"]].concat(), &SLEEP)
        .unwrap();
    let update = |flags: &[&str]| {
        lab.docker(&[&["service", "update", "-q", "--no-resolve-image"], flags, &["web"]].concat())
            .unwrap()
    };
    update(&["--env-add", "A=1"]);
    update(&["--image", "busybox:two"]);
    lab.docker(&["service", "scale", "-d", "web=2"]).unwrap();
    lab.await_replicas("web", "2/2").unwrap();
    let listed = |format: &str| lab.said(1, &["service", "revisions", "--format", format, "web"]);
    let rows = "{{.Revision}} {{.Image}} {{.Replicas}} {{.Command}} {{.Present}}";
    assert_eq!(
        listed(rows).unwrap(),
        "4 busybox:two 2 sleep 1000 true\n3 busybox:two 1 sleep 1000 false\n2 busybox:latest 1 sleep 1000 false\n\
         1 busybox:latest 1 sleep 1000 false"
    );
    let table = lab.said(1, &["service", "revisions", "web"]).unwrap();
    assert!(table.starts_with("REVISION   SINCE "), "{table}");
    assert!(table.lines().nth(1).unwrap().starts_with("4 * "), "{table}");

    let back = lab.said(1, &["service", "rollback", "--to", "2", "web"]).unwrap();
    assert_eq!(back.lines().next(), Some("web"), "{back}");
    assert_eq!(lab.inspect("web", "{{.UpdateStatus.State}}").unwrap(), "rollback_completed");
    let env = "{{.Spec.TaskTemplate.ContainerSpec.Image}} {{.Spec.TaskTemplate.ContainerSpec.Env}}";
    assert_eq!(lab.inspect("web", env).unwrap(), "busybox:latest [A=1]");
    lab.await_replicas("web", "1/1").unwrap();
    assert_eq!(listed("{{.Revision}}").unwrap(), "5\n4\n3\n2");
    // What was left is one step back, also for docker.
    lab.docker(&["service", "rollback", "-q", "web"]).unwrap();
    assert_eq!(lab.inspect("web", env).unwrap(), "busybox:two [A=1]");
    let id = lab.inspect("web", "{{.ID}}").unwrap();
    for (number, words) in [
        (
            "2",
            "rpc error: code = InvalidArgument desc = service ID does not keep revision 2: it keeps 3, 4, 5",
        ),
        (
            "6",
            "rpc error: code = FailedPrecondition desc = revision 6 of service ID is the present one",
        ),
    ] {
        let refused = lab.shoal_refused(&["service", "rollback", "--to", number, "web"]).unwrap();
        assert_eq!(refused, format!("Error response from daemon: {}", words.replace("ID", &id)));
    }
    lab.remove(&["web"]).unwrap();
}

/// An update that does not get on has failed, and does what failures do.
fn deadline(lab: &ServiceLab) {
    let flags = ["--update-failure-action", "rollback", "--update-monitor", "100ms"];
    lab.create("slow", &flags, &SLEEP).unwrap();
    let began = monotonic();
    // Nobody has so much memory: the new task waits for a node for ever.
    lab.said(
        1,
        &[
            "service",
            "update",
            "-d",
            "--no-resolve-image",
            "--update-deadline",
            "3s",
            "--reserve-memory",
            "1t",
            "slow",
        ],
    )
    .unwrap();
    lab.until("the rollback", || {
        Ok(lab.inspect("slow", "{{.UpdateStatus.State}}")? == "rollback_completed")
    })
    .unwrap();
    assert!(monotonic() - began >= Duration::from_secs(3));
    lab.await_replicas("slow", "1/1").unwrap();
    let update = |flags: &[&str]| {
        lab.said(
            1,
            &[&["service", "update", "-d", "--no-resolve-image"], flags, &["slow"]].concat(),
        )
    };
    update(&[
        "--update-failure-action",
        "pause",
        "--update-deadline",
        "2s",
        "--reserve-memory",
        "1t",
    ])
    .unwrap();
    lab.until("the pause", || Ok(lab.inspect("slow", "{{.UpdateStatus.State}}")? == "paused"))
        .unwrap();
    let message = lab.inspect("slow", "{{.UpdateStatus.Message}}").unwrap();
    assert!(message.starts_with("update paused due to no progress of task "), "{message}");
    assert!(message.ends_with(" for 2 s"), "{message}");
    let said = lab.said(1, &["service", "explain", "slow"]).unwrap();
    assert!(said.contains(&format!("\nupdate: {message}\n")), "{said}");
    assert!(said.contains("    resources: 3 nodes turned away\n"), "{said}");
    lab.remove(&["slow"]).unwrap();
}

/// Extensions are labels of the wire: docker's own commands change everything else and lose none.
fn labels(lab: &ServiceLab) {
    let text = lab
        .said(
            1,
            &[
                "service",
                "create",
                "-q",
                "--no-resolve-image",
                "--stop-signal",
                "SIGKILL",
                "--name",
                "all",
                "--label",
                "own=1",
                "--update-deadline",
                "90s",
                "--on-disconnect",
                "stop:45s",
                "--keep-revisions",
                "7",
                "--update-monitor",
                "100ms",
                "--rollback-monitor",
                "100ms",
                "busybox",
                "sleep",
                "1000",
            ],
        )
        .unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let ours = r#""io.shoal.on-disconnect":"stop:45s","io.shoal.revisions":"7","io.shoal.update.deadline":"90s""#;
    let labels = || lab.inspect("all", "{{json .Spec.Labels}}").unwrap();
    assert_eq!(labels(), format!("{{{ours},\"own\":\"1\"}}"));
    let update = ["service", "update", "-q", "--no-resolve-image"];
    let key = shoal_chaos_tests::service_lab::file(&lab.path(1), "key", "word").unwrap();
    lab.docker(&["secret", "create", "all-key", &key]).unwrap();
    for (flags, own) in [
        (&["--replicas", "2"][..], r#","own":"1""#),
        (&["--image", "busybox:two"], r#","own":"1""#),
        (&["--label-add", "own=2"], r#","own":"2""#),
        (&["--label-rm", "own"], ""),
        (&["--env-add", "A=1", "--limit-memory", "64m"], ""),
        (&["--secret-add", "all-key"], ""),
        (&["--constraint-add", "node.role!=none"], ""),
        (&["--update-parallelism", "2", "--update-order", "start-first"], ""),
        (
            &[
                "--publish-add",
                "published=8099,target=80,mode=host",
                "--update-order",
                "stop-first",
            ],
            "",
        ),
        (&["--endpoint-mode", "dnsrr"], ""),
        (&["--force"], ""),
    ] {
        lab.docker(&[&update[..], flags, &["all"]].concat()).unwrap();
        assert_eq!(labels(), format!("{{{ours}{own}}}"), "{flags:?}");
    }
    lab.docker(&["service", "scale", "-d", "all=1"]).unwrap();
    lab.docker(&["service", "rollback", "-q", "all"]).unwrap();
    assert_eq!(labels(), format!("{{{ours}}}"));
    // They are the service's own settings, and docker changes them as labels.
    lab.docker(&[&update[..], &["--label-add", "io.shoal.revisions=1", "all"]].concat()).unwrap();
    let count = lab.said(1, &["service", "revisions", "-q", "all"]).unwrap();
    assert_eq!(count.lines().count(), 2, "{count}");
    let refused = lab
        .refused(&[&update[..], &["--label-add", "io.shoal.update.deadline=soon", "all"]].concat())
        .unwrap();
    assert_eq!(
        refused,
        "Error response from daemon: invalid duration \"soon\" for label io.shoal.update.deadline: use e.g. 90s or 10m"
    );
    let last = lab.inspect("all", "{{index .Spec.Labels \"io.shoal.update.deadline\"}}").unwrap();
    assert_eq!(last, "90s");
    lab.docker(&[&update[..], &["--label-rm", "io.shoal.on-disconnect", "all"]].concat()).unwrap();
    assert!(!labels().contains("on-disconnect"), "{}", labels());
    lab.remove(&["all"]).unwrap();
    lab.docker(&["secret", "rm", "all-key"]).unwrap();
}

/// A drain keeps the order and the parallelism of each service, and ends when it says so.
fn drain(lab: &ServiceLab) {
    let on_h3 = ["--constraint", "node.hostname!=h1"];
    lab.docker(&["node", "update", "--availability", "drain", "h2"]).unwrap();
    lab.create(
        "three",
        &[
            &on_h3[..],
            &["--replicas", "3", "--update-parallelism", "1", "--update-order", "start-first"],
        ]
        .concat(),
        &SLEEP,
    )
    .unwrap();
    lab.docker(&["node", "update", "--availability", "active", "h2"]).unwrap();
    assert_eq!(lab.containers(3, "three").unwrap().len(), 3);
    let said = lab.said(1, &["node", "drain", "--wait", "--deadline", "1m", "h3"]).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "h3: 3 to move, 0 stopping", "{said}");
    assert_eq!(*lines.last().unwrap(), "h3: drained", "{said}");
    one_by_one(lab, "three");
    assert!(lab.containers(3, "three").unwrap().is_empty());
    assert_eq!(lab.containers(2, "three").unwrap().len(), 3);
    lab.await_replicas("three", "3/3").unwrap();
    lab.docker(&["node", "update", "--availability", "active", "h3"]).unwrap();
    lab.remove(&["three"]).unwrap();

    // What cannot move stays, and is told.
    lab.create(
        "stays",
        &["--constraint", "node.hostname==h3", "--update-order", "start-first"],
        &SLEEP,
    )
    .unwrap();
    let late =
        lab.shoal_refused(&["node", "drain", "-q", "--wait", "--deadline", "2s", "h3"]).unwrap();
    assert_eq!(late, "h3 is not drained after 2s: waiting to move: stays.1");
    let said = lab.said(1, &["service", "explain", "stays"]).unwrap();
    assert!(said.contains("runs on a node that is being drained"), "{said}");
    let misused = lab.shoal_refused(&["node", "drain", "--deadline", "2s", "h3"]).unwrap();
    assert_eq!(misused, "--deadline can only be used with --wait");
    lab.docker(&["node", "update", "--availability", "active", "h3"]).unwrap();
    lab.remove(&["stays"]).unwrap();
}

/// The running tasks of a service were made one after the other: each when the one before it ran.
fn one_by_one(lab: &ServiceLab, service: &str) {
    let filters = format!(r#"{{"service":["{service}"],"desired-state":["running"]}}"#);
    let path = format!("/tasks?filters={}", filters.replace('"', "%22"));
    let tasks = lab.api(1, "GET", &path, None).unwrap();
    let moment = |value: &Value| -> String {
        let (whole, part) = value.as_str().unwrap().trim_end_matches('Z').split_once('.').unwrap();
        format!("{whole}.{part:0<9}")
    };
    let mut lives: Vec<(String, String)> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|task| (moment(&task["CreatedAt"]), moment(&task["Status"]["Timestamp"])))
        .collect();
    lives.sort();
    assert_eq!(lives.len(), 3);
    assert!(lives.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{lives:?}");
}

/// On a host that is cut off tasks run on, or are stopped after a time, as their service says.
fn cut_off(lab: &ServiceLab) {
    let there = ["--constraint", "node.hostname==h3"];
    lab.create("keeps", &there, &SLEEP).unwrap();
    let stop = ["--label", "io.shoal.on-disconnect=stop:4s"];
    lab.create("stops", &[&there[..], &stop].concat(), &SLEEP).unwrap();
    let running = |name: &str| lab.containers(3, name).unwrap();
    let kept = running("keeps");
    assert_eq!((kept.len(), running("stops").len()), (1, 1));
    let began = monotonic();
    lab.cut(1, 3).unwrap();
    lab.until("the one to be stopped", || Ok(running("stops").is_empty())).unwrap();
    assert!(monotonic() - began >= Duration::from_secs(4));
    assert_eq!(running("keeps"), kept);
    lab.heal().unwrap();
    lab.until("the node to be ready", || {
        let node = ["node", "ls", "--filter", "name=h3", "--format", "{{.Status}}"];
        Ok(lab.docker(&node)? == "Ready")
    })
    .unwrap();
    lab.await_replicas("stops", "1/1").unwrap();
    lab.await_replicas("keeps", "1/1").unwrap();
    let output = run(lab.lab.docker(1).args(["service", "ps", "stops"])).unwrap();
    assert!(output.status.success());
    lab.remove(&["keeps", "stops"]).unwrap();
}

//! The checks of lab chaos find what is planted in a real cluster, and nothing before.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::time::Duration;

use shoal_chaos_tests::chaos::{REST, Run, Settings};

/// Whatever the checks find they find again and again for so long.
const SHORT: Duration = Duration::from_secs(2);

fn broken(run: &Run) -> BTreeSet<&'static str> {
    run.world.ledger.violations().iter().map(|violation| violation.complaint.rule).collect()
}

/// Starts a container by hand, on another host, that wears what a container of a service wears.
fn plant_container(run: &Run, service: &str) {
    let lab = &run.world.lab;
    let filter = format!("label=com.docker.swarm.service.name={service}");
    let find = |host: &u8| {
        let listed = lab.run(*host, &["ps", "-q", "--filter", &filter]).unwrap();
        listed.lines().next().map(str::to_owned)
    };
    let host = lab.numbers().find(|host| find(host).is_some()).unwrap();
    let format = "{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}\n{{end}}";
    let labels = lab.run(host, &["inspect", "-f", format, &find(&host).unwrap()]).unwrap();
    let labels = labels.lines().filter(|line| !line.is_empty());
    let mut arguments = vec!["run", "-d", "--network", "none"];
    labels.for_each(|label| arguments.extend(["--label", label]));
    arguments.extend(["busybox", "sleep", "1000000"]);
    lab.run(host % 5 + 1, &arguments).unwrap();
}

#[test]
fn what_is_planted_in_a_cluster_is_found() {
    let settings = Settings {
        name: "qa8plant".to_owned(),
        lasts: Duration::ZERO,
        seed: 8,
        old: None,
        logs: None,
    };
    let mut run = Run::up(settings).unwrap();
    run.work(Duration::from_secs(5));
    run.rest(REST);
    assert_eq!(run.world.ledger.violations(), []);
    assert!(run.world.ledger.acknowledged() > 0);

    plant_container(&run, "t0");
    run.rest(SHORT);
    let found = broken(&run);
    assert!(found.is_superset(&["SLOT-1", "TASK-8", "CONV-1"].into()), "{found:?}");
    assert!(!found.contains("RAFT-2"), "{found:?}");

    run.world.lab.docker(&["service", "rm", "t1"]).unwrap();
    run.rest(SHORT);
    assert!(broken(&run).contains("RAFT-2"), "{:?}", broken(&run));
    let report = run.finish().unwrap();
    assert!(report.violations.len() >= 4, "{:?}", report.violations);
    assert!(report.table.contains(": SLOT-1 t0."), "{}", report.table);
}

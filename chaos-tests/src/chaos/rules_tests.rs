//! Each rule finds what it is for, and nothing in a cluster that is well.

use super::*;

const SHAPE: Shape = Shape { hosts: 3, managers: 1 };

fn node(host: u8) -> Node {
    let manager = host <= SHAPE.managers;
    Node {
        name: format!("h{host}"),
        id: format!("node{host}"),
        role: if manager { "manager" } else { "worker" }.to_owned(),
        state: "ready".to_owned(),
        availability: "active".to_owned(),
        reachability: if manager { "reachable" } else { "" }.to_owned(),
        leader: manager,
    }
}

fn service(name: &str, mode: Mode) -> Service {
    Service {
        id: format!("id-{name}"),
        name: name.to_owned(),
        mode,
        workers_only: false,
        made: "1".to_owned(),
        iteration: 0,
        addresses: Vec::new(),
    }
}

fn add(seen: &mut Observed, service: &str, slot: u64, host: u8, state: &str) {
    let id = format!("{service}-{slot}-{host}");
    seen.tasks.push(Task {
        id: format!("task-{id}"),
        service: format!("id-{service}"),
        node: format!("node{host}"),
        slot,
        state: state.to_owned(),
        desired: "running".to_owned(),
        iteration: 0,
    });
    let running = state == "running";
    seen.containers.push(Container {
        host,
        id: id.clone(),
        running,
        task: Some(Wears {
            task: format!("task-{id}"),
            place: format!("{service}.{slot}"),
            service: format!("id-{service}"),
            name: service.to_owned(),
            made: "1".to_owned(),
        }),
        addresses: vec![("net".to_owned(), [10, 0, u8::try_from(slot).unwrap(), host].into())],
    });
    if running {
        seen.alive.entry(host).or_default().insert(id);
    }
}

/// A cluster that is well, with a service of each mode.
fn well() -> Observed {
    let mut seen = Observed::default();
    seen.nodes.insert(1, (1..=SHAPE.hosts).map(node).collect());
    seen.services = vec![
        service("web", Mode::Replicated(2)),
        service("all", Mode::Global),
        service("job", Mode::ReplicatedJob(2)),
        service("jobs", Mode::GlobalJob),
    ];
    seen.services[0].addresses = vec![("net".to_owned(), [10, 0, 9, 9].into())];
    add(&mut seen, "web", 1, 1, "running");
    add(&mut seen, "web", 2, 3, "running");
    add(&mut seen, "job", 3, 2, "complete");
    add(&mut seen, "job", 4, 2, "complete");
    for host in 1..=SHAPE.hosts {
        add(&mut seen, "all", 5, host, "running");
        seen.containers.last_mut().unwrap().task.as_mut().unwrap().place =
            format!("all.node{host}");
        add(&mut seen, "jobs", 6, host, "complete");
    }
    seen.reigns = vec![(3, 1), (4, 2), (4, 2)];
    seen
}

#[track_caller]
fn check(change: impl FnOnce(&mut Observed), expected: &[&str]) {
    let mut seen = well();
    change(&mut seen);
    let found: Vec<String> = at_rest(SHAPE, &seen).iter().map(Complaint::to_string).collect();
    let begins = |(found, expected): (&String, &&str)| found.starts_with(expected);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    assert!(found.iter().zip(expected).all(begins), "{found:#?}");
}

#[test]
fn a_cluster_that_is_well_has_no_complaints() {
    check(|_| {}, &[]);
}

#[test]
fn a_leader_that_forgot_its_vote_is_found() {
    check(|seen| seen.reigns.push((4, 3)), &[]);
    check(|seen| seen.reigns.push((3, 2)), &["LOG-2 host 2 led in term 4, then in term 3"]);
}

#[test]
fn nodes_that_are_not_as_meant_are_found() {
    check(
        |seen| seen.nodes.get_mut(&1).unwrap()[1].state = "down".to_owned(),
        &["NODE-1 host 2 is [Node { name: \"h2\""],
    );
    check(
        |seen| seen.nodes.get_mut(&1).unwrap().push(Node { id: "old".to_owned(), ..node(3) }),
        &[
            "NODE-1 host 3 is [",
            "NODE-1 1 leaders, 4 nodes",
            // It counts as a node, for what is to run on each.
            "CONV-1 all (Global): runs on hosts [1, 2, 3];",
            "CONV-1 jobs (GlobalJob): 0 run, done are {",
        ],
    );
    let mut seen = well();
    seen.nodes.insert(2, Vec::new());
    let found = membership(Shape { hosts: 3, managers: 3 }, &seen);
    let said: Vec<&str> = found.iter().map(|one| &one.what[..12]).collect();
    assert_eq!(
        said,
        ["host 2 tells", "host 3 tells", "host 2 is [N", "host 3 is [N"],
        "{found:#?}"
    );
}

#[test]
fn two_containers_of_a_place_are_found() {
    check(
        |seen| {
            // By hand, with the labels of another one.
            let mut twin = seen.containers[0].clone();
            (twin.host, twin.id) = (3, "by-hand".to_owned());
            twin.addresses.clear();
            seen.alive.get_mut(&3).unwrap().insert(twin.id.clone());
            seen.containers.push(twin);
        },
        &[
            "SLOT-1 web.1 runs as [(1, \"task-web-1-1\"), (3, \"task-web-1-1\")]",
            "TASK-8 container by-hand of web.1 on host 3 is of task task-web-1-1, of another node",
            "CONV-1 web (Replicated(2)): 3 run; tasks [",
        ],
    );
}

#[test]
fn an_address_with_two_owners_is_found() {
    check(
        |seen| seen.containers[1].addresses = vec![("net".to_owned(), [10, 0, 9, 9].into())],
        &["IPAM-2 10.0.9.9 of net: container web-2-3 of host 3, service web"],
    );
    // The same address of another network is another one.
    check(
        |seen| seen.containers[1].addresses = vec![("other".to_owned(), [10, 0, 9, 9].into())],
        &[],
    );
}

#[test]
fn containers_without_a_task_are_found() {
    check(
        |seen| seen.tasks.retain(|task| task.id != "task-job-3-2"),
        &[
            "TASK-8 container job-3-2 of job.3 on host 2 is of task task-job-3-2, which is no more",
            "CONV-1 job (ReplicatedJob(2)): 0 run, slots {4} are done",
        ],
    );
    check(
        |seen| seen.tasks[0].desired = "shutdown".to_owned(),
        &["TASK-8 container web-1-1 of web.1 on host 1 runs, its task is Task {"],
    );
}

#[test]
fn services_that_lack_something_are_found() {
    let stop = |seen: &mut Observed, id: &str| {
        seen.containers.retain(|container| container.id != id);
        seen.alive.values_mut().for_each(|ids| ids.retain(|one| one != id));
    };
    check(|seen| stop(seen, "web-2-3"), &["CONV-1 web (Replicated(2)): 1 run"]);
    check(|seen| stop(seen, "all-5-2"), &["CONV-1 all (Global): runs on hosts [1, 3]"]);
    check(
        |seen| {
            stop(seen, "all-5-1");
            seen.services[1].workers_only = true;
        },
        &[],
    );
    check(|seen| seen.services[3].iteration = 8, &["CONV-1 jobs (GlobalJob): 0 run, done are {}"]);
    check(
        |seen| seen.services[0].made = "2".to_owned(),
        &["CONV-1 web (Replicated(2)): container web-1-1 on host 1 is of 1, not 2"],
    );
}

#[test]
fn processes_that_no_daemon_tells_of_are_found() {
    check(
        |seen| {
            seen.alive.get_mut(&1).unwrap().remove("web-1-1");
            seen.alive.entry(2).or_default().insert("ghost".to_owned());
        },
        &[
            "CTR-1 host 1: told and dead [\"web-1-1\"], alive and untold []",
            "CTR-1 host 2: told and dead [], alive and untold [\"ghost\"]",
        ],
    );
}

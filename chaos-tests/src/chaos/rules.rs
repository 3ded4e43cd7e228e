//! What must hold of a cluster that is at rest: no fault, no client, and time to come to what is asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::observed::{Container, Mode, Node, Observed, Service, Task, Wears};

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Of `docs/INVARIANTS.md`.
    pub rule: &'static str,
    /// What was seen.
    pub what: String,
}

impl Complaint {
    /// One of a rule.
    pub fn new(rule: &'static str, what: impl Into<String>) -> Self {
        Self { rule, what: what.into() }
    }
}

impl std::fmt::Display for Complaint {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.rule, self.what)
    }
}

/// How many hosts there are, and how many of them are managers: those with the lowest numbers.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// All.
    pub hosts: u8,
    /// Of them.
    pub managers: u8,
}

/// All complaints about a cluster at rest; those of [`at_any_time`] too.
pub fn at_rest(shape: Shape, seen: &Observed) -> Vec<Complaint> {
    let mut all = at_any_time(seen);
    all.extend(membership(shape, seen));
    all.extend(one_per_place(seen));
    all.extend(one_owner_per_address(seen));
    all.extend(left_over(seen));
    all.extend(seen.services.iter().filter_map(|service| converged(seen, service)));
    all.extend(processes(seen));
    all
}

/// What may not even be for a moment.
pub fn at_any_time(seen: &Observed) -> Vec<Complaint> {
    let mut last = BTreeMap::<u8, u64>::new();
    let mut complaints = Vec::new();
    // One term may have several leaders, by rising ids; but who votes for itself remembers it.
    for (term, host) in &seen.reigns {
        let before = last.insert(*host, *term).unwrap_or_default();
        if before > *term {
            let what = format!("host {host} led in term {before}, then in term {term}");
            complaints.push(Complaint::new("LOG-2", what));
        }
    }
    complaints
}

/// All managers tell of the same nodes: each host is one that is there, as what it was meant to be.
fn membership(shape: Shape, seen: &Observed) -> Vec<Complaint> {
    let told = seen.any_nodes();
    let mut complaints = Vec::new();
    for manager in 1..=shape.managers {
        match seen.nodes.get(&manager) {
            None => {
                complaints.push(Complaint::new("NODE-1", format!("host {manager} tells no nodes")))
            }
            Some(other) if other != told => complaints.push(Complaint::new(
                "NODE-1",
                format!("host {manager} tells of {other:?}, another one of {told:?}"),
            )),
            Some(_) => {}
        }
    }
    let wrong = |node: &Node, host: u8| {
        let (role, reachability) =
            if host <= shape.managers { ("manager", "reachable") } else { ("worker", "") };
        node.state != "ready"
            || node.availability != "active"
            || node.role != role
            || node.reachability != reachability
    };
    for host in 1..=shape.hosts {
        let own: Vec<&Node> = told.iter().filter(|node| node.host() == Some(host)).collect();
        if !matches!(own[..], [node] if !wrong(node, host)) {
            complaints.push(Complaint::new("NODE-1", format!("host {host} is {own:?}")));
        }
    }
    let leaders = told.iter().filter(|node| node.leader).count();
    if leaders != 1 || told.len() != usize::from(shape.hosts) {
        let what = format!("{leaders} leaders, {} nodes", told.len());
        complaints.push(Complaint::new("NODE-1", what));
    }
    complaints
}

/// Containers of tasks that run, with what they wear.
fn running(seen: &Observed) -> impl Iterator<Item = (&Container, &Wears)> {
    let of_tasks = seen.containers.iter().filter(|container| container.running);
    of_tasks.filter_map(|container| Some((container, container.task.as_ref()?)))
}

/// A place of a service has one container that runs.
fn one_per_place(seen: &Observed) -> Vec<Complaint> {
    let mut places = BTreeMap::<(&str, &str), Vec<(u8, &str)>>::new();
    for (container, wears) in running(seen) {
        let place = (wears.service.as_str(), wears.place.as_str());
        places.entry(place).or_default().push((container.host, &wears.task));
    }
    let two = places.into_iter().filter(|(_, all)| all.len() > 1);
    two.map(|((_, place), all)| Complaint::new("SLOT-1", format!("{place} runs as {all:?}")))
        .collect()
}

/// No address of a network has two owners, containers and services.
fn one_owner_per_address(seen: &Observed) -> Vec<Complaint> {
    let mut owners = BTreeMap::<_, Vec<String>>::new();
    for container in seen.containers.iter().filter(|container| container.running) {
        for address in &container.addresses {
            let who = format!("container {} of host {}", short(&container.id), container.host);
            owners.entry(address).or_default().push(who);
        }
    }
    for service in &seen.services {
        for address in &service.addresses {
            owners.entry(address).or_default().push(format!("service {}", service.name));
        }
    }
    let two = owners.into_iter().filter(|(_, all)| all.len() > 1);
    two.map(|((network, address), all)| {
        Complaint::new("IPAM-2", format!("{address} of {}: {}", short(network), all.join(", ")))
    })
    .collect()
}

/// The first characters of an id, enough to find it.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Each container of a task has its task in the cluster's state, on its host, and runs only where that says so.
fn left_over(seen: &Observed) -> Vec<Complaint> {
    let tasks: BTreeMap<&str, &Task> =
        seen.tasks.iter().map(|task| (task.id.as_str(), task)).collect();
    let hosts: BTreeMap<&str, Option<u8>> =
        seen.any_nodes().iter().map(|node| (node.id.as_str(), node.host())).collect();
    let mut complaints = Vec::new();
    for container in &seen.containers {
        let Some(wears) = &container.task else { continue };
        let place = format!(
            "container {} of {} on host {}",
            short(&container.id),
            wears.place,
            container.host
        );
        let wrong = match tasks.get(wears.task.as_str()) {
            None => Some(format!("{place} is of task {}, which is no more", wears.task)),
            Some(task) if hosts.get(task.node.as_str()) != Some(&Some(container.host)) => {
                Some(format!("{place} is of task {}, of another node", wears.task))
            }
            Some(task) if container.running && (&*task.state, &*task.desired) != RUNS => {
                Some(format!("{place} runs, its task is {task:?}"))
            }
            Some(_) => None,
        };
        complaints.extend(wrong.map(|what| Complaint::new("TASK-8", what)));
    }
    complaints
}

/// State and desired state of a task that runs.
const RUNS: (&str, &str) = ("running", "running");

/// A service has what it asks for, by the containers that run on the hosts.
fn converged(seen: &Observed, service: &Service) -> Option<Complaint> {
    let own: Vec<(&Container, &Wears)> =
        running(seen).filter(|(_, wears)| wears.service == service.id).collect();
    let done: BTreeSet<(&str, u64)> = seen
        .tasks
        .iter()
        .filter(|task| task.service == service.id && task.iteration == service.iteration)
        .filter(|task| task.state == "complete")
        .map(|task| (task.node.as_str(), task.slot))
        .collect();
    let complaint = |what: String| {
        let tasks: Vec<&Task> = seen.tasks.iter().filter(|it| it.service == service.id).collect();
        let what = format!("{} ({:?}): {what}; tasks {tasks:?}", service.name, service.mode);
        Some(Complaint::new("CONV-1", what))
    };
    let count = |found: usize, wanted: u64| u64::try_from(found).is_ok_and(|found| found == wanted);
    match service.mode {
        Mode::Replicated(wanted) if !count(own.len(), wanted) => {
            return complaint(format!("{} run", own.len()));
        }
        Mode::Global => {
            let mut there: Vec<u8> = own.iter().map(|(container, _)| container.host).collect();
            there.sort_unstable();
            let wanted = seen.any_nodes().iter();
            let wanted = wanted.filter(|node| !service.workers_only || node.role == "worker");
            if there != wanted.filter_map(Node::host).collect::<Vec<u8>>() {
                return complaint(format!("runs on hosts {there:?}"));
            }
        }
        Mode::ReplicatedJob(wanted) => {
            let slots: BTreeSet<u64> = done.iter().map(|(_, slot)| *slot).collect();
            if !own.is_empty() || !count(slots.len(), wanted) {
                return complaint(format!("{} run, slots {slots:?} are done", own.len()));
            }
        }
        Mode::GlobalJob => {
            let is_done = |node: &Node| done.iter().any(|(id, _)| *id == node.id);
            if !own.is_empty() || !seen.any_nodes().iter().all(is_done) {
                return complaint(format!("{} run, done are {done:?}", own.len()));
            }
        }
        Mode::Replicated(_) => {}
    }
    let older = own.iter().find(|(_, wears)| wears.made != service.made);
    let (container, wears) = older?;
    complaint(format!(
        "container {} on host {} is of {}, not {}",
        short(&container.id),
        container.host,
        wears.made,
        service.made
    ))
}

/// What a daemon says to run is what has a process, and nothing else has.
fn processes(seen: &Observed) -> Vec<Complaint> {
    let mut told = BTreeMap::<u8, BTreeSet<String>>::new();
    for container in seen.containers.iter().filter(|container| container.running) {
        told.entry(container.host).or_default().insert(container.id.clone());
    }
    let hosts: BTreeSet<u8> = told.keys().chain(seen.alive.keys()).copied().collect();
    let empty = BTreeSet::new();
    hosts
        .into_iter()
        .filter_map(|host| {
            let told = told.get(&host).unwrap_or(&empty);
            let alive = seen.alive.get(&host).unwrap_or(&empty);
            let list = |ids: Vec<&String>| -> Vec<String> {
                ids.into_iter().map(|id| short(id).to_owned()).collect()
            };
            let (dead, untold) =
                (list(told.difference(alive).collect()), list(alive.difference(told).collect()));
            (told != alive).then(|| {
                let what =
                    format!("host {host}: told and dead {dead:?}, alive and untold {untold:?}");
                Complaint::new("CTR-1", what)
            })
        })
        .collect()
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;

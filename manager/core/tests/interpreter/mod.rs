//! The commands of scripts.

use std::sync::Arc;
use std::time::Duration;

use shoal_manager_core::ids::Ids;
use shoal_manager_core::orchestrator::Place;
use shoal_manager_core::store::Change;
use shoal_model::cluster::node::{Availability, NodeState};
use shoal_model::cluster::service::{
    Condition, Dependency, FailureAction, JobStatus, ServiceMode, UpdateConfig, UpdateOrder,
};
use shoal_model::cluster::task::{Reservations, RestartCondition, RestartPolicy};
use shoal_model::cluster::{NodeId, Service, ServiceId, Task, TaskSpec, TaskState};

use crate::world::{World, objects};

pub(crate) struct Interpreter {
    world: World,
}

impl Interpreter {
    pub(crate) fn new() -> Self {
        Self { world: World::new(1) }
    }

    pub(crate) fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.world.log)
    }

    pub(crate) fn run(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let command = words.next().expect("a command");
        let arguments: Vec<&str> = words.collect();
        match (command, arguments.as_slice()) {
            ("nodes", [count]) => self.add_nodes(count.parse().expect("a number")),
            ("service", [name, wishes @ ..]) => self.create(name, wishes),
            ("update", [name, wishes @ ..]) => {
                let id = self.service(name);
                self.world.revise(id, |service| wishes.iter().for_each(|w| wish(service, w)));
            }
            ("rollback", [name]) => self.world.roll_back(self.service(name)),
            ("remove", [name]) => {
                let id = self.service(name);
                let mut service = Service::clone(self.world.state.service(id).expect("a service"));
                service.removing = true;
                self.world.commit(vec![Change::PutService(Arc::new(service))]);
            }
            ("settle", []) => self.world.settle(),
            ("plan", []) => {
                self.world.plan();
            }
            ("step", []) => {
                self.world.step();
            }
            ("tick", [duration]) => self.world.pass(parse_duration(duration)),
            ("leader", []) => self.world.change_leader(),
            ("show", [name]) => self.show(name),
            ("history", [limit]) => self.set_history(limit.parse().expect("a number")),
            ("node", [name, what @ ..]) => self.change_node(name, what),
            (state, [place]) => self.report(place, state),
            _ => panic!("no such command: {line}"),
        }
    }

    fn add_nodes(&mut self, count: usize) {
        for number in 1..=count {
            let mut id = [0; 16];
            id[15] = u8::try_from(number).expect("few nodes");
            let id = NodeId::from_bytes(id);
            let name = format!("n{number}");
            let node = objects::node(id, &name, self.world.now);
            self.world.names.insert(id.to_string(), name);
            self.world.commit(vec![Change::PutNode(Arc::new(node))]);
        }
    }

    fn create(&mut self, name: &str, wishes: &[&str]) {
        let id = self.world.ids.service();
        let mut service = objects::service(id, name);
        wishes.iter().for_each(|w| wish(&mut service, w));
        self.world.names.insert(id.to_string(), name.to_owned());
        self.world.commit(vec![Change::PutService(Arc::new(service))]);
    }

    fn service(&self, name: &str) -> ServiceId {
        self.world.state.service_by_name(name).expect("a service of this name").id
    }

    fn node(&self, name: &str) -> NodeId {
        let id = self.world.names.iter().find(|(_, known)| *known == name).expect("a node").0;
        NodeId::parse(id).expect("an id")
    }

    /// `web.1`: the youngest task of the place that shall run; `web.1#2`: that very task.
    fn report(&mut self, name: &str, state: &str) {
        let state = match state {
            "fail" => TaskState::Failed,
            "complete" => TaskState::Complete,
            "stop" => TaskState::Shutdown,
            other => panic!("no such command: {other}"),
        };
        let task = self.find(name);
        self.world.report(task.id, state);
    }

    fn find(&self, name: &str) -> Arc<Task> {
        let called = |task: &Task| self.world.names[&task.id.to_string()].clone();
        let mut tasks: Vec<_> = self.world.state.tasks().cloned().collect();
        tasks.sort_by_key(|task| called(task));
        tasks
            .into_iter()
            .rev()
            .find(|task| {
                called(task) == name
                    || (task.desired <= TaskState::Complete
                        && called(task).split('#').next() == Some(name))
            })
            .expect("a task of this name")
    }

    fn change_node(&mut self, name: &str, what: &[&str]) {
        let id = self.node(name);
        let now = self.world.now;
        match what {
            ["down"] => {
                self.world.dead.insert(id);
                self.world.node(id, |node| {
                    node.status.state = NodeState::Down;
                    node.status.since = now;
                });
            }
            ["up"] => {
                self.world.dead.remove(&id);
                self.world.node(id, |node| {
                    node.status.state = NodeState::Ready;
                    node.status.since = now;
                });
            }
            ["drain"] => {
                self.world.node(id, |node| node.spec.availability = Availability::Drain);
            }
            ["pause"] => {
                self.world.node(id, |node| node.spec.availability = Availability::Pause);
            }
            ["active"] => {
                self.world.node(id, |node| node.spec.availability = Availability::Active);
            }
            ["label", label] => {
                let (key, value) = label.split_once('=').expect("key=value");
                self.world.node(id, |node| {
                    node.spec.annotations.labels.insert(key.to_owned(), value.to_owned());
                });
            }
            ["memory", bytes] => self.world.node(id, |node| {
                let about = node.description.as_mut().expect("a description");
                about.resources.memory = bytes.parse().expect("bytes");
            }),
            ["gone"] => self.world.commit(vec![Change::RemoveNode(id)]),
            other => panic!("no such change of a node: {other:?}"),
        }
    }

    fn set_history(&mut self, limit: i64) {
        let mut cluster = self.world.state.cluster().expect("a cluster").as_ref().clone();
        cluster.spec.task_history_limit = limit;
        self.world.commit(vec![Change::PutCluster(Arc::new(cluster))]);
    }

    /// The tasks of a service by place, oldest first.
    fn show(&mut self, name: &str) {
        let id = self.service(name);
        let mut lines: Vec<_> = self
            .world
            .state
            .tasks_of_service(id)
            .map(|task| {
                let called = &self.world.names[&task.id.to_string()];
                let node = task.node.map(|node| self.world.names[&node.to_string()].clone());
                let (image, node) = (&task.spec.container.image, node.unwrap_or_default());
                let (state, desired) = (task.status.state.as_str(), task.desired.as_str());
                (
                    Place::of(task),
                    called.len(),
                    format!("{called} {image} {node} {state}/{desired}"),
                )
            })
            .collect();
        lines.sort();
        self.world.log.extend(lines.into_iter().map(|(_, _, line)| line));
    }
}

/// Changes a service by one `key=value`.
fn wish(service: &mut Service, wish: &str) {
    let (key, value) = wish.split_once('=').unwrap_or((wish, ""));
    let number = || value.parse::<u64>().expect("a number");
    let spec = &mut service.spec;
    match key {
        "global" => spec.mode = ServiceMode::Global,
        "replicas" => spec.mode = ServiceMode::Replicated { replicas: Some(number()) },
        "globaljob" => spec.mode = ServiceMode::GlobalJob,
        "job" => {
            let (most, total) = value.split_once('/').expect("concurrent/total");
            let number = |text: &str| Some(text.parse().expect("a number"));
            spec.mode = ServiceMode::ReplicatedJob {
                max_concurrent: number(most),
                total_completions: number(total),
            };
        }
        // `depends=db:healthy`
        "depends" => spec.extensions.depends_on.push(dependency(value)),
        "deadline" => spec.extensions.update_deadline = Some(parse_duration(value)),
        "parallelism" | "delay" | "action" | "monitor" | "ratio" | "order" => {
            configure(spec.update.get_or_insert_default(), key, value);
        }
        _ if key.starts_with("rollback-") => {
            let key = key.trim_start_matches("rollback-");
            configure(spec.rollback.get_or_insert_default(), key, value);
        }
        _ => wish_of_task(Arc::make_mut(&mut spec.task), key, value),
    }
    if spec.mode.is_job() && service.job.is_none() {
        service.job = Some(JobStatus::default());
    }
}

fn dependency(text: &str) -> Dependency {
    let (service, condition) = text.split_once(':').expect("service:condition");
    let (condition, required) = match condition.strip_suffix(":optional") {
        Some(condition) => (condition, false),
        None => (condition, true),
    };
    let condition = match condition {
        "started" => Condition::Started,
        "healthy" => Condition::Healthy,
        "completed" => Condition::Completed,
        other => panic!("no such condition: {other}"),
    };
    Dependency { service: service.to_owned(), condition, required }
}

fn configure(config: &mut UpdateConfig, key: &str, value: &str) {
    match key {
        "parallelism" => config.parallelism = value.parse().expect("a number"),
        "delay" => config.delay = parse_duration(value),
        "monitor" => config.monitor = Some(parse_duration(value)),
        "ratio" => config.max_failure_ratio = value.parse().expect("a ratio"),
        "order" => {
            config.order = match value {
                "start-first" => UpdateOrder::StartFirst,
                _ => UpdateOrder::StopFirst,
            };
        }
        "action" => {
            config.failure_action = match value {
                "continue" => FailureAction::Continue,
                "rollback" => FailureAction::Rollback,
                _ => FailureAction::Pause,
            };
        }
        other => panic!("no such setting: {other}"),
    }
}

fn wish_of_task(task: &mut TaskSpec, key: &str, value: &str) {
    let number = || value.parse::<u64>().expect("a number");
    match key {
        "image" => task.container.image = value.to_owned(),
        "force" => task.force_update += 1,
        "grace" => task.stop_grace_period = Some(parse_duration(value)),
        "constraint" => {
            task.placement.get_or_insert_default().constraints = vec![value.to_owned()];
        }
        "memory" => {
            let resources = task.resources.get_or_insert_default();
            let memory = value.parse().expect("bytes");
            resources.reservations = Some(Reservations { memory, ..Reservations::default() });
        }
        _ => {
            let policy: &mut RestartPolicy = task.restart.get_or_insert_default();
            match key {
                "restart" => {
                    policy.condition = Some(match value {
                        "none" => RestartCondition::None,
                        "on-failure" => RestartCondition::OnFailure,
                        _ => RestartCondition::Any,
                    });
                }
                "restart-delay" => policy.delay = Some(parse_duration(value)),
                "attempts" => policy.max_attempts = Some(number()),
                "window" => policy.window = Some(parse_duration(value)),
                other => panic!("no such wish: {other}"),
            }
        }
    }
}

fn parse_duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.find(char::is_alphabetic).expect("a unit"));
    let number: u64 = number.parse().expect("a number");
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(60 * number),
        "h" => Duration::from_secs(3600 * number),
        other => panic!("no such unit: {other}"),
    }
}

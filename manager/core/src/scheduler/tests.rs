use std::sync::Arc;
use std::time::Duration;

use expect_test::{Expect, expect};
use shoal_model::cluster::node::{Availability, FailureMark, GenericResource, NodeState, Platform};
use shoal_model::cluster::service::{Endpoint, PortConfig, PublishMode};
use shoal_model::cluster::task::{Placement, Reservations, ResourceRequirements};
use shoal_model::cluster::{Node, ServiceId, TaskSpec, Version};

use super::*;
use crate::samples;
use crate::store::{Change, Transaction};

/// A store, a scheduler that follows it, and a clock that stands still.
struct World {
    state: State,
    scheduler: Scheduler,
    index: u64,
    now: Timestamp,
}

impl World {
    fn new(nodes: u64) -> Self {
        let (state, scheduler) = (State::default(), Scheduler::default());
        let mut world = Self { state, scheduler, index: 0, now: Timestamp::from_parts(1000, 0) };
        for number in 1..=nodes {
            world.put_node(samples::node(number));
        }
        world
    }

    fn commit(&mut self, changes: Vec<Change>) {
        self.index += 1;
        let transaction = Transaction { at: self.now, expect: Vec::new(), changes };
        let applied = self.state.apply(self.index, &transaction).unwrap();
        for event in &applied.events {
            self.scheduler.observe(event);
        }
    }

    fn put_node(&mut self, node: Node) {
        self.commit(vec![Change::PutNode(Arc::new(node))]);
    }

    fn edit_node(&mut self, number: u64, edit: impl FnOnce(&mut Node)) {
        let id = samples::node(number).id;
        let mut node = Node::clone(self.state.node(id).unwrap());
        edit(&mut node);
        self.put_node(node);
    }

    /// Creates a service with tasks 100 · `service` + slot.
    fn run(&mut self, service: u64, replicas: u64, edit: impl Fn(&mut TaskSpec)) {
        let mut spec = TaskSpec::default();
        edit(&mut spec);
        let spec = Arc::new(spec);
        let id = ServiceId::from_bytes(samples::bytes(service));
        if self.state.service(id).is_none() {
            let object = samples::service(service, &format!("s{service}"));
            self.commit(vec![Change::PutService(Arc::new(object))]);
        }
        let tasks = (1..=replicas).map(|slot| {
            let mut task = samples::task(100 * service + slot, service, slot);
            task.spec = Arc::clone(&spec);
            Change::PutTask(Arc::new(task))
        });
        let tasks = tasks.filter(|change| match change {
            Change::PutTask(task) => self.state.task(task.id).is_none(),
            _ => false,
        });
        let tasks = tasks.collect();
        self.commit(tasks);
    }

    fn edit_task(&mut self, number: u64, edit: impl FnOnce(&mut Task)) {
        let id = TaskId::from_bytes(samples::bytes(number));
        let mut task = self.state.task(id).map_or_else(
            || samples::task(number, number / 100, number % 100),
            |task| Task::clone(task),
        );
        edit(&mut task);
        self.commit(vec![Change::PutTask(Arc::new(task))]);
    }

    /// Plans, commits, and tells what was decided.
    fn plan(&mut self) -> String {
        let plan = self.scheduler.plan(&self.state, self.now, Limits::default());
        let lines = plan.changes.iter().map(render).collect::<Vec<_>>().join("\n");
        self.commit(plan.changes);
        lines
    }

    #[track_caller]
    fn check(&mut self, expect: &Expect) {
        expect.assert_eq(&self.plan());
        assert_eq!(self.plan(), "", "a second plan changes nothing");
        let fresh = super::plan(&self.state, self.now);
        assert_eq!(fresh.changes, [], "neither does a new leader");
    }
}

fn number(bytes: [u8; 16]) -> u128 {
    u128::from_be_bytes(bytes)
}

fn render(change: &Change) -> String {
    match change {
        Change::EditTask(task) => {
            let node = task.node.map_or(0, |node| number(node.to_bytes()));
            let mut line = format!("t{} -> n{node}", number(task.id.to_bytes()));
            for resource in &task.generic {
                line += &match resource {
                    GenericResource::Discrete { kind, value } => format!(" {kind}={value}"),
                    GenericResource::Named { kind, value } => format!(" {kind}:{value}"),
                };
            }
            line
        }
        Change::TaskStatus { task, status } => {
            format!("t{}: {}", number(task.to_bytes()), status.error)
        }
        other => format!("{other:?}"),
    }
}

fn reserve(spec: &mut TaskSpec, cpus: i64, memory: i64, generic: &[GenericResource]) {
    let reservations =
        Reservations { nano_cpus: cpus * 1_000_000_000, memory, generic: generic.to_vec() };
    spec.resources = Some(ResourceRequirements {
        reservations: Some(reservations),
        ..ResourceRequirements::default()
    });
}

fn constrain(spec: &mut TaskSpec, constraint: &str) {
    let constraints = vec![constraint.to_owned()];
    spec.placement = Some(Placement { constraints, ..Placement::default() });
}

fn label(node: &mut Node, key: &str, value: &str) {
    node.spec.annotations.labels.insert(key.to_owned(), value.to_owned());
}

#[test]
fn tasks_go_where_the_service_and_then_all_have_fewest() {
    let mut world = World::new(3);
    world.run(1, 2, |_| {});
    world.check(&expect![[r#"
        t101 -> n1
        t102 -> n2"#]]);
    world.run(2, 4, |_| {});
    world.check(&expect![[r#"
        t201 -> n3
        t202 -> n1
        t203 -> n2
        t204 -> n3"#]]);
}

#[test]
fn free_resources_decide_between_equals() {
    let mut world = World::new(3);
    world.edit_node(2, |node| {
        let about = node.description.as_mut().unwrap();
        about.resources.nano_cpus *= 4;
        about.resources.memory *= 4;
    });
    world.edit_node(3, |node| node.description.as_mut().unwrap().resources.memory -= 1 << 30);
    world.run(1, 3, |_| {});
    world.check(&expect![[r#"
        t101 -> n2
        t102 -> n1
        t103 -> n3"#]]);
}

#[test]
fn the_image_at_hand_decides_between_equals_only() {
    let mut world = World::new(4);
    let has = |node: &mut Node| {
        let about = node.description.as_mut().unwrap();
        about.images.insert(shoal_model::cluster::image::name("busybox").unwrap());
    };
    world.edit_node(3, has);
    world.edit_node(4, has);
    world.edit_node(4, |node| node.description.as_mut().unwrap().resources.nano_cpus /= 2);
    world.run(1, 4, |spec| spec.container.image = "busybox:latest".to_owned());
    world.check(&expect![[r#"
        t101 -> n3
        t102 -> n1
        t103 -> n2
        t104 -> n4"#]]);
}

#[test]
fn nodes_that_failed_often_come_last_for_five_minutes() {
    let mut world = World::new(2);
    let mark = |at| FailureMark {
        service: ServiceId::from_bytes(samples::bytes(1)),
        spec_version: Version(1),
        at,
    };
    let now = world.now;
    world.edit_node(1, |node| node.failures = vec![mark(now); 5]);
    world.edit_node(2, |node| node.failures = vec![mark(now); 4]);
    world.run(1, 2, |_| {});
    world.check(&expect![[r#"
        t101 -> n2
        t102 -> n2"#]]);
    world.now = now.after(Duration::from_secs(300));
    world.run(1, 3, |_| {});
    world.check(&expect!["t103 -> n1"]);
}

#[test]
fn spread_levels_the_branches_and_counts_what_runs_already() {
    let mut world = World::new(4);
    for (number, zone) in [(1, "a"), (2, "b"), (3, "b"), (4, "b")] {
        world.edit_node(number, |node| label(node, "zone", zone));
    }
    let spread = |spec: &mut TaskSpec| {
        let spread = vec!["node.labels.zone".to_owned()];
        spec.placement = Some(Placement { spread, ..Placement::default() });
    };
    world.run(1, 4, spread);
    world.check(&expect![[r#"
        t101 -> n1
        t102 -> n2
        t103 -> n3
        t104 -> n1"#]]);
    world.edit_node(1, |node| node.spec.availability = Availability::Pause);
    world.run(1, 6, spread);
    world.check(&expect![[r#"
        t105 -> n4
        t106 -> n2"#]]);
}

#[test]
fn spread_has_levels() {
    let mut world = World::new(4);
    for (number, zone, rack) in [(1, "a", "1"), (2, "a", "1"), (3, "a", "2"), (4, "b", "1")] {
        world.edit_node(number, |node| {
            label(node, "zone", zone);
            label(node, "rack", rack);
        });
    }
    world.run(1, 6, |spec| {
        let spread = ["node.labels.zone", "node.labels.rack"].map(str::to_owned).to_vec();
        spec.placement = Some(Placement { spread, ..Placement::default() });
    });
    world.check(&expect![[r#"
        t101 -> n1
        t102 -> n4
        t103 -> n3
        t104 -> n4
        t105 -> n2
        t106 -> n4"#]]);
}

#[test]
fn what_does_not_fit_says_why_and_comes_back_when_there_is_room() {
    let mut world = World::new(2);
    world.edit_node(2, |node| node.spec.availability = Availability::Drain);
    world.run(1, 3, |spec| reserve(spec, 2, 1 << 30, &[]));
    world.check(&expect![[r#"
        t101 -> n1
        t102 -> n1
        t103: no suitable node (1 node not available for new tasks; insufficient resources on 1 node)"#]]);
    world.edit_task(101, |task| task.desired = TaskState::Shutdown);
    world.check(&expect![""]);
    world.edit_task(101, |task| task.status.state = TaskState::Failed);
    world.check(&expect!["t103 -> n1"]);
}

#[test]
fn a_verdict_follows_the_nodes() {
    let mut world = World::new(2);
    world.run(1, 1, |spec| constrain(spec, "node.labels.disk==ssd"));
    world.check(&expect![
        "t101: no suitable node (scheduling constraints not satisfied on 2 nodes)"
    ]);
    world.edit_node(1, |node| node.status.state = NodeState::Down);
    world.check(&expect![[
        "t101: no suitable node (1 node not available for new tasks; scheduling constraints not satisfied on 1 node)"
    ]]);
    world.commit(vec![Change::RemoveNode(samples::node(1).id)]);
    world
        .check(&expect!["t101: no suitable node (scheduling constraints not satisfied on 1 node)"]);
    world.edit_node(2, |node| label(node, "disk", "SSD"));
    world.check(&expect!["t101 -> n2"]);
}

#[test]
fn a_constraint_on_what_no_node_has_is_told() {
    let mut world = World::new(2);
    world.run(1, 1, |spec| constrain(spec, "node.rol==manager"));
    world.check(&expect![
        "t101: no suitable node (scheduling constraints not satisfied on 2 nodes): no node has a `node.rol`, did you mean `node.role`?"
    ]);
}

#[test]
fn no_nodes_at_all() {
    let mut world = World::new(0);
    world.run(1, 1, |_| {});
    world.check(&expect!["t101: no suitable node"]);
    world.put_node(samples::node(1));
    world.check(&expect!["t101 -> n1"]);
}

#[test]
fn generic_resources_are_handed_out_piece_by_piece() {
    let named = |value: &str| GenericResource::Named { kind: "gpu".into(), value: value.into() };
    let discrete = |value| GenericResource::Discrete { kind: "ssd".into(), value };
    let wish = [GenericResource::Discrete { kind: "gpu".into(), value: 1 }, discrete(2)];
    let mut world = World::new(2);
    world.edit_node(1, |node| {
        let about = node.description.as_mut().unwrap();
        about.resources.generic = vec![named("x"), named("y"), named("z"), discrete(5)];
    });
    world.run(1, 3, |spec| reserve(spec, 0, 0, &wish));
    world.check(&expect![[r#"
        t101 -> n1 gpu:x ssd=2
        t102 -> n1 gpu:y ssd=2
        t103: no suitable node (insufficient resources on 2 nodes)"#]]);
    world.edit_task(101, |task| task.status.state = TaskState::Complete);
    world.check(&expect!["t103 -> n1 gpu:x ssd=2"]);
}

#[test]
fn a_host_port_is_held_once_per_node_and_protocol() {
    let mut world = World::new(1);
    world.run(1, 0, |_| {});
    let port = |task: &mut Task, published, protocol| {
        let port =
            PortConfig { published, protocol, mode: PublishMode::Host, ..Default::default() };
        task.endpoint = Some(Arc::new(Endpoint { ports: vec![port], ..Endpoint::default() }));
    };
    use shoal_model::cluster::service::Protocol::{Tcp, Udp};
    world.edit_task(101, |task| port(task, 80, Tcp));
    world.edit_task(102, |task| port(task, 80, Tcp));
    world.edit_task(103, |task| port(task, 80, Udp));
    world.edit_task(104, |task| port(task, 0, Tcp));
    let mut lines: Vec<_> = world.plan().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "t101 -> n1",
            "t102: no suitable node (host-mode port already in use on 1 node)",
            "t103 -> n1",
            "t104 -> n1",
        ]
    );
    world.edit_task(101, |task| task.status.state = TaskState::Shutdown);
    world.check(&expect!["t102 -> n1"]);
}

#[test]
fn replicas_per_node_are_limited() {
    let mut world = World::new(2);
    let limit = |spec: &mut TaskSpec| {
        spec.placement = Some(Placement { max_replicas: 1, ..Placement::default() });
    };
    world.run(1, 3, limit);
    world.check(&expect![[r#"
        t101 -> n1
        t102 -> n2
        t103: no suitable node (max replicas per node limit exceed)"#]]);
    world.edit_task(102, |task| task.desired = TaskState::Shutdown);
    world.check(&expect!["t103 -> n2"]);
}

#[test]
fn plugins_and_platforms_are_asked_for() {
    let mut world = World::new(2);
    world.edit_node(2, |node| {
        let about = node.description.as_mut().unwrap();
        about.platform.architecture = "aarch64".to_owned();
        about.plugins.insert(("Log".to_owned(), "gelf".to_owned()));
    });
    let log = |spec: &mut TaskSpec, driver: &str| {
        spec.log = Some(shoal_model::container::LogSpec {
            driver: driver.to_owned(),
            options: std::collections::BTreeMap::new(),
        });
    };
    world.run(1, 2, |spec| {
        let platforms = vec![Platform { architecture: "arm64".into(), os: "linux".into() }];
        spec.placement = Some(Placement { platforms, ..Placement::default() });
    });
    world.run(2, 1, |spec| log(spec, "gelf"));
    world.run(3, 1, |spec| {
        log(spec, "fluentd");
        constrain(spec, "node.hostname==n2");
    });
    world.check(&expect![[r#"
        t101 -> n2
        t102 -> n2
        t201 -> n1
        t301: no suitable node (missing plugin on 1 node; scheduling constraints not satisfied on 1 node)"#]]);
}

#[test]
fn a_preset_node_is_only_checked() {
    let mut world = World::new(3);
    world.run(1, 0, |_| {});
    for number in [101, 102] {
        world.edit_task(number, |task| {
            let mut spec = TaskSpec::default();
            reserve(&mut spec, 3, 0, &[]);
            task.spec = Arc::new(spec);
            task.node = Some(samples::node(2).id);
        });
    }
    world.check(&expect![[r#"
        t101 -> n2
        t102: insufficient resources on 1 node"#]]);
    world.edit_node(1, |node| label(node, "a", "b"));
    world.check(&expect![""]);
    world.edit_task(101, |task| task.status.state = TaskState::Failed);
    world.check(&expect!["t102 -> n2"]);
}

#[test]
fn one_that_does_not_fit_holds_up_no_other() {
    let mut world = World::new(1);
    world.run(1, 1, |spec| reserve(spec, 64, 0, &[]));
    world.run(2, 1, |spec| reserve(spec, 1, 0, &[]));
    world.check(&expect![[r#"
        t101: no suitable node (insufficient resources on 1 node)
        t201 -> n1"#]]);
}

#[test]
fn the_older_comes_first_when_something_is_freed() {
    let mut world = World::new(1);
    world.run(9, 1, |spec| reserve(spec, 4, 0, &[]));
    assert_eq!(world.plan(), "t901 -> n1");
    world.run(8, 1, |spec| reserve(spec, 4, 0, &[]));
    world.now = world.now.after(Duration::from_secs(1));
    world.run(7, 1, |spec| reserve(spec, 4, 0, &[]));
    world.plan();
    world.edit_task(901, |task| task.status.state = TaskState::Complete);
    assert_eq!(world.plan(), "t801 -> n1");
}

#[test]
fn a_plan_is_bounded_and_goes_on() {
    let mut world = World::new(1);
    world.run(1, 5, |spec| reserve(spec, 2, 0, &[]));
    let limits = Limits { changes: 2, failures: 1 };
    let mut seen = Vec::new();
    loop {
        let plan = world.scheduler.plan(&world.state, world.now, limits);
        assert!(plan.changes.len() <= 2);
        seen.push(plan.changes.iter().map(render).collect::<Vec<_>>().join(", "));
        let more = plan.more;
        world.commit(plan.changes);
        if !more {
            break;
        }
    }
    let refused = "no suitable node (insufficient resources on 1 node)";
    assert_eq!(
        seen,
        [
            "t101 -> n1, t102 -> n1".to_owned(),
            format!("t103: {refused}, t104: {refused}"),
            format!("t105: {refused}"),
        ]
    );
}

#[test]
fn a_plan_that_failed_to_commit_is_made_again() {
    let mut world = World::new(1);
    world.run(1, 1, |spec| reserve(spec, 4, 0, &[]));
    let first = world.scheduler.plan(&world.state, world.now, Limits::default());
    let meanwhile = world.scheduler.plan(&world.state, world.now, Limits::default());
    assert_eq!(meanwhile, Plan::default());
    world.scheduler.forget(&world.state, &first);
    let second = world.scheduler.plan(&world.state, world.now, Limits::default());
    assert_eq!(first, second);
}

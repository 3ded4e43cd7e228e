//! Bugs of managers, planted: transactions that no manager should make.

use std::sync::Arc;
use std::time::Duration;

use shoal_manager::store;
use shoal_manager_core::store::Txn;
use shoal_model::cluster::node::{Availability, NodeState};
use shoal_model::cluster::service::{Endpoint, PublishMode};
use shoal_model::cluster::task::{Reservations, ResourceRequirements, Slot};
use shoal_model::cluster::{NodeId, Service, Task, TaskId, TaskState};

use crate::planted::Bug;
use crate::time::pass;
use crate::wish::NODE_CPUS;
use crate::world::World;

const AGAIN: Duration = Duration::from_secs(2);
/// No service has so many replicas.
const NOBODYS: Slot = Slot(1_000);

/// Makes such transactions for as long as the run lasts, if its bug is of that kind.
pub(crate) async fn run(world: Arc<World>) {
    let kinds = [
        Bug::DoubleSlot,
        Bug::LeakedAddress,
        Bug::WrongNode,
        Bug::LostRestartCount,
        Bug::ChangedSpec,
        Bug::Overcommitted,
        Bug::PublishedTwice,
        Bug::TriedTooOften,
    ];
    let Some(bug) = kinds.into_iter().find(|bug| world.planted.is(*bug)) else { return };
    loop {
        pass(AGAIN).await;
        let Some(life) = world.leader().and_then(|index| world.managers[index].life()) else {
            continue;
        };
        // What cannot be committed now is tried again.
        let _ = life.process.store.update::<_, store::Error>(|txn| change(txn, bug)).await;
    }
}

fn task(txn: &Txn, fits: impl Fn(&Task) -> bool) -> Option<Task> {
    txn.tasks().find(|task| fits(task)).map(|task| (**task).clone())
}

fn another(id: TaskId) -> TaskId {
    let mut id = id.to_bytes();
    id[0] ^= 0xff;
    TaskId::from_bytes(id)
}

/// Gives a node another task like this one, in a place that nobody has, so that nothing else is wrong with it.
fn assign_another(txn: &mut Txn, mut task: Task, node: NodeId) -> Result<(), store::Error> {
    task.id = another(task.id);
    task.slot = NOBODYS;
    task.networks.clear();
    task.generic.clear();
    task.node = None;
    task.status.state = TaskState::Pending;
    txn.put_task(task.clone())?;
    task.node = Some(node);
    task.status.state = TaskState::Assigned;
    txn.put_task(task)?;
    Ok(())
}

fn change(txn: &mut Txn, bug: Bug) -> Result<(), store::Error> {
    let runs =
        |task: &Task| task.status.state == TaskState::Running && task.desired == TaskState::Running;
    match bug {
        Bug::DoubleSlot => {
            let Some(mut twin) = task(txn, runs) else { return Ok(()) };
            twin.id = another(twin.id);
            twin.node = None;
            twin.networks.clear();
            twin.status.state = TaskState::New;
            txn.put_task(twin)?;
        }
        Bug::LeakedAddress => {
            let on_network = |task: &Task| runs(task) && !task.networks.is_empty();
            let Some(first) = task(txn, on_network) else { return Ok(()) };
            let other = |task: &Task| on_network(task) && task.id != first.id;
            let Some(mut second) = task(txn, other) else { return Ok(()) };
            second.networks.clone_from(&first.networks);
            txn.put_task(second)?;
        }
        Bug::WrongNode => {
            let drained = txn.nodes().find(|node| node.spec.availability == Availability::Drain);
            let Some(node) = drained.map(|node| node.id) else { return Ok(()) };
            let replica = |task: &Task| runs(task) && task.slot != Slot(0);
            let Some(task) = task(txn, replica) else { return Ok(()) };
            assign_another(txn, task, node)?;
        }
        Bug::LostRestartCount => {
            let restarted = |task: &Task| runs(task) && !task.history.attempts.is_empty();
            let Some(mut task) = task(txn, restarted) else { return Ok(()) };
            task.history.attempts.clear();
            txn.put_task(task)?;
        }
        Bug::ChangedSpec => {
            let Some(mut service) = txn.services().next().map(|it| Service::clone(it)) else {
                return Ok(());
            };
            let mut spec = (*service.spec.task).clone();
            spec.container.image = "what nobody asked for".to_owned();
            service.spec.task = Arc::new(spec);
            txn.put_service(service)?;
        }
        Bug::Overcommitted => {
            // On a node that it may have otherwise.
            let free =
                |task: &Task| runs(task) && task.slot != Slot(0) && task.spec.placement.is_none();
            let Some(mut task) = task(txn, free) else { return Ok(()) };
            let active = |id| {
                txn.node(id).is_some_and(|node| {
                    node.spec.availability == Availability::Active
                        && node.status.state == NodeState::Ready
                })
            };
            let Some(node) = task.node.filter(|id| active(*id)) else { return Ok(()) };
            let reservations = Reservations { nano_cpus: NODE_CPUS + 1, ..Reservations::default() };
            let mut spec = (*task.spec).clone();
            spec.resources = Some(ResourceRequirements {
                reservations: Some(reservations),
                ..ResourceRequirements::default()
            });
            task.spec = Arc::new(spec);
            assign_another(txn, task, node)?;
        }
        Bug::PublishedTwice => {
            let publishes = |service: &Service| {
                service.endpoint.as_ref().is_some_and(|endpoint| {
                    endpoint.ports.iter().any(|port| port.mode == PublishMode::Ingress)
                })
            };
            let found = txn.services().find(|it| publishes(it) && !it.removing).cloned();
            let Some(first) = found else { return Ok(()) };
            let other = txn.services().find(|it| it.id != first.id && !it.removing).cloned();
            let Some(mut second) = other.map(|it| Service::clone(&it)) else { return Ok(()) };
            let ports = first.endpoint.iter().flat_map(|endpoint| endpoint.ports.clone()).collect();
            second.endpoint = Some(Endpoint { ports, ..Endpoint::default() });
            txn.put_service(second)?;
        }
        Bug::TriedTooOften => {
            let few = |task: &Task| {
                let most = task.spec.restart.as_ref().and_then(|policy| policy.max_attempts);
                most.is_some_and(|most| most < 10) && task.desired == TaskState::Running
            };
            let Some(mut task) = task(txn, few) else { return Ok(()) };
            let at = task.meta.updated;
            task.history.attempts.extend(std::iter::repeat_n(at, 10));
            txn.put_task(task)?;
        }
        _ => {}
    }
    Ok(())
}

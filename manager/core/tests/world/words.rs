//! Events in words.

use shoal_manager_core::store::{Diff, Event};
use shoal_model::cluster::{Service, Task};

use super::World;

/// One line for an event that tests look at.
pub(crate) fn of(world: &World, event: &Event) -> Option<String> {
    match event {
        Event::Task(diff) => task(world, diff),
        Event::Service(diff) => service(world, diff),
        _ => None,
    }
}

fn task(world: &World, diff: &Diff<Task>) -> Option<String> {
    let task = diff.latest()?;
    let id = task.id.to_string();
    let name = world.names.get(&id).unwrap_or(&id);
    let Some(new) = &diff.new else { return Some(format!("{name} deleted")) };
    let node = new.node.map(|node| world.names[&node.to_string()].clone()).unwrap_or_default();
    let Some(old) = &diff.old else {
        let wait = new
            .history
            .not_before
            .map(|at| format!(", not before +{} ms", at.since(world.now).as_millis()));
        let spec = &new.spec.container.image;
        let wait = wait.unwrap_or_default();
        return Some(format!("{name} made of {spec}, shall be {}{wait}", new.desired.as_str()));
    };
    let mut parts = Vec::new();
    if old.status.state != new.status.state {
        parts.push(format!("{} -> {}", old.status.state.as_str(), new.status.state.as_str()));
    }
    if old.desired != new.desired {
        parts.push(format!("shall be {} -> {}", old.desired.as_str(), new.desired.as_str()));
    }
    let at = if node.is_empty() { String::new() } else { format!(" on {node}") };
    (!parts.is_empty()).then(|| format!("{name}{at}: {}", parts.join(", ")))
}

fn service(world: &World, diff: &Diff<Service>) -> Option<String> {
    let service = diff.latest()?;
    let name = &service.spec.annotations.name;
    let Some(new) = &diff.new else { return Some(format!("{name} deleted")) };
    let old = diff.old.as_ref()?;
    if old.update == new.update {
        return None;
    }
    let Some(update) = &new.update else { return Some(format!("{name}: no update")) };
    let mut message = update.message.clone();
    for (id, name) in &world.names {
        message = message.replace(id, name);
    }
    let (failed, total) = (update.failed, update.total);
    Some(format!("{name}: {:?}, {failed} of {total} failed: {message}", update.state))
}

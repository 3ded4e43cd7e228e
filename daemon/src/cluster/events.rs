//! Events of the cluster, published on this host while it is a manager.
//!
//! Each manager tells them from its own replica: all tell the same ones.
//!
//! Source: moby `daemon/events.go`; facts in `reference/surface.md` A.6.

use std::collections::BTreeMap;
use std::sync::Arc;

use shoal_engine::events::Bus;
use shoal_manager::assembly::Manager;
use shoal_manager::store::Store;
use shoal_manager_core::store::{Diff, Event as Change};
use shoal_model::cluster::node::{Availability, NodeRole, NodeState};
use shoal_model::cluster::service::{ServiceMode, UpdateState};
use shoal_model::cluster::{Meta, Node, NodeId, Service};
use shoal_model::{Event, EventKind, EventScope, Timestamp};
use tokio::sync::watch;

type Attributes = BTreeMap<String, String>;

/// Publishes what happens in the cluster, for ever.
///
/// # Cancel safety
/// Dropping the future ends the publication.
pub(super) async fn publish(mut managers: watch::Receiver<Option<Arc<Manager>>>, bus: Bus) {
    loop {
        let store = managers.borrow_and_update().as_ref().map(|manager| manager.store.clone());
        let following = async {
            match store {
                Some(store) => follow(&store, &bus).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = following => {}
            changed = managers.changed() => if changed.is_err() {
                return;
            }
        }
    }
}

async fn follow(store: &Store, bus: &Bus) {
    let mut leadership = store.leadership();
    loop {
        let (view, mut changes) = store.watch();
        drop(view);
        let mut leader = leadership.borrow_and_update().leader.as_ref().map(|leader| leader.node);
        loop {
            tokio::select! {
                batches = changes.next() => {
                    // What was missed, as while a snapshot is received, is nowhere to be had.
                    let Ok(batches) = batches else { break };
                    let now = store.now();
                    let changed = batches.iter().flat_map(|batch| &batch.events);
                    changed.filter_map(|change| event(change, now)).for_each(|event| bus.publish_event(event));
                }
                changed = leadership.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let new = leadership.borrow_and_update().leader.as_ref().map(|leader| leader.node);
                    // Between two leaders there is none; docker tells of the next one.
                    if new.is_some() && new != leader {
                        let view = store.view();
                        let node = |id: Option<NodeId>| id.and_then(|id| view.node(id));
                        for (node, leads) in [(node(leader), false), (node(new), true)] {
                            node.into_iter().for_each(|node| bus.publish_event(led(node, leads, store.now())));
                        }
                        leader = new;
                    }
                }
            }
        }
    }
}

/// The event of a node that begins or ends to lead.
fn led(node: &Node, leads: bool, at: Timestamp) -> Event {
    let mut attributes = named(node_name(node));
    compare(&mut attributes, "leader", Some((!leads).to_string()), Some(leads.to_string()));
    made(EventKind::Node, "update", node.id.to_string(), attributes, at)
}

/// The event of a change; `None` for objects that have none.
fn event(change: &Change, now: Timestamp) -> Option<Event> {
    match change {
        Change::Cluster(_) | Change::Task(_) => None,
        Change::Node(diff) => one(EventKind::Node, diff, now, |node| {
            (node.id.to_string(), node.meta, node_name(node), node_changes)
        }),
        // For users a service is gone when it is removed, not when its last task has ended.
        Change::Service(Diff { old: Some(old), .. }) if old.removing => None,
        Change::Service(Diff { old: old @ Some(_), new: Some(new) }) if new.removing => {
            event(&Change::Service(Diff { old: old.clone(), new: None }), now)
        }
        Change::Service(diff) => one(EventKind::Service, diff, now, |service| {
            let name = service.spec.annotations.name.clone();
            (service.id.to_string(), service.meta, name, service_changes)
        }),
        Change::Network(diff) => one(EventKind::Network, diff, now, |network| {
            (network.id.to_string(), network.meta, network.spec.name.clone(), no_changes)
        }),
        Change::Secret(diff) => one(EventKind::Secret, diff, now, |secret| {
            let name = secret.spec.annotations.name.clone();
            (secret.id.to_string(), secret.meta, name, no_changes)
        }),
        Change::Config(diff) => one(EventKind::Config, diff, now, |config| {
            let name = config.spec.annotations.name.clone();
            (config.id.to_string(), config.meta, name, no_changes)
        }),
    }
}

type Changes<T> = fn(&T, &T, &mut Attributes);

fn no_changes<T>(_: &T, _: &T, _: &mut Attributes) {}

fn one<T>(
    kind: EventKind,
    diff: &Diff<T>,
    now: Timestamp,
    describe: impl Fn(&T) -> (String, Meta, String, Changes<T>),
) -> Option<Event> {
    let (action, object) = match (&diff.old, &diff.new) {
        (None, Some(new)) => ("create", new),
        (Some(_), Some(new)) => ("update", new),
        (Some(old), None) => ("remove", old),
        (None, None) => return None,
    };
    let (id, meta, name, changes) = describe(object);
    let mut attributes = named(name);
    if let (Some(old), Some(new)) = (&diff.old, &diff.new) {
        changes(old, new, &mut attributes);
    }
    let at = match action {
        "create" => meta.created,
        "update" => meta.updated,
        _ => now,
    };
    Some(made(kind, action, id, attributes, at))
}

fn made(
    kind: EventKind,
    action: &str,
    actor: String,
    attributes: Attributes,
    at: Timestamp,
) -> Event {
    Event { at, kind, action: action.to_owned(), actor, attributes, scope: EventScope::Swarm }
}

fn named(name: String) -> Attributes {
    BTreeMap::from([("name".to_owned(), name)])
}

/// `what.old` and `what.new` when they differ; what was not there before has no `old`.
fn compare(attributes: &mut Attributes, what: &str, old: Option<String>, new: Option<String>) {
    let Some(new) = new.filter(|new| old.as_ref() != Some(new)) else { return };
    attributes.extend(old.map(|old| (format!("{what}.old"), old)));
    attributes.insert(format!("{what}.new"), new);
}

fn node_name(node: &Node) -> String {
    let given = &node.spec.annotations.name;
    match &node.description {
        Some(description) if given.is_empty() => description.hostname.clone(),
        _ => given.clone(),
    }
}

fn node_changes(old: &Node, new: &Node, attributes: &mut Attributes) {
    let mut both = |what: &str, word: fn(&Node) -> &'static str| {
        compare(attributes, what, Some(word(old).to_owned()), Some(word(new).to_owned()));
    };
    both("availability", |node| match node.spec.availability {
        Availability::Active => "active",
        Availability::Pause => "pause",
        Availability::Drain => "drain",
    });
    both("role", |node| match node.role {
        NodeRole::Worker => "worker",
        NodeRole::Manager => "manager",
    });
    both("state", |node| match node.status.state {
        NodeState::Unknown => "unknown",
        NodeState::Down => "down",
        NodeState::Ready => "ready",
        NodeState::Disconnected => "disconnected",
    });
}

fn service_changes(old: &Service, new: &Service, attributes: &mut Attributes) {
    let mut both = |what: &str, word: fn(&Service) -> Option<String>| {
        compare(attributes, what, word(old), word(new));
    };
    both("image", |service| Some(service.spec.task.container.image.clone()));
    both("replicas", |service| match service.spec.mode {
        ServiceMode::Replicated { replicas } => Some(replicas.unwrap_or(1).to_string()),
        ServiceMode::Global | ServiceMode::GlobalJob | ServiceMode::ReplicatedJob { .. } => None,
    });
    both("updatestate", |service| {
        service.update.as_ref().map(|update| state(update.state).to_owned())
    });
}

const fn state(state: UpdateState) -> &'static str {
    match state {
        UpdateState::Updating => "updating",
        UpdateState::Paused => "paused",
        UpdateState::Completed => "completed",
        UpdateState::RollbackStarted => "rollback_started",
        UpdateState::RollbackPaused => "rollback_paused",
        UpdateState::RollbackCompleted => "rollback_completed",
    }
}

#[cfg(test)]
mod tests {
    use shoal_model::cluster::service::UpdateStatus;
    use shoal_model::cluster::{Annotations, ServiceId, ServiceSpec, Version};

    use super::*;

    fn service(replicas: u64, image: &str, update: Option<UpdateState>) -> Arc<Service> {
        let mut spec = ServiceSpec {
            annotations: Annotations { name: "web".to_owned(), ..Annotations::default() },
            mode: ServiceMode::Replicated { replicas: Some(replicas) },
            ..ServiceSpec::default()
        };
        Arc::make_mut(&mut spec.task).container.image = image.to_owned();
        let update = update.map(|state| UpdateStatus {
            state,
            started: Timestamp::default(),
            completed: None,
            message: String::new(),
            total: 1,
            failed: 0,
            progressed: Timestamp::default(),
        });
        Arc::new(Service {
            id: ServiceId::from_bytes([7; 16]),
            meta: Meta {
                created: Timestamp::from_nanos(10),
                updated: Timestamp::from_nanos(20),
                ..Meta::default()
            },
            spec,
            spec_version: Version(1),
            previous: None,
            revisions: Default::default(),
            endpoint: None,
            endpoint_error: String::new(),
            update,
            job: None,
            removing: false,
        })
    }

    fn told(old: Option<Arc<Service>>, new: Option<Arc<Service>>) -> String {
        let event = event(&Change::Service(Diff { old, new }), Timestamp::from_nanos(30)).unwrap();
        assert_eq!(event.scope, EventScope::Swarm);
        let attributes: Vec<String> =
            event.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let Event { kind, action, at, .. } = event;
        format!("{} {} {action} {}", at.nanos(), kind.as_str(), attributes.join(" "))
    }

    #[test]
    fn services_come_change_and_go() {
        let one = || Some(service(1, "a", None));
        assert_eq!(told(None, one()), "10 service create name=web");
        assert_eq!(told(one(), one()), "20 service update name=web");
        assert_eq!(told(one(), None), "30 service remove name=web");
        assert_eq!(
            told(one(), Some(service(3, "b", Some(UpdateState::Updating)))),
            "20 service update image.new=b image.old=a name=web replicas.new=3 replicas.old=1 \
             updatestate.new=updating"
        );
        assert_eq!(
            told(
                Some(service(3, "b", Some(UpdateState::Updating))),
                Some(service(3, "b", Some(UpdateState::RollbackStarted)))
            ),
            "20 service update name=web updatestate.new=rollback_started updatestate.old=updating"
        );
    }
}

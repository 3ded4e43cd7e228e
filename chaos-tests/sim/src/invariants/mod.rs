//! One file for each thing that must hold. What needs the store only is shared with the model of `manager/core`.

pub mod addresses;
pub mod agreement;
pub mod converged;
pub mod election;
pub mod fit;
pub mod history;
pub mod places;
pub mod roles;
pub mod specs;
pub mod states;
pub mod views;

use std::fmt::Debug;

use shoal_manager_core::invariants::Verdict;
use shoal_manager_core::store::{Event, State};
use shoal_model::cluster::ServiceSpec;

/// One transaction.
#[derive(Debug)]
pub struct Step<'a> {
    /// The store before it.
    pub before: &'a State,
    /// After it.
    pub state: &'a State,
    /// What it changed.
    pub events: &'a [Event],
}

/// Holds after each transaction.
pub trait Invariant: Debug + Send {
    /// Looks at one.
    ///
    /// # Errors
    /// When it does not hold.
    fn check(&mut self, step: &Step<'_>) -> Verdict;

    /// A user asks for a spec.
    fn asked(&mut self, _spec: &ServiceSpec) {}
}

/// Those that are checked after each transaction.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(states::States),
        Box::new(places::Places),
        Box::new(fit::Fit),
        Box::new(addresses::Addresses),
        Box::new(history::History),
        Box::new(specs::Specs::default()),
    ]
}

/// An event in one line; `None`: it says nothing of interest.
pub fn line(event: &Event) -> Option<String> {
    match event {
        Event::Task(diff) => {
            let task = diff.latest()?;
            let state = match &diff.new {
                Some(new) => {
                    format!("{:?}→{:?} {}", new.status.state, new.desired, new.status.error)
                }
                None => "gone".to_owned(),
            };
            let node = task.node.map(|node| short(&node.to_string())).unwrap_or_default();
            let (id, service) = (short(&task.id.to_string()), task.service);
            let service = service.map(|it| short(&it.to_string())).unwrap_or_default();
            Some(format!("task {id} of {service}.{:?} on {node}: {state}", task.slot))
        }
        Event::Service(diff) => {
            let service = diff.latest()?;
            let (name, id) = (&service.spec.annotations.name, short(&service.id.to_string()));
            let state = match &diff.new {
                Some(new) => format!(
                    "{:?} {:?} {} {:?}",
                    new.spec.task.container.image,
                    new.spec.mode,
                    if new.removing { "removing" } else { "" },
                    new.update.as_ref().map(|update| update.state),
                ),
                None => "gone".to_owned(),
            };
            Some(format!("service {name} {id}: {state}"))
        }
        Event::Node(diff) => {
            let node = diff.latest()?;
            let (status, role) = (&node.status.state, node.role);
            let available = node.spec.availability;
            Some(format!("node {}: {role:?} {status:?} {available:?}", short(&node.id.to_string())))
        }
        Event::Secret(diff) => {
            let secret = diff.latest()?;
            let there = if diff.new.is_some() { "there" } else { "gone" };
            Some(format!("secret {}: {there}", secret.spec.annotations.name))
        }
        Event::Cluster(_) | Event::Network(_) | Event::Config(_) => None,
    }
}

/// Enough of an id to tell it from others.
fn short(id: &str) -> String {
    id.chars().rev().take(6).collect()
}

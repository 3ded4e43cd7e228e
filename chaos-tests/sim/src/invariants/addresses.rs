//! IPAM-2: no address of a cluster network has two owners.

use shoal_manager_core::invariants::{self, Verdict};
use shoal_manager_core::store::Event;

use super::{Invariant, Step};

#[derive(Debug)]
pub(super) struct Addresses;

impl Invariant for Addresses {
    fn check(&mut self, step: &Step<'_>) -> Verdict {
        let gives = |event: &Event| match event {
            Event::Task(diff) => match (&diff.old, &diff.new) {
                (Some(old), Some(new)) => old.networks != new.networks,
                (None, Some(new)) => !new.networks.is_empty(),
                _ => false,
            },
            Event::Service(diff) => match (&diff.old, &diff.new) {
                (Some(old), Some(new)) => old.endpoint != new.endpoint,
                (None, Some(new)) => new.endpoint.is_some(),
                _ => false,
            },
            _ => false,
        };
        if step.events.iter().any(gives) { invariants::given_once(step.state) } else { Ok(()) }
    }
}

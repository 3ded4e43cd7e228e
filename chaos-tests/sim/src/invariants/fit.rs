//! FIT-1, RES-1: a node gets only tasks that it may get, and never holds more than it has.

use shoal_manager_core::invariants::{self, Verdict};
use shoal_manager_core::store::{Diff, Event};
use shoal_model::cluster::TaskState;

use super::{Invariant, Step};

#[derive(Debug)]
pub(super) struct Fit;

impl Invariant for Fit {
    fn check(&mut self, step: &Step<'_>) -> Verdict {
        for event in step.events {
            let Event::Task(Diff { old: Some(old), new: Some(new) }) = event else { continue };
            let (TaskState::Pending, TaskState::Assigned) = (old.status.state, new.status.state)
            else {
                continue;
            };
            let Some(node) = new.node else { continue };
            invariants::fits(step.state, step.before, node, new)?;
            invariants::holds(step.state, node)?;
        }
        Ok(())
    }
}

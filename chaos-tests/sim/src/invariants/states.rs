//! TASK-1, TASK-3 to TASK-7: what a task may become.

use shoal_manager_core::invariants::{self, Verdict};
use shoal_manager_core::store::Event;

use super::{Invariant, Step};

#[derive(Debug)]
pub(super) struct States;

impl Invariant for States {
    fn check(&mut self, step: &Step<'_>) -> Verdict {
        for event in step.events {
            if let Event::Task(diff) = event {
                invariants::forward(diff)?;
                invariants::placed(step.state, diff)?;
                invariants::removal(step.before, diff)?;
            }
        }
        Ok(())
    }
}

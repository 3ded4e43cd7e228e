//! HIST-1, HIST-2: what a place has been through is neither forgotten nor remembered too long.

use shoal_manager_core::invariants::{self, Verdict, require};
use shoal_manager_core::store::{Diff, Event};

use super::{Invariant, Step};

#[derive(Debug)]
pub(super) struct History;

impl Invariant for History {
    fn check(&mut self, step: &Step<'_>) -> Verdict {
        for event in step.events {
            let Event::Task(diff) = event else { continue };
            invariants::history(diff)?;
            let Some(new) = &diff.new else { continue };
            let before = match diff {
                Diff { old: Some(old), .. } => Some(old),
                _ => new.history.predecessor.and_then(|id| step.state.task(id)),
            };
            let Some(before) = before.filter(|it| it.spec_version == new.spec_version) else {
                continue;
            };
            // No service of the simulation has a window: attempts count for ever.
            let (had, has) = (before.history.attempts.len(), new.history.attempts.len());
            require(has >= had, "HIST-1", || {
                format!("{has} attempts after {had}: {} after {}", new.id, before.id)
            })?;
        }
        Ok(())
    }
}

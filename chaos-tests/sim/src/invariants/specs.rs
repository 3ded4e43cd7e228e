//! SPEC-1: only users change specs; the updater may go back to the one before.

use std::collections::BTreeSet;

use shoal_manager_core::invariants::{Verdict, require};
use shoal_manager_core::store::Event;
use shoal_model::cluster::{ServiceSpec, TaskSpec};

use super::{Invariant, Step};

#[derive(Debug, Default)]
pub(super) struct Specs(BTreeSet<String>);

/// What users of the simulation change.
fn said(spec: &ServiceSpec) -> String {
    let ServiceSpec { annotations, task, mode, endpoint, .. } = spec;
    let TaskSpec { container, resources, placement, restart, networks, .. } = &**task;
    let (name, image) = (&annotations.name, &container.image);
    format!(
        "{name} {image} {mode:?} {endpoint:?} {resources:?} {placement:?} {restart:?} {networks:?}"
    )
}

impl Invariant for Specs {
    fn check(&mut self, step: &Step<'_>) -> Verdict {
        for event in step.events {
            let Event::Service(diff) = event else { continue };
            let Some(new) = &diff.new else { continue };
            let before = diff.old.as_ref();
            let same = before.is_some_and(|old| old.spec == new.spec);
            let back = before.and_then(|old| old.previous.as_ref());
            let goes_back = back.is_some_and(|previous| previous.spec == new.spec);
            let asked = same || goes_back || self.0.contains(&said(&new.spec));
            require(asked, "SPEC-1", || format!("nobody asked for {}", said(&new.spec)))?;
        }
        Ok(())
    }

    fn asked(&mut self, spec: &ServiceSpec) {
        self.0.insert(said(spec));
    }
}

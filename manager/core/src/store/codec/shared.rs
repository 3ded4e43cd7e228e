//! What several objects share: written once, referred to by number.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use shoal_model::cluster::service::Endpoint;
use shoal_model::cluster::{Annotations, TaskSpec};

use super::Error;

/// Numbers given so far. Identity decides, so that the values must outlive it.
#[derive(Debug)]
pub(super) struct Numbers<T> {
    known: BTreeMap<usize, u32>,
    fresh: Vec<Arc<T>>,
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), fresh: Vec::new() }
    }
}

impl<T> Numbers<T> {
    fn of(&mut self, value: &Arc<T>) -> u32 {
        let next = u32::try_from(self.known.len()).expect("fewer than 2³² objects fit in memory");
        *self.known.entry(Arc::as_ptr(value).addr()).or_insert_with(|| {
            self.fresh.push(Arc::clone(value));
            next
        })
    }
}

/// Numbers of all that can be shared.
#[derive(Debug, Default)]
pub(super) struct Numbering {
    specs: Numbers<TaskSpec>,
    annotations: Numbers<Annotations>,
    endpoints: Numbers<Endpoint>,
}

impl Numbering {
    pub(super) fn spec(&mut self, spec: &Arc<TaskSpec>) -> u32 {
        self.specs.of(spec)
    }

    pub(super) fn annotations(&mut self, annotations: &Arc<Annotations>) -> u32 {
        self.annotations.of(annotations)
    }

    pub(super) fn endpoint(&mut self, endpoint: &Arc<Endpoint>) -> u32 {
        self.endpoints.of(endpoint)
    }

    /// What got its number since the last call.
    pub(super) fn fresh(&mut self) -> Shared {
        Shared {
            specs: std::mem::take(&mut self.specs.fresh),
            annotations: std::mem::take(&mut self.annotations.fresh),
            endpoints: std::mem::take(&mut self.endpoints.fresh),
            nothing: OnceLock::new(),
        }
    }
}

/// The values, at the positions of their numbers.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Shared {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    specs: Vec<Arc<TaskSpec>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    annotations: Vec<Arc<Annotations>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<Arc<Endpoint>>,
    /// What tasks without their own spec and annotations have until they are applied: one of each for all.
    #[serde(skip)]
    nothing: OnceLock<(Arc<TaskSpec>, Arc<Annotations>)>,
}

impl Shared {
    fn nothing(&self) -> &(Arc<TaskSpec>, Arc<Annotations>) {
        self.nothing.get_or_init(Default::default)
    }

    /// In the place of a spec that is not written.
    pub(super) fn no_spec(&self) -> Arc<TaskSpec> {
        Arc::clone(&self.nothing().0)
    }

    /// In the place of annotations that are not written.
    pub(super) fn no_annotations(&self) -> Arc<Annotations> {
        Arc::clone(&self.nothing().1)
    }

    /// Adds those of the next block.
    pub(super) fn extend(&mut self, more: Self) {
        self.specs.extend(more.specs);
        self.annotations.extend(more.annotations);
        self.endpoints.extend(more.endpoints);
    }

    pub(super) fn spec(&self, number: u32, frame: &'static str) -> Result<Arc<TaskSpec>, Error> {
        at(&self.specs, number, frame, "spec")
    }

    pub(super) fn annotations(
        &self,
        number: u32,
        frame: &'static str,
    ) -> Result<Arc<Annotations>, Error> {
        at(&self.annotations, number, frame, "annotations")
    }

    pub(super) fn endpoint(
        &self,
        number: u32,
        frame: &'static str,
    ) -> Result<Arc<Endpoint>, Error> {
        at(&self.endpoints, number, frame, "endpoint")
    }
}

fn at<T>(
    values: &[Arc<T>],
    number: u32,
    frame: &'static str,
    what: &'static str,
) -> Result<Arc<T>, Error> {
    let value = usize::try_from(number).ok().and_then(|index| values.get(index));
    value.cloned().ok_or(Error::Dangling { frame, what, number })
}

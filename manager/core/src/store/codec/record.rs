//! Services and tasks as they are written: shared parts are numbers.
//!
//! Fields are listed one by one when converting, so that a new field of the model cannot be forgotten here.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use shoal_model::Timestamp;
use shoal_model::cluster::node::GenericResource;
use shoal_model::cluster::service::{
    Endpoint, EndpointSpec, JobStatus, PreviousSpec, Revision, Revisions, ServiceExtensions,
    ServiceMode, UpdateConfig, UpdateStatus,
};
use shoal_model::cluster::task::{
    NetworkAttachment, NetworkWish, RestartHistory, Slot, TaskStatus,
};
use shoal_model::cluster::{
    Annotations, Meta, NodeId, Service, ServiceId, ServiceSpec, Task, TaskId, TaskState, Version,
};

use super::Error;
use super::shared::{Numbering, Shared};

/// A task. What is as by default is not written: every release reads it so.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TaskRecord<'a> {
    id: TaskId,
    /// Absent in transactions: the store writes it.
    #[serde(default, skip_serializing_if = "is_default")]
    meta: Meta,
    /// `None`: that of the task in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    spec: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoint: Option<u32>,
    #[serde(default, skip_serializing_if = "is_default")]
    spec_version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<ServiceId>,
    #[serde(default, skip_serializing_if = "is_default")]
    slot: Slot,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<NodeId>,
    #[serde(default, skip_serializing_if = "is_default")]
    desired: TaskState,
    #[serde(default, skip_serializing_if = "is_default")]
    status: Cow<'a, TaskStatus>,
    #[serde(default, skip_serializing_if = "is_empty")]
    networks: Cow<'a, [NetworkAttachment]>,
    #[serde(default, skip_serializing_if = "is_empty")]
    generic: Cow<'a, [GenericResource]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job_iteration: Option<Version>,
    #[serde(default, skip_serializing_if = "is_default")]
    history: Cow<'a, RestartHistory>,
    #[serde(default, skip_serializing_if = "is_default")]
    runs: u32,
}

#[expect(clippy::ptr_arg, reason = "the signature that serde calls")]
fn is_empty<T: Clone>(list: &Cow<'_, [T]>) -> bool {
    list.is_empty()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Which parts of a task are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// All.
    Stored,
    /// All but what the store writes.
    Put,
    /// The same without spec and annotations.
    Edited,
}

impl<'a> TaskRecord<'a> {
    pub(super) fn new(task: &'a Task, parts: Parts, numbering: &mut Numbering) -> Self {
        let Task {
            id,
            meta,
            spec,
            spec_version,
            service,
            slot,
            node,
            annotations,
            desired,
            status,
            networks,
            endpoint,
            generic,
            job_iteration,
            history,
            runs,
        } = task;
        let whole = parts != Parts::Edited;
        Self {
            id: *id,
            meta: if parts == Parts::Stored { *meta } else { Meta::default() },
            spec: whole.then(|| numbering.spec(spec)),
            annotations: whole.then(|| numbering.annotations(annotations)),
            endpoint: endpoint.as_ref().map(|endpoint| numbering.endpoint(endpoint)),
            spec_version: *spec_version,
            service: *service,
            slot: *slot,
            node: *node,
            desired: *desired,
            status: Cow::Borrowed(status),
            networks: Cow::Borrowed(networks),
            generic: Cow::Borrowed(generic),
            job_iteration: *job_iteration,
            history: Cow::Borrowed(history),
            runs: *runs,
        }
    }

    pub(super) fn task(self, shared: &Shared, frame: &'static str) -> Result<Task, Error> {
        let spec = self.spec.map(|number| shared.spec(number, frame)).transpose()?;
        let annotations = self.annotations.map(|number| shared.annotations(number, frame));
        let endpoint = self.endpoint.map(|number| shared.endpoint(number, frame));
        Ok(Task {
            id: self.id,
            meta: self.meta,
            spec: spec.unwrap_or_else(|| shared.no_spec()),
            spec_version: self.spec_version,
            service: self.service,
            slot: self.slot,
            node: self.node,
            annotations: annotations.transpose()?.unwrap_or_else(|| shared.no_annotations()),
            desired: self.desired,
            status: self.status.into_owned(),
            networks: self.networks.into_owned(),
            endpoint: endpoint.transpose()?,
            generic: self.generic.into_owned(),
            job_iteration: self.job_iteration,
            history: self.history.into_owned(),
            runs: self.runs,
        })
    }
}

/// A service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ServiceRecord<'a> {
    id: ServiceId,
    #[serde(default)]
    meta: Meta,
    spec: SpecRecord<'a>,
    #[serde(default)]
    spec_version: Version,
    #[serde(default)]
    previous: Option<PreviousRecord<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revisions: Option<RevisionsRecord<'a>>,
    #[serde(default)]
    endpoint: Cow<'a, Option<Endpoint>>,
    #[serde(default)]
    endpoint_error: Cow<'a, str>,
    #[serde(default)]
    update: Cow<'a, Option<UpdateStatus>>,
    #[serde(default)]
    job: Option<JobStatus>,
    #[serde(default)]
    removing: bool,
}

/// The wish of a service.
#[derive(Debug, Serialize, Deserialize)]
struct SpecRecord<'a> {
    #[serde(default)]
    annotations: Cow<'a, Annotations>,
    task: u32,
    #[serde(default)]
    mode: ServiceMode,
    #[serde(default)]
    update: Cow<'a, Option<UpdateConfig>>,
    #[serde(default)]
    rollback: Cow<'a, Option<UpdateConfig>>,
    #[serde(default)]
    endpoint: Cow<'a, Option<EndpointSpec>>,
    #[serde(default, skip_serializing_if = "is_empty")]
    networks: Cow<'a, [NetworkWish]>,
    #[serde(default)]
    extensions: Cow<'a, ServiceExtensions>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PreviousRecord<'a> {
    spec: SpecRecord<'a>,
    #[serde(default)]
    spec_version: Version,
}

/// Absent: there was never another wish than the present one.
#[derive(Debug, Serialize, Deserialize)]
struct RevisionsRecord<'a> {
    present: u64,
    #[serde(default)]
    since: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    earlier: Vec<RevisionRecord<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct RevisionRecord<'a> {
    number: u64,
    #[serde(default)]
    since: Option<Timestamp>,
    spec: SpecRecord<'a>,
}

impl<'a> RevisionsRecord<'a> {
    fn new(revisions: &'a Revisions, numbering: &mut Numbering) -> Option<Self> {
        let Revisions { present, since, earlier } = revisions;
        let mut record = |revision: &'a Revision| {
            let Revision { number, since, spec } = revision;
            let spec = SpecRecord::new(spec, numbering);
            RevisionRecord { number: *number, since: *since, spec }
        };
        (*revisions != Revisions::default()).then(|| Self {
            present: *present,
            since: *since,
            earlier: earlier.iter().map(&mut record).collect(),
        })
    }

    fn revisions(self, shared: &Shared, frame: &'static str) -> Result<Revisions, Error> {
        let revision = |record: RevisionRecord<'_>| {
            let spec = record.spec.spec(shared, frame)?;
            Ok(Revision { number: record.number, since: record.since, spec })
        };
        let earlier = self.earlier.into_iter().map(revision).collect::<Result<_, Error>>()?;
        Ok(Revisions { present: self.present, since: self.since, earlier })
    }
}

impl<'a> ServiceRecord<'a> {
    pub(super) fn new(service: &'a Service, numbering: &mut Numbering) -> Self {
        let Service {
            id,
            meta,
            spec,
            spec_version,
            previous,
            revisions,
            endpoint,
            endpoint_error,
            update,
            job,
            removing,
        } = service;
        Self {
            id: *id,
            meta: *meta,
            spec: SpecRecord::new(spec, numbering),
            spec_version: *spec_version,
            previous: previous.as_deref().map(|previous| PreviousRecord {
                spec: SpecRecord::new(&previous.spec, numbering),
                spec_version: previous.spec_version,
            }),
            revisions: RevisionsRecord::new(revisions, numbering),
            endpoint: Cow::Borrowed(endpoint),
            endpoint_error: Cow::Borrowed(endpoint_error),
            update: Cow::Borrowed(update),
            job: *job,
            removing: *removing,
        }
    }

    pub(super) fn service(self, shared: &Shared, frame: &'static str) -> Result<Service, Error> {
        let previous = self.previous.map(|previous| {
            let spec = previous.spec.spec(shared, frame)?;
            Ok(Box::new(PreviousSpec { spec, spec_version: previous.spec_version }))
        });
        let revisions = self.revisions.map(|revisions| revisions.revisions(shared, frame));
        Ok(Service {
            id: self.id,
            meta: self.meta,
            spec: self.spec.spec(shared, frame)?,
            spec_version: self.spec_version,
            previous: previous.transpose()?,
            revisions: revisions.transpose()?.unwrap_or_default(),
            endpoint: self.endpoint.into_owned(),
            endpoint_error: self.endpoint_error.into_owned(),
            update: self.update.into_owned(),
            job: self.job,
            removing: self.removing,
        })
    }
}

impl<'a> SpecRecord<'a> {
    fn new(spec: &'a ServiceSpec, numbering: &mut Numbering) -> Self {
        let ServiceSpec {
            annotations,
            task,
            mode,
            update,
            rollback,
            endpoint,
            networks,
            extensions,
        } = spec;
        Self {
            annotations: Cow::Borrowed(annotations),
            task: numbering.spec(task),
            mode: *mode,
            update: Cow::Borrowed(update),
            rollback: Cow::Borrowed(rollback),
            endpoint: Cow::Borrowed(endpoint),
            networks: Cow::Borrowed(networks),
            extensions: Cow::Borrowed(extensions),
        }
    }

    fn spec(self, shared: &Shared, frame: &'static str) -> Result<ServiceSpec, Error> {
        Ok(ServiceSpec {
            annotations: self.annotations.into_owned(),
            task: shared.spec(self.task, frame)?,
            mode: self.mode,
            update: self.update.into_owned(),
            rollback: self.rollback.into_owned(),
            endpoint: self.endpoint.into_owned(),
            networks: self.networks.into_owned(),
            extensions: self.extensions.into_owned(),
        })
    }
}

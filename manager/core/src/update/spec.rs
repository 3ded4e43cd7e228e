//! What users do to the spec of a service.

use std::sync::Arc;

use shoal_model::cluster::service::{JobStatus, PreviousSpec, UpdateState, UpdateStatus};
use shoal_model::cluster::{Service, ServiceSpec, Version};
use shoal_model::error::Classified;
use shoal_model::{ErrorKind, Timestamp};

/// There is nothing to roll back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("service does not have a previous spec")]
pub struct NoPreviousSpec;

impl Classified for NoPreviousSpec {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// The service with another spec, as it is to be put into the store; `None`: nothing changes.
///
/// A spec that is the present one resumes a halted update. Otherwise it is no change, and the previous spec, to which
/// a rollback would go, stays what it is.
pub fn revise(service: &Service, mut spec: ServiceSpec, now: Timestamp) -> Option<Service> {
    if spec.task == service.spec.task {
        spec.task = Arc::clone(&service.spec.task);
    }
    let mut revised =
        Service { spec_version: service.meta.version, update: None, ..service.clone() };
    if spec == service.spec {
        let halted = service.update.as_ref().is_some_and(|update| {
            matches!(update.state, UpdateState::Paused | UpdateState::RollbackPaused)
        });
        return halted.then_some(revised);
    }
    revised.previous = Some(Box::new(PreviousSpec {
        spec: std::mem::replace(&mut revised.spec, spec),
        spec_version: service.spec_version,
    }));
    revised.job = next_iteration(service, now);
    Some(revised)
}

/// The service with the spec before the last change. There is one step back, and none from there.
///
/// # Errors
/// When the service has no previous spec.
pub fn roll_back(
    service: &Service,
    message: &str,
    now: Timestamp,
) -> Result<Service, NoPreviousSpec> {
    let previous = service.previous.as_ref().ok_or(NoPreviousSpec)?;
    Ok(Service {
        spec: previous.spec.clone(),
        // A version of its own, so that what failed before does not count against the rollback. Tasks that already run
        // the previous spec are known by what they run.
        spec_version: service.meta.version,
        previous: None,
        update: (!service.spec.mode.is_job()).then(|| UpdateStatus {
            state: UpdateState::RollbackStarted,
            started: now,
            completed: None,
            message: message.to_owned(),
            total: 0,
            failed: 0,
            progressed: now,
        }),
        job: next_iteration(service, now),
        ..service.clone()
    })
}

/// The next run of a job; `None`: the service is none.
fn next_iteration(service: &Service, now: Timestamp) -> Option<JobStatus> {
    let iteration = service.job.unwrap_or_default().iteration;
    service
        .spec
        .mode
        .is_job()
        .then_some(JobStatus { iteration: Version(iteration.0 + 1), last_execution: now })
}

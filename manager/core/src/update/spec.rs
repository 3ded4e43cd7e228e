//! What users do to the spec of a service.

use std::sync::Arc;

use shoal_model::cluster::service::{
    JobStatus, PreviousSpec, REVISIONS_KEPT, Revision, Revisions, UpdateState, UpdateStatus,
};
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
    revised.revisions = next_revisions(service, &spec, now);
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
    Ok(Service { previous: None, ..reversed(service, previous.spec.clone(), message, now) })
}

/// The service with a wish that it had before, by its number. The wish that is left is what a further rollback goes to.
/// `None`: that wish is not kept.
pub fn roll_back_to(
    service: &Service,
    number: u64,
    message: &str,
    now: Timestamp,
) -> Option<Service> {
    let revision = service.revisions.earlier.iter().find(|revision| revision.number == number)?;
    let previous = PreviousSpec { spec: service.spec.clone(), spec_version: service.spec_version };
    let back = reversed(service, revision.spec.clone(), message, now);
    Some(Service { previous: Some(Box::new(previous)), ..back })
}

/// The service with an earlier wish, of which it says that it is a rollback.
fn reversed(service: &Service, spec: ServiceSpec, message: &str, now: Timestamp) -> Service {
    Service {
        // A version of its own, so that what failed before does not count against the rollback. Tasks that already run
        // the earlier spec are known by what they run.
        spec_version: service.meta.version,
        revisions: next_revisions(service, &spec, now),
        spec,
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
    }
}

/// The wishes after a change to `next`, which says how many are kept.
fn next_revisions(service: &Service, next: &ServiceSpec, now: Timestamp) -> Revisions {
    let Revisions { present, since, earlier } = &service.revisions;
    let mut earlier = earlier.clone();
    earlier.push(Revision { number: *present, since: *since, spec: service.spec.clone() });
    let kept = next.extensions.revisions.unwrap_or(REVISIONS_KEPT);
    let excess = earlier.len().saturating_sub(usize::try_from(kept).unwrap_or(usize::MAX));
    earlier.drain(..excess);
    Revisions { present: present + 1, since: Some(now), earlier }
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

#[cfg(test)]
mod tests {
    use shoal_model::cluster::service::ServiceMode;

    use super::*;
    use crate::samples;

    fn service() -> Service {
        let mut service = samples::service(1, "web");
        service.meta.version = Version(9);
        service.spec_version = Version(3);
        service
    }

    fn with_image(service: &Service, image: &str) -> ServiceSpec {
        let mut spec = service.spec.clone();
        Arc::make_mut(&mut spec.task).container.image = image.to_owned();
        spec
    }

    fn status(state: UpdateState) -> UpdateStatus {
        let now = Timestamp::from_nanos(5);
        let (completed, message) = (None, String::new());
        UpdateStatus {
            state,
            started: now,
            completed,
            message,
            total: 2,
            failed: 1,
            progressed: now,
        }
    }

    #[test]
    fn a_change_keeps_the_spec_before_it_for_one_step_back() {
        let now = Timestamp::from_nanos(7);
        let service = service();
        let spec = with_image(&service, "b");
        let mut revised = revise(&service, spec.clone(), now).unwrap();
        assert_eq!((&revised.spec, revised.spec_version), (&spec, Version(9)));
        let previous = PreviousSpec { spec: service.spec.clone(), spec_version: Version(3) };
        assert_eq!(revised.previous.as_deref(), Some(&previous));

        revised.meta.version = Version(12);
        let back = roll_back(&revised, "wanted", now).unwrap();
        assert_eq!((&back.spec, back.spec_version), (&service.spec, Version(12)));
        assert_eq!(back.update.as_ref().unwrap().state, UpdateState::RollbackStarted);
        assert_eq!(roll_back(&back, "wanted", now), Err(NoPreviousSpec));
    }

    #[test]
    fn so_many_wishes_are_kept_and_can_be_gone_back_to() {
        let mut service = service();
        service.spec.extensions.revisions = Some(2);
        for (second, image) in ["b", "c", "d"].into_iter().enumerate() {
            let now = Timestamp::from_parts(i64::try_from(second).unwrap(), 0);
            service = revise(&service, with_image(&service, image), now).unwrap();
        }
        let shown = |service: &Service| {
            let earlier = service.revisions.earlier.iter();
            let earlier = earlier.map(|one| {
                (one.number, one.spec.task.container.image.clone(), one.since.map(|at| at.nanos()))
            });
            (earlier.collect::<Vec<_>>(), service.revisions.present)
        };
        let b = (2, "b".to_owned(), Some(0));
        let c = (3, "c".to_owned(), Some(1_000_000_000));
        assert_eq!(shown(&service), (vec![b, c.clone()], 4));

        let now = Timestamp::from_parts(9, 0);
        assert_eq!(roll_back_to(&service, 1, "wanted", now), None, "it is not kept");
        assert_eq!(roll_back_to(&service, 4, "wanted", now), None, "it is the present one");
        let back = roll_back_to(&service, 2, "wanted", now).unwrap();
        assert_eq!(back.spec.task.container.image, "b");
        let d = (4, "d".to_owned(), Some(2_000_000_000));
        assert_eq!(shown(&back), (vec![c, d], 5));
        assert_eq!(back.update.as_ref().unwrap().state, UpdateState::RollbackStarted);
        let again = roll_back(&back, "wanted", now).unwrap();
        assert_eq!(again.spec.task.container.image, "d", "what was left is one step back");
    }

    #[test]
    fn the_same_spec_is_no_change_and_loses_no_previous_one() {
        let now = Timestamp::from_nanos(7);
        let changed = revise(&service(), with_image(&service(), "b"), now).unwrap();
        assert_eq!(revise(&changed, with_image(&changed, "b"), now), None);
        for state in [UpdateState::Updating, UpdateState::Completed, UpdateState::RollbackStarted] {
            let busy = Service { update: Some(status(state)), ..changed.clone() };
            assert_eq!(revise(&busy, busy.spec.clone(), now), None, "{state:?}");
        }
    }

    #[test]
    fn the_same_spec_resumes_what_was_halted() {
        let now = Timestamp::from_nanos(7);
        for state in [UpdateState::Paused, UpdateState::RollbackPaused] {
            let halted = Service { update: Some(status(state)), ..service() };
            let resumed = revise(&halted, halted.spec.clone(), now);
            assert_eq!(resumed, Some(Service { spec_version: Version(9), ..service() }));
        }
    }

    #[test]
    fn a_changed_job_runs_again() {
        let now = Timestamp::from_nanos(7);
        let mut job = service();
        job.spec.mode = ServiceMode::GlobalJob;
        job.job = Some(JobStatus { iteration: Version(4), last_execution: Timestamp::default() });
        let revised = revise(&job, with_image(&job, "b"), now).unwrap();
        let next = JobStatus { iteration: Version(5), last_execution: now };
        assert_eq!(revised.job, Some(next));
        let back = roll_back(&revised, "wanted", now).unwrap();
        assert_eq!(back.job.unwrap().iteration, Version(6));
        assert_eq!(back.update, None, "jobs have no updates");
    }
}

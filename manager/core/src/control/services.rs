//! Services.
//!
//! Source: swarmkit `manager/controlapi/service.go`, moby `daemon/cluster/services.go`. Without its
//! defect that every update, also one that changes nothing, overwrites the previous spec.

use std::mem::discriminant;
use std::sync::Arc;

use shoal_model::cluster::request::{AuthFrom, ServiceUpdate};
use shoal_model::cluster::service::JobStatus;
use shoal_model::cluster::{Meta, Service, ServiceId, ServiceSpec, TaskSpec, Version};

use super::secrets::in_sequence;
use super::{Error, Result, find, references, validate};
use crate::allocator;
use crate::ids::Ids;
use crate::store::Txn;
use crate::update;

/// Creates a service.
///
/// # Errors
/// When the spec is malformed, names what does not exist, or the name or a port is taken.
pub fn create(txn: &mut Txn, ids: &mut dyn Ids, mut spec: ServiceSpec) -> Result<ServiceId> {
    references::resolve_networks(txn, &mut spec)?;
    validate::service(&spec)?;
    references::check_ports(txn, &spec, None)?;
    references::check(txn, &spec)?;
    let name = &spec.annotations.name;
    if txn.service_by_name(name).is_some() {
        return Err(Error::exists(format!(
            "name conflicts with an existing object: service {name} already exists"
        )));
    }
    let id = ids.service();
    let endpoint = allocator::endpoint_of_nothing(&spec);
    let job = spec
        .mode
        .is_job()
        .then(|| JobStatus { iteration: Version::default(), last_execution: txn.at() });
    txn.put_service(Service {
        id,
        meta: Meta::default(),
        spec,
        spec_version: Version::default(),
        previous: None,
        revisions: Default::default(),
        endpoint,
        endpoint_error: String::new(),
        update: None,
        job,
        removing: false,
    })?;
    Ok(id)
}

/// Changes the spec of a service, or goes back to the previous one. A spec that is the present one changes
/// nothing.
///
/// # Errors
/// As [`create`]; when name or mode would change, there is no previous spec, or the service was changed
/// since `version`.
pub fn update(
    txn: &mut Txn,
    reference: &str,
    version: Version,
    request: ServiceUpdate,
) -> Result<()> {
    let service = Arc::clone(find::service(txn, reference)?);
    let (now, id) = (txn.at(), service.id);
    if request.rollback {
        in_sequence(&service.meta, version)?;
        let back = rolled_back(&service, request.revision, now)?;
        references::check(txn, &back.spec)?;
        txn.put_service(back)?;
        return Ok(());
    }
    let mut spec = request.spec;
    keep_auth(&service, &mut spec, request.auth_from)?;
    references::resolve_networks(txn, &mut spec)?;
    validate::service(&spec)?;
    if spec.endpoint != service.spec.endpoint {
        references::check_ports(txn, &spec, Some(id))?;
    }
    check_change(&service.spec, &spec)?;
    references::check(txn, &spec)?;
    in_sequence(&service.meta, version)?;
    if let Some(revised) = revised(&service, spec, now) {
        txn.put_service(revised)?;
    }
    Ok(())
}

/// The service with the previous wish, or with one that is kept.
fn rolled_back(
    service: &Service,
    revision: Option<u64>,
    now: shoal_model::Timestamp,
) -> Result<Service> {
    const MESSAGE: &str = "manually requested rollback";
    let id = service.id;
    match revision {
        None => update::roll_back(service, MESSAGE, now).map_err(|_| {
            Error::precondition(format!("service {id} does not have a previous spec"))
        }),
        Some(number) if number == service.revisions.present => Err(Error::precondition(format!(
            "revision {number} of service {id} is the present one"
        ))),
        Some(number) => update::roll_back_to(service, number, MESSAGE, now).ok_or_else(|| {
            let kept = service.revisions.earlier.iter().map(|one| one.number.to_string());
            let kept = kept.collect::<Vec<_>>().join(", ");
            let kept = if kept.is_empty() { "none".to_owned() } else { kept };
            Error::invalid(format!("service {id} does not keep revision {number}: it keeps {kept}"))
        }),
    }
}

/// Removes a service: at once when it has no tasks, else as soon as the orchestrator has stopped them. Its name
/// and what it uses are free from now on.
///
/// # Errors
/// When there is none.
pub fn remove(txn: &mut Txn, reference: &str) -> Result<()> {
    let service = Arc::clone(find::service(txn, reference)?);
    if txn.tasks_of_service(service.id).next().is_none() {
        txn.remove_service(service.id)?;
    } else {
        txn.put_service(Service { removing: true, ..Service::clone(&service) })?;
    }
    Ok(())
}

/// What may never change.
fn check_change(old: &ServiceSpec, new: &ServiceSpec) -> Result<()> {
    let networks_only = old.networks != new.networks && old.task.networks == new.task.networks;
    if networks_only {
        return Err(Error::unimplemented(
            "networks must be migrated to TaskSpec before being changed",
        ));
    }
    if discriminant(&old.mode) != discriminant(&new.mode) {
        return Err(Error::unimplemented("service mode change is not allowed"));
    }
    if old.annotations.name != new.annotations.name {
        return Err(Error::unimplemented("renaming services is not supported"));
    }
    Ok(())
}

/// Credentials for the registry that the request does not bring are those of before.
fn keep_auth(service: &Service, spec: &mut ServiceSpec, from: Option<AuthFrom>) -> Result<()> {
    let kept = match from {
        None => return Ok(()),
        Some(AuthFrom::Spec) => &service.spec.task.registry_auth,
        Some(AuthFrom::PreviousSpec) => match &service.previous {
            Some(previous) => &previous.spec.task.registry_auth,
            None => {
                let text = "service does not have a previous spec".to_owned();
                let kind = shoal_model::ErrorKind::InvalidArgument;
                return Err(Error::Plain { kind, text });
            }
        },
    };
    if spec.task.registry_auth != *kept {
        with_auth(spec, kept.clone());
    }
    Ok(())
}

fn with_auth(spec: &mut ServiceSpec, registry_auth: String) {
    spec.task = Arc::new(TaskSpec { registry_auth, ..TaskSpec::clone(&spec.task) });
}

/// The service with the new spec; `None`: nothing changes. Other credentials alone are stored, so that tasks
/// to come have them, but are no change that a rollback would take back.
fn revised(service: &Service, spec: ServiceSpec, now: shoal_model::Timestamp) -> Option<Service> {
    let auth = &service.spec.task.registry_auth;
    if spec.task.registry_auth != *auth {
        let mut with_old_auth = spec.clone();
        with_auth(&mut with_old_auth, auth.clone());
        if with_old_auth == service.spec {
            return Some(Service { spec, ..service.clone() });
        }
    }
    update::revise(service, spec, now)
}

//! Changing limits and restart policy.

use std::sync::Arc;

use shoal_model::container::{Resources, RestartPolicy, UpdateRequest};
use shoal_shim_protocol::message::Request;

use super::lifecycle::Verb;
use super::owner::Owner;
use super::{Container, permit};
use crate::error::Error;
use crate::prepare;

/// Updates a container.
///
/// # Errors
/// When a value is malformed, or the kernel refuses it. Nothing is changed then.
pub(crate) async fn update(
    container: &Arc<Container>,
    request: UpdateRequest,
) -> Result<Vec<String>, Error> {
    container.ask(move |owner| Box::pin(owner.update(request))).await?
}

impl Owner {
    async fn update(&mut self, request: UpdateRequest) -> Result<Vec<String>, Error> {
        let before = self.view();
        permit(&before, Verb::Update)?;
        let mut spec = before.record.spec.clone();
        merge(&mut spec.host.resources, &request.resources);
        check(&spec.host.resources, before.name())?;
        if let Some(policy) = request.restart_policy {
            if spec.host.auto_remove && policy != RestartPolicy::No {
                return Err(Error::Conflict {
                    container: before.name().to_owned(),
                    reason: "Restart policy cannot be updated because AutoRemove is enabled for the container".to_owned(),
                });
            }
            spec.host.restart_policy = policy;
        }
        let changed = spec.host.resources != before.record.spec.host.resources;
        if let Some(client) = self.client().filter(|_| changed) {
            let resources = prepare::limits(&spec.host, before.name())?;
            let request = Request::Update { resources: Box::new(resources) };
            client.command(&request).await.map_err(self.shim_error())?;
        }
        self.save(|record| record.spec = spec).await?;
        self.publish("update", &[]);
        Ok(Vec::new())
    }
}

/// Takes what is given: zero, empty and `None` keep the present value. Pure.
fn merge(present: &mut Resources, wanted: &Resources) {
    macro_rules! take {
        ($($field:ident: $unset:expr),+ $(,)?) => {
            $(if wanted.$field != $unset {
                present.$field = wanted.$field.clone();
            })+
        };
    }
    // CPUs are either a number of nanoseconds or a quota.
    if wanted.nano_cpus != 0 {
        (present.cpu_period, present.cpu_quota) = (0, 0);
    }
    if wanted.cpu_quota != 0 || wanted.cpu_period != 0 {
        present.nano_cpus = 0;
    }
    take! {
        cpu_shares: 0, memory: 0, blkio_weight: 0, cpu_period: 0, cpu_quota: 0, cpu_rt_period: 0,
        cpu_rt_runtime: 0, nano_cpus: 0, cpuset_cpus: "", cpuset_mems: "", memory_reservation: 0,
        memory_swap: 0, memory_swappiness: None, oom_kill_disable: None, pids_limit: None,
        kernel_memory_tcp: 0,
    }
    let lists = [
        (&mut present.blkio_weight_device, &wanted.blkio_weight_device),
        (&mut present.blkio_read_bps, &wanted.blkio_read_bps),
        (&mut present.blkio_write_bps, &wanted.blkio_write_bps),
        (&mut present.blkio_read_iops, &wanted.blkio_read_iops),
        (&mut present.blkio_write_iops, &wanted.blkio_write_iops),
    ];
    for (present, wanted) in lists {
        if !wanted.is_empty() {
            present.clone_from(wanted);
        }
    }
}

/// Source: moby `container/container_unix.go UpdateContainer`.
fn check(resources: &Resources, name: &str) -> Result<(), Error> {
    if resources.memory > 0 && resources.memory_swap > 0 && resources.memory_swap < resources.memory
    {
        return Err(Error::Conflict {
            container: name.to_owned(),
            reason: "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time".to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unset_fields_keep_and_cpus_exclude_each_other() {
        let mut present = Resources {
            memory: 100,
            cpu_quota: 5,
            cpu_period: 10,
            cpuset_cpus: "0".to_owned(),
            ..Resources::default()
        };
        let wanted = Resources { nano_cpus: 7, pids_limit: Some(9), ..Resources::default() };
        merge(&mut present, &wanted);
        let expected = Resources {
            memory: 100,
            nano_cpus: 7,
            cpuset_cpus: "0".to_owned(),
            pids_limit: Some(9),
            ..Resources::default()
        };
        assert_eq!(present, expected);
        merge(&mut present, &Resources { cpu_quota: 3, ..Resources::default() });
        assert_eq!((present.nano_cpus, present.cpu_quota), (0, 3));
    }
}

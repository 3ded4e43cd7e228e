//! What a container uses and which processes it has.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream};
use futures_util::{FutureExt, StreamExt};
use shoal_model::container::{
    BlkioEntry, BlkioStats, CpuStats, InterfaceStats, MemoryStats, NetworkMode, PidsStats,
    StatsSample, TopResult, WaitCondition,
};
use shoal_model::{Failure, Timestamp};

use crate::container::lifecycle::Verb;
use crate::container::{Container, pause, wait};
use crate::core::Core;
use crate::error::Error;
use crate::{stats, top};

/// Between two samples.
const PERIOD: Duration = Duration::from_secs(1);

/// The processes of a container, as `ps` shows them.
///
/// # Errors
/// When it does not run, or `ps` refuses the arguments.
pub(crate) async fn list_processes(
    core: &Core,
    container: &Arc<Container>,
    arguments: &[String],
) -> Result<TopResult, Error> {
    container.permit(Verb::Top)?;
    let pids = pause::pids(container).await?;
    let pids: Vec<i32> = pids.into_iter().filter_map(|pid| i32::try_from(pid).ok()).collect();
    let arguments = arguments.join(" ");
    let listed =
        shoal_base::blocking::run("list processes", move || top::list(&pids, &arguments)).await?;
    let table = listed.map_err(Error::part("list the processes of", container.view().name()))?;
    let attributes = crate::container::attributes(&container.view.borrow(), &[]);
    core.publish(&container.id, "top", attributes);
    Ok(TopResult { titles: table.titles, processes: table.processes })
}

/// One sample at once, then one each second until the container is removed.
pub(crate) fn follow(
    core: &Arc<Core>,
    container: &Arc<Container>,
) -> BoxStream<'static, Result<StatsSample, Failure>> {
    let removed = wait::register(container.view.subscribe(), WaitCondition::Removed);
    let state = (Arc::clone(core), Arc::clone(container), true);
    stream::unfold(state, |(core, container, first)| async move {
        if !first {
            core.clock.sleep(PERIOD).await;
        }
        let sample = sample(&core, &container).await.map_err(Failure::from);
        Some((sample, (core, container, false)))
    })
    .take_until(removed.map(|_| ()))
    .boxed()
}

/// What a container uses now; an empty sample when it does not run.
async fn sample(core: &Core, container: &Container) -> Result<StatsSample, Error> {
    let view = container.view();
    let pid = view.state.pid;
    if !view.state.phase.is_live() || pid == 0 {
        return Ok(StatsSample::default());
    }
    let own_network = view.record.spec.host.network_mode != NetworkMode::Host;
    let now = core.clock.now();
    let read = shoal_base::blocking::run("read what a container uses", move || {
        let cgroups = stats::Cgroups::of_process(pid)?;
        stats::sample(&cgroups, own_network.then_some(pid), now)
    })
    .await?;
    match read {
        Ok(read) => Ok(from_reading(read, core.host.cgroup, now)),
        // It ended in this moment.
        Err(_) if !container.view.borrow().state.phase.is_live() => Ok(StatsSample::default()),
        Err(error) => Err(Error::part("measure", view.name())(error)),
    }
}

fn from_reading(
    read: stats::Sample,
    version: crate::runtime_spec::facts::CgroupVersion,
    at: Timestamp,
) -> StatsSample {
    let unified = version == crate::runtime_spec::facts::CgroupVersion::V2;
    let nanos = Duration::from_nanos;
    let entries = |list: Vec<stats::BlockIoEntry>| -> Vec<BlkioEntry> {
        list.into_iter()
            .map(|entry| BlkioEntry {
                major: entry.major,
                minor: entry.minor,
                operation: entry.operation,
                value: entry.value,
            })
            .collect()
    };
    let interfaces = read.networks.into_iter().map(|(name, network)| {
        let counters = InterfaceStats {
            rx_bytes: network.rx_bytes,
            rx_packets: network.rx_packets,
            rx_errors: network.rx_errors,
            rx_dropped: network.rx_dropped,
            tx_bytes: network.tx_bytes,
            tx_packets: network.tx_packets,
            tx_errors: network.tx_errors,
            tx_dropped: network.tx_dropped,
        };
        (name, counters)
    });
    StatsSample {
        at: Some(at),
        cpu: CpuStats {
            total: nanos(read.cpu.total),
            user: nanos(read.cpu.user),
            kernel: nanos(read.cpu.kernel),
            per_cpu: read.cpu.per_cpu.into_iter().map(nanos).collect(),
            system: nanos(read.cpu.system),
            online_cpus: read.cpu.online_cpus,
            periods: read.cpu.periods,
            throttled_periods: read.cpu.throttled_periods,
            throttled: nanos(read.cpu.throttled_time),
        },
        memory: MemoryStats {
            usage: read.memory.usage,
            max_usage: Some(read.memory.max_usage).filter(|max| *max > 0),
            limit: read.memory.limit,
            fail_count: (!unified).then_some(read.memory.failures),
            details: read.memory.stats,
            unified,
        },
        pids: PidsStats { current: read.pids.current, limit: read.pids.limit.unwrap_or(0) },
        blkio: BlkioStats {
            service_bytes: entries(read.block_io.bytes),
            serviced: entries(read.block_io.operations),
        },
        networks: interfaces.collect(),
    }
}

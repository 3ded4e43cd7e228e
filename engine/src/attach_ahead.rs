//! Makes the next attach to a cgroup v1 quick.
//!
//! The kernel lets a process change its cgroup only behind a lock whose first taker waits for an RCU grace
//! period, some ten milliseconds; for about as long afterwards the lock is cheap. So when a start is likely,
//! the daemon takes that lock ahead, beside the work that comes before the shim's attach: it moves itself to
//! the cgroup that it is in, which changes nothing.
//!
//! On v2 a process is born in its cgroup and there is nothing to wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shoal_base::tasks::TaskKind;

use crate::core::Core;
use crate::runtime_spec::facts::CgroupVersion;
use crate::stats;

/// How long after one attach another one is quick for sure.
const WARM: Duration = Duration::from_millis(5);

/// Whether and when the lock was taken last.
#[derive(Debug, Default)]
pub(crate) struct AttachAhead {
    running: AtomicBool,
    /// Nanoseconds on the monotonic clock.
    done_ns: AtomicU64,
}

impl AttachAhead {
    /// Whether the caller is to take the lock now.
    fn claim(&self, now: Duration) -> bool {
        let done = Duration::from_nanos(self.done_ns.load(Ordering::Relaxed));
        now.saturating_sub(done) >= WARM && !self.running.swap(true, Ordering::Relaxed)
    }

    fn finish(&self, now: Duration) {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.done_ns.store(nanos, Ordering::Relaxed);
        self.running.store(false, Ordering::Relaxed);
    }
}

/// An attach is likely within the next milliseconds. Returns at once.
pub(crate) fn expect(core: &Arc<Core>) {
    if core.host.cgroup != CgroupVersion::V1 || !core.attach_ahead.claim(core.clock.monotonic()) {
        return;
    }
    let core = Arc::clone(core);
    core.tasks.clone().spawn(TaskKind::Pool, async move {
        let moved = shoal_base::blocking::run("attach ahead", stay_in_place).await;
        core.attach_ahead.finish(core.clock.monotonic());
        match moved {
            Ok(Ok(())) => {}
            // The next start is slower by some milliseconds: nothing else depends on it.
            Ok(Err(error)) => tracing::debug!(%error, "no attach ahead"),
            Err(error) => tracing::debug!(%error, "no attach ahead"),
        }
    });
}

/// Moves this process to the cgroup that it is in.
fn stay_in_place() -> std::io::Result<()> {
    let own = i32::try_from(std::process::id()).map_err(std::io::Error::other)?;
    let cgroups = stats::Cgroups::of_process(own).map_err(std::io::Error::other)?;
    std::fs::write(cgroups.any_directory().join("cgroup.procs"), own.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_not_again_while_it_is_warm() {
        let ahead = AttachAhead::default();
        let at = Duration::from_millis;
        assert!(ahead.claim(at(1000)));
        assert!(!ahead.claim(at(1001)), "it is under way");
        ahead.finish(at(1010));
        assert!(!ahead.claim(at(1014)), "still warm");
        assert!(ahead.claim(at(1015)));
    }
}

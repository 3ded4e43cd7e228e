//! Notices that virtual time stands still, or that a run comes to no end: something goes on for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// How often is looked.
const LOOK: Duration = Duration::from_secs(2);
/// Processor time, in seconds, that a virtual second takes at most; it usually takes some hundredths.
const SECONDS_MAX: i64 = 60;
/// Processor time, in seconds, that a run takes at most: a hundred times what is usual.
const RUN_SECONDS_MAX: i64 = 600;

/// Looks at a run from another thread until it is dropped.
#[derive(Debug)]
pub struct Watch {
    _over: SyncSender<()>,
}

impl Watch {
    /// Ends the program when `passed`, which grows with virtual time, stands still, or the run takes too long.
    pub fn begin(seed: u64, passed: Arc<AtomicU64>) -> Self {
        let (sender, over) = sync_channel(1);
        std::thread::spawn(move || look(seed, &passed, &over));
        Self { _over: sender }
    }
}

#[expect(clippy::print_stdout, clippy::exit, reason = "nothing else ends such a run")]
fn look(seed: u64, passed: &AtomicU64, over: &Receiver<()>) {
    let used = || clock_gettime(ClockId::ProcessCPUTime).tv_sec;
    let begun = used();
    let (mut last, mut since) = (0, begun);
    while over.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let (now, used) = (passed.load(Ordering::Relaxed), used());
        if used - begun > RUN_SECONDS_MAX {
            println!("seed {seed}: BROKEN goes on and on, at {now} s");
            std::process::exit(3);
        }
        if now != last {
            (last, since) = (now, used);
        } else if used - since > SECONDS_MAX {
            println!("seed {seed}: BROKEN time stands still at {now} s");
            std::process::exit(3);
        }
    }
}

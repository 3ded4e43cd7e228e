//! What happened, in order: a digest of all of it, and the last of it as text.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines that are kept where not all are printed.
const KEPT: usize = 80;

/// The trace of a run. Clones are the same.
#[derive(Debug, Clone)]
pub struct Trace {
    begin: Instant,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    digest: u64,
    lines: u64,
    last: VecDeque<String>,
    print: bool,
}

impl Trace {
    /// An empty one. Printed ones write each line as it comes.
    pub fn new(print: bool) -> Self {
        let shared = Shared { digest: 0xcbf2_9ce4_8422_2325, print, ..Shared::default() };
        Self { begin: Instant::now(), shared: Arc::new(Mutex::new(shared)) }
    }

    /// Adds a line.
    #[expect(clippy::print_stdout, reason = "asked for")]
    pub fn add(&self, what: fmt::Arguments<'_>) {
        let at = self.now();
        let line = format!("{:>9.3} {what}", at.as_secs_f64());
        let mut shared = self.shared();
        for byte in line.bytes() {
            shared.digest = (shared.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        shared.lines += 1;
        if shared.print {
            println!("{line}");
        }
        if shared.last.len() == KEPT {
            shared.last.pop_front();
        }
        shared.last.push_back(line);
    }

    /// Virtual time since the beginning.
    pub fn now(&self) -> Duration {
        self.begin.elapsed()
    }

    /// Of all lines.
    pub fn digest(&self) -> u64 {
        self.shared().digest
    }

    /// How many lines there were.
    pub fn lines(&self) -> u64 {
        self.shared().lines
    }

    /// The last lines.
    pub fn last(&self) -> Vec<String> {
        self.shared().last.iter().cloned().collect()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds a line to a [`Trace`].
#[macro_export]
macro_rules! note {
    ($trace:expr, $($what:tt)*) => { $trace.add(format_args!($($what)*)) };
}

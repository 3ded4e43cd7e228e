//! Leases: what an operation in flight uses is never swept.
//!
//! In memory only: operations do not outlive the daemon. One map serves blobs (by digest) and layers (by
//! diff id); a digest names the same bytes in both.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_model::Digest;

/// The registry of all leases of one data root.
#[derive(Debug, Clone, Default)]
pub struct Leases(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    counts: HashMap<Digest, usize>,
    /// While a sweep runs: all that was held at any moment since it began, because a digest may move
    /// from a lease into an image record after the sweep has read the records.
    sweeps: HashMap<u64, HashSet<Digest>>,
    next_sweep: u64,
}

impl Leases {
    /// A new lease that holds nothing yet.
    pub fn lease(&self) -> Lease {
        Lease { leases: self.clone(), mine: Mutex::default() }
    }

    /// Begins a sweep. Compute what must stay *after* this call.
    pub fn begin_sweep(&self) -> Sweep {
        let mut held = self.lock();
        let number = held.next_sweep;
        held.next_sweep += 1;
        let now = held.counts.keys().copied().collect();
        held.sweeps.insert(number, now);
        Sweep { leases: self.clone(), number }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps blobs and layers from being swept until it is dropped.
#[derive(Debug)]
pub struct Lease {
    leases: Leases,
    mine: Mutex<HashSet<Digest>>,
}

impl Lease {
    /// Holds `digest`, whether or not it is stored yet. Look for it only after this.
    pub fn hold(&self, digest: Digest) {
        if !self.lock().insert(digest) {
            return;
        }
        let mut held = self.leases.lock();
        *held.counts.entry(digest).or_default() += 1;
        for sweep in held.sweeps.values_mut() {
            sweep.insert(digest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mine = std::mem::take(&mut *self.lock());
        let mut held = self.leases.lock();
        for digest in mine {
            let count = held.counts.get_mut(&digest).expect("what a lease holds is counted");
            *count -= 1;
            if *count == 0 {
                held.counts.remove(&digest);
            }
        }
    }
}

/// One pass that removes what nobody refers to.
#[derive(Debug)]
pub struct Sweep {
    leases: Leases,
    number: u64,
}

impl Sweep {
    /// Runs `remove` unless `digest` is, or was since the sweep began, held. No lease can take hold of it
    /// meanwhile. Returns whether it ran.
    ///
    /// # Errors
    /// Those of `remove`.
    pub fn remove_unheld(
        &self,
        digest: Digest,
        remove: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<bool> {
        let held = self.leases.lock();
        if held.sweeps.get(&self.number).is_some_and(|since| since.contains(&digest)) {
            return Ok(false);
        }
        remove().map(|()| true)
    }
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.leases.lock().sweeps.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        Digest::from_sha256([byte; 32])
    }

    fn swept(sweep: &Sweep, byte: u8) -> bool {
        sweep.remove_unheld(digest(byte), || Ok(())).unwrap()
    }

    #[test]
    fn a_sweep_spares_what_was_held_at_any_moment_since_it_began() {
        let leases = Leases::default();
        let before = leases.lease();
        before.hold(digest(1));
        let sweep = leases.begin_sweep();
        drop(before);
        let during = leases.lease();
        during.hold(digest(2));
        drop(during);
        assert_eq!([swept(&sweep, 1), swept(&sweep, 2), swept(&sweep, 3)], [false, false, true]);
        drop(sweep);
        let next = leases.begin_sweep();
        assert_eq!([swept(&next, 1), swept(&next, 2)], [true, true]);
    }

    #[test]
    fn two_leases_on_one_digest_count() {
        let leases = Leases::default();
        let (one, two) = (leases.lease(), leases.lease());
        one.hold(digest(1));
        one.hold(digest(1));
        two.hold(digest(1));
        drop(one);
        assert!(!swept(&leases.begin_sweep(), 1));
        drop(two);
        assert!(swept(&leases.begin_sweep(), 1));
    }
}

//! The histogram with which openraft counts batches and latencies, without tables.
//!
//! The published crate of this name makes tables for all 16 resolutions that it knows, 26 MB, when the first
//! histogram of the only one that openraft uses is made. Here the bounds of a bucket are computed when they are
//! asked for. Only what openraft asks for is here; the figures are those of the published crate
//! (`tests/agreement.rs`). More of its API, asked for by a later openraft, is a build that fails.
//!
//! Source: ADR 14.

mod bucket;
mod chart;
mod density;
mod percentiles;

pub use chart::AsciiChart;
pub use percentiles::PercentileStats;

use std::marker::PhantomData;

use bucket::Bucket;
use density::Density;

/// How often values occurred, by buckets whose width grows with the value: eight exact ones, then four for each power
/// of two.
///
/// `T` is what the published crate keeps with each period of a sliding window; there is one period here, and
/// nothing is kept with it.
pub struct Histogram<T = ()> {
    /// Up to the last bucket that is not empty.
    counts: Vec<u64>,
    total: u64,
    period: PhantomData<fn() -> T>,
}

impl<T> Histogram<T> {
    /// Without values.
    pub fn new() -> Self {
        Self { counts: Vec::new(), total: 0, period: PhantomData }
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts a value several times.
    pub fn record_n(&mut self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        let Bucket(index) = Bucket::of(value);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] += times;
        self.total += times;
    }

    /// Values that were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The value below which a share of the values are, `share` in `0.0..=1.0`; zero when there are none.
    pub fn percentile(&self, share: f64) -> u64 {
        self.percentiles([share])[0]
    }

    /// The usual ones.
    pub fn percentile_stats(&self) -> PercentileStats {
        let shares = [0.001, 0.01, 0.05, 0.10, 0.50, 0.90, 0.99, 0.999];
        let [p0_1, p1, p5, p10, p50, p90, p99, p99_9] = self.percentiles(shares);
        PercentileStats { samples: self.total, p0_1, p1, p5, p10, p50, p90, p99, p99_9 }
    }

    /// `shares` in ascending order.
    fn percentiles<const N: usize>(&self, shares: [f64; N]) -> [u64; N] {
        let mut counts = self.counts.iter().enumerate().peekable();
        let mut before = 0;
        shares.map(|share| {
            let rank = rank(self.total, share);
            // Buckets that end before the rank are passed for good.
            while counts.next_if(|(_, count)| before + **count < rank).is_some_and(|(_, count)| {
                before += count;
                true
            }) {}
            let found = counts.peek().map(|(index, _)| Bucket(*index));
            found.map_or(0, |bucket| Density::around(self, bucket).value_at(rank - before))
        })
    }

    /// How often values of a bucket occurred.
    fn count(&self, bucket: Bucket) -> u64 {
        self.counts.get(bucket.0).copied().unwrap_or_default()
    }
}

/// The place, from one, of the value that ends a share.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of the total, rounded up"
)]
fn rank(total: u64, share: f64) -> u64 {
    ((total as f64 * share).ceil() as u64).max(1)
}

impl<T> Default for Histogram<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Histogram<T> {
    fn clone(&self) -> Self {
        Self { counts: self.counts.clone(), total: self.total, period: PhantomData }
    }
}

impl<T> PartialEq for Histogram<T> {
    fn eq(&self, other: &Self) -> bool {
        self.counts == other.counts
    }
}

impl<T> Eq for Histogram<T> {}

impl<T> std::fmt::Debug for Histogram<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let counts = counts.map(|(index, count)| (Bucket(index).first(), count));
        f.debug_map().entries(counts).finish()
    }
}

#[cfg(test)]
mod tests;

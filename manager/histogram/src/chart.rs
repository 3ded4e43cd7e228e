//! Histograms beside each other, as text.

use std::fmt;

use crate::Histogram;
use crate::bucket::Bucket;

/// Longest bar.
const BAR_WIDTH: f64 = 40.0;
/// One for each series, again from the first when there are more.
const BARS: [char; 8] = ['█', '▒', '░', '▓', '▞', '▚', '▖', '▘'];

/// Named histograms, shown bucket by bucket with their percentiles.
#[derive(Debug, Clone)]
pub struct AsciiChart<T = ()> {
    series: Vec<(String, Histogram<T>)>,
}

impl<T> Default for AsciiChart<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> AsciiChart<T> {
    /// Shows nothing.
    pub fn new() -> Self {
        Self { series: Vec::new() }
    }

    /// Shows one more.
    #[must_use]
    #[allow(clippy::should_implement_trait, reason = "the name is that of the published crate")]
    pub fn add(mut self, name: &str, histogram: Histogram<T>) -> Self {
        self.series.push((name.to_owned(), histogram));
        self
    }

    /// What displays it.
    pub fn detailed(&self) -> impl fmt::Display {
        self
    }

    fn counts(&self, bucket: Bucket) -> impl Iterator<Item = u64> {
        self.series.iter().map(move |(_, histogram)| histogram.count(bucket))
    }

    fn bars(&self) -> impl Iterator<Item = (char, &(String, Histogram<T>))> {
        BARS.into_iter().cycle().zip(&self.series)
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, bucket: Bucket, highest: u64) -> fmt::Result {
        for (bar, (_, histogram)) in self.bars() {
            let count = histogram.count(bucket);
            if count > 0 {
                let length = (count as f64 / highest as f64 * BAR_WIDTH).round().max(1.0);
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "at most the width of a bar"
                )]
                (0..length as usize).try_for_each(|_| write!(f, "{bar}"))?;
            }
        }
        for (number, count) in self.counts(bucket).enumerate() {
            let sign = if number == 0 { "  " } else { " + " };
            write!(f, "{sign}{count}")?;
        }
        writeln!(f)
    }
}

impl<T> fmt::Display for AsciiChart<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let buckets = (0..=Bucket::LAST.0).map(Bucket);
        let buckets: Vec<_> =
            buckets.filter(|bucket| self.counts(*bucket).any(|count| count > 0)).collect();
        let highest = buckets.iter().map(|bucket| self.counts(*bucket).sum::<u64>()).max();
        let (Some(highest), Some(last)) = (highest, buckets.last()) else { return Ok(()) };
        let (left, right) = (digits(last.first()), digits(last.end()));
        write!(f, "{:>width$} |", "range", width = left + right + 4)?;
        for (bar, (name, _)) in self.bars() {
            write!(f, " {bar} {name}")?;
        }
        writeln!(f)?;
        for bucket in buckets {
            let close = if bucket == Bucket::LAST { ']' } else { ')' };
            write!(f, "[{:>left$}, {:>right$}{close} | ", bucket.first(), bucket.end())?;
            self.row(f, bucket, highest)?;
        }
        let width = self.series.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        for (number, (bar, (name, histogram))) in self.bars().enumerate() {
            let stats = histogram.percentile_stats();
            let break_before = if number == 0 { "" } else { "\n" };
            write!(f, "{break_before}{bar} {name:>width$}  total: {}", stats.samples)?;
            write!(f, "  P50: {}  P90: {}  P99: {}", stats.p50, stats.p90, stats.p99)?;
        }
        Ok(())
    }
}

fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |power| power as usize + 1)
}

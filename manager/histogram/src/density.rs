//! Where in its bucket a value is: the density of values is taken to be linear there.

use crate::Histogram;
use crate::bucket::Bucket;

/// Differences of density that are none, relative to the density.
const LEVEL: f64 = 1e-9;

/// The density of values within one bucket: `mean + slope · (x - width / 2)`.
pub(crate) struct Density {
    bucket: Bucket,
    count: u64,
    mean: f64,
    slope: f64,
}

impl Density {
    /// From what is counted in a bucket and its neighbours.
    pub(crate) fn around<T>(histogram: &Histogram<T>, bucket: Bucket) -> Self {
        let mean = |bucket| histogram.count(bucket) as f64 / bucket_width(bucket);
        let (left, right) = bucket.neighbours();
        let distance = right.middle() as f64 - left.middle() as f64;
        // No place of the bucket has less than none.
        let steepest = mean(bucket) / (bucket_width(bucket) / 2.0);
        let slope = ((mean(right) - mean(left)) / distance).clamp(-steepest, steepest);
        Self { bucket, count: histogram.count(bucket), mean: mean(bucket), slope }
    }

    /// The value that has `rank - 1` others of its bucket before it.
    pub(crate) fn value_at(&self, rank: u64) -> u64 {
        if self.count <= 1 || self.bucket.width() == 1 {
            return self.bucket.middle();
        }
        let (width, rank) = (bucket_width(self.bucket), rank as f64);
        let at_first = self.mean - self.slope * width / 2.0;
        let square = at_first * at_first + 2.0 * self.slope * rank;
        let is_level = (self.slope * width).abs() < self.mean * LEVEL;
        // The place up to which the density sums up to the rank.
        let place = if is_level || square < 0.0 {
            rank / self.mean
        } else {
            (square.sqrt() - at_first) / self.slope
        };
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between zero and the width"
        )]
        let place = place.clamp(0.0, width) as u64;
        self.bucket.first().saturating_add(place).min(self.bucket.end())
    }
}

fn bucket_width(bucket: Bucket) -> f64 {
    bucket.width() as f64
}

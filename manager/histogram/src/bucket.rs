//! Which values are counted together.

/// Buckets of one power of two; values below twice as many are exact.
const PER_POWER: usize = 4;
/// Its logarithm.
const POWER_BITS: usize = 2;
/// Buckets of all numbers of 64 bits.
const BUCKETS: usize = PER_POWER * (64 - POWER_BITS + 1);

/// A bucket, by its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bucket(pub(crate) usize);

impl Bucket {
    /// That of the largest number.
    pub(crate) const LAST: Self = Self(BUCKETS - 1);

    /// The bucket of a value: its highest bit and the [`POWER_BITS`] after it decide.
    pub(crate) fn of(value: u64) -> Self {
        let bits = (u64::BITS - value.leading_zeros()) as usize;
        let shift = bits.saturating_sub(POWER_BITS + 1);
        #[allow(clippy::cast_possible_truncation, reason = "three bits are left")]
        let leading = (value >> shift) as usize;
        Self(shift * PER_POWER + leading)
    }

    /// The smallest value.
    pub(crate) fn first(self) -> u64 {
        let shift = (self.0 / PER_POWER).saturating_sub(1);
        ((self.0 - shift * PER_POWER) as u64) << shift
    }

    /// What follows the largest value; of the last bucket, the largest number itself.
    pub(crate) fn end(self) -> u64 {
        if self == Self::LAST { u64::MAX } else { Self(self.0 + 1).first() }
    }

    /// How many values there are.
    pub(crate) fn width(self) -> u64 {
        let width = self.end() - self.first();
        if self == Self::LAST { width + 1 } else { width }
    }

    /// The value in the middle.
    pub(crate) fn middle(self) -> u64 {
        self.first() + (self.end() - self.first()) / 2
    }

    /// The buckets before and after it, itself in the place of one that there is not.
    pub(crate) fn neighbours(self) -> (Self, Self) {
        (Self(self.0.saturating_sub(1)), Self((self.0 + 1).min(Self::LAST.0)))
    }
}

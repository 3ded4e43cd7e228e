//! Random choices of a seed.

use std::time::Duration;

/// The same seed makes the same choices (splitmix64).
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// Begins with a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another sequence of choices, which depends on this one.
    pub fn fork(&mut self) -> Self {
        Self(self.number())
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below a limit; 0 when that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.number() % limit).unwrap_or_default()
    }

    /// A time, to the millisecond.
    pub fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let room = usize::try_from(most.saturating_sub(least).as_millis()).unwrap_or(usize::MAX);
        let more = u64::try_from(self.below(room)).unwrap_or_default();
        least + Duration::from_millis(more)
    }

    /// One of several; `None` of none.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).copied()
    }

    /// In another order.
    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_choices() {
        let mut chance = Chance::new(7);
        let mut all: Vec<usize> = (0..6).collect();
        chance.shuffle(&mut all);
        let choices = (all, chance.below(100), chance.one_of(&['a', 'b', 'c']));
        let mut again = Chance::new(7);
        let mut all: Vec<usize> = (0..6).collect();
        again.shuffle(&mut all);
        assert_eq!(choices, (all.clone(), again.below(100), again.one_of(&['a', 'b', 'c'])));
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3, 4, 5]);
        let (least, most) = (Duration::from_secs(1), Duration::from_secs(2));
        assert!((0..100).all(|_| (least..most).contains(&chance.between(least, most))));
        assert_eq!(chance.one_of::<u8>(&[]), None);
    }
}

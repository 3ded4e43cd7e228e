//! Durations as figures.

use std::time::Duration;

/// In milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Each in milliseconds.
pub fn milliseconds(runs: &[Duration]) -> Vec<f64> {
    runs.iter().copied().map(millis).collect()
}

/// Each in seconds.
pub fn seconds(runs: &[Duration]) -> Vec<f64> {
    runs.iter().map(Duration::as_secs_f64).collect()
}

/// Durations in order.
#[derive(Debug)]
pub struct Sorted(Vec<Duration>);

impl Sorted {
    /// Puts them in order.
    ///
    /// # Panics
    /// When there are none.
    pub fn new(mut durations: Vec<Duration>) -> Self {
        assert!(!durations.is_empty(), "nothing was measured");
        durations.sort_unstable();
        Self(durations)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The duration that so many of a thousand do not exceed, in milliseconds.
    pub fn permille(&self, permille: usize) -> f64 {
        millis(self.0[(self.0.len() * permille / 1000).min(self.0.len() - 1)])
    }

    /// In milliseconds.
    pub fn median(&self) -> f64 {
        self.permille(500)
    }

    /// In milliseconds.
    pub fn worst(&self) -> f64 {
        millis(self.0[self.0.len() - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_thousand_are_found() {
        let times = Sorted::new((1..=200).rev().map(Duration::from_millis).collect());
        assert_eq!((times.count(), times.median(), times.worst()), (200, 101.0, 200.0));
        assert_eq!(times.permille(990), 199.0);
        assert_eq!(times.permille(1000), 200.0);
        assert_eq!(milliseconds(&[Duration::from_secs(2)]), [2000.0]);
        assert_eq!(seconds(&[Duration::from_millis(250)]), [0.25]);
    }
}

//! When a certificate is renewed: at a random point between 50 and 80 % of its life, so that the nodes of a
//! cluster that joined together do not renew together.
//!
//! Pure. Source: swarmkit `ca/renewer.go` `calculateRandomExpiry`.

use std::time::Duration;

use shoal_base::random::Random;
use shoal_model::Timestamp;

/// Per mille of a life after which renewal may begin.
const EARLIEST: u64 = 500;
/// Per mille of a life after which renewal must have begun.
const LATEST: u64 = 800;
/// First wait after a failed renewal; doubles up to [`RETRY_MAX`].
pub const RETRY_MIN: Duration = Duration::from_secs(5);
/// Longest wait between attempts.
pub const RETRY_MAX: Duration = Duration::from_secs(300);

/// When to renew a certificate that is valid in this span.
pub fn at(not_before: Timestamp, not_after: Timestamp, random: &dyn Random) -> Timestamp {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    let life = not_after.since(not_before).as_nanos();
    // 2⁶⁴ steps across the window: multiply first, in 128 bits, where nothing is lost.
    let window = life * u128::from(LATEST - EARLIEST) / 1000;
    let step = (window * u128::from(u64::from_be_bytes(bytes))) >> 64;
    let offset = life * u128::from(EARLIEST) / 1000 + step;
    not_before.after(Duration::from_nanos(u64::try_from(offset).unwrap_or(u64::MAX)))
}

/// How long to wait before attempt number `failures` (one: the first repetition).
pub fn retry_after(failures: u32) -> Duration {
    let factor = 1u32 << failures.saturating_sub(1).min(16);
    RETRY_MIN.saturating_mul(factor).min(RETRY_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Constant;

    const HOUR: i64 = 3600;

    fn renewal(byte: u8) -> i64 {
        let from = Timestamp::from_parts(1_000 * HOUR, 0);
        let to = Timestamp::from_parts(1_100 * HOUR, 0);
        at(from, to, &Constant(byte)).nanos()
    }

    #[test]
    fn randomness_moves_it_from_half_to_four_fifths_of_the_life() {
        assert_eq!(renewal(0), 1_050 * HOUR * 1_000_000_000);
        assert_eq!(renewal(0x80) / 1_000_000_000, 1_065 * HOUR + 211);
        assert_eq!(renewal(255), 1_080 * HOUR * 1_000_000_000 - 1);
    }

    #[test]
    fn a_life_of_nothing_is_renewed_at_once() {
        let now = Timestamp::from_parts(5, 0);
        assert_eq!(at(now, Timestamp::from_parts(4, 0), &Constant(255)), now);
    }

    #[test]
    fn waits_double_up_to_five_minutes() {
        let seconds = (0..9).map(|failures| retry_after(failures).as_secs()).collect::<Vec<_>>();
        assert_eq!(seconds, [5, 5, 10, 20, 40, 80, 160, 300, 300]);
    }
}

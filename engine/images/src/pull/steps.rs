//! Which steps a client sees of a flight's stages. Pure.

use std::time::Duration;

use super::event::PullStep;
use super::flight::{Progress, Stage};

/// Least time between two byte counts of one layer.
pub(super) const PERIOD: Duration = Duration::from_millis(100);

/// What a client has seen of one layer.
#[derive(Debug, Default)]
pub(super) struct Seen {
    rank: u8,
    counted: Option<Duration>,
    withheld: bool,
}

impl Seen {
    /// Whether a count was left out that should show when its time has come and nothing else happens.
    pub(super) fn withholds(&self) -> bool {
        self.withheld
    }

    /// The steps to show at `now`, including those that were passed unseen.
    pub(super) fn steps(
        &mut self,
        progress: &Progress,
        total: u64,
        now: Duration,
    ) -> Vec<PullStep> {
        let stage = &progress.stage;
        let rank = rank(stage);
        let mut steps = Vec::new();
        if progress.fetched {
            let extracted = PullStep::Extracting { current: total, total };
            for (passed, step) in
                [(4, PullStep::VerifyingChecksum), (5, PullStep::DownloadComplete), (6, extracted)]
            {
                let unseen = self.rank < passed && passed <= rank;
                let shows_itself = passed == 6 && rank == 6;
                if unseen && !shows_itself && !failed(stage) {
                    steps.push(step);
                }
            }
        }
        // A count on entering a stage always shows, later ones at most every period.
        let due = rank != self.rank
            || self.counted.is_none_or(|counted| now.saturating_sub(counted) >= PERIOD);
        let counts = matches!(stage, Stage::Downloading { .. } | Stage::Extracting { .. });
        self.withheld = counts && !due;
        match stage {
            Stage::Waiting if self.rank < rank => steps.push(PullStep::Waiting),
            Stage::Downloading { current } if due => {
                self.counted = Some(now);
                steps.push(PullStep::Downloading { current: *current, total });
            }
            Stage::Extracting { current } if due => {
                self.counted = Some(now);
                steps.push(PullStep::Extracting { current: *current, total });
            }
            Stage::Retrying { after } => {
                let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
                steps.push(PullStep::Retrying { seconds });
            }
            Stage::Done(Ok(())) => steps.push(PullStep::PullComplete),
            _ => {}
        }
        self.rank = rank;
        steps
    }
}

fn rank(stage: &Stage) -> u8 {
    match stage {
        Stage::Queued => 0,
        Stage::Waiting => 1,
        Stage::Downloading { .. } => 2,
        Stage::Retrying { .. } => 3,
        Stage::Verifying => 4,
        Stage::Downloaded => 5,
        Stage::Extracting { .. } => 6,
        Stage::Done(_) => 7,
    }
}

fn failed(stage: &Stage) -> bool {
    matches!(stage, Stage::Done(Err(_)))
}

#[cfg(test)]
mod tests {
    use PullStep::*;

    use super::*;

    fn shown(stages: &[(u64, Stage)]) -> Vec<PullStep> {
        let mut seen = Seen::default();
        let mut fetched = false;
        let mut shown = Vec::new();
        for (ms, stage) in stages {
            fetched |= matches!(stage, Stage::Downloading { .. });
            let progress = Progress { stage: stage.clone(), fetched };
            shown.extend(seen.steps(&progress, 9, Duration::from_millis(*ms)));
        }
        shown
    }

    fn downloading(current: u64) -> Progress {
        Progress { stage: Stage::Downloading { current }, fetched: true }
    }

    #[test]
    fn counts_are_rare_and_no_milestone_is_lost() {
        let half = Duration::from_millis(500);
        assert_eq!(
            shown(&[
                (0, Stage::Queued),
                (0, Stage::Waiting),
                (10, Stage::Downloading { current: 1 }),
                (50, Stage::Downloading { current: 2 }),
                (110, Stage::Downloading { current: 3 }),
                (120, Stage::Retrying { after: half }),
                (700, Stage::Downloading { current: 4 }),
                (900, Stage::Extracting { current: 0 }),
                (901, Stage::Done(Ok(()))),
            ]),
            [
                Waiting,
                Downloading { current: 1, total: 9 },
                Downloading { current: 3, total: 9 },
                Retrying { seconds: 1 },
                Downloading { current: 4, total: 9 },
                VerifyingChecksum,
                DownloadComplete,
                Extracting { current: 0, total: 9 },
                PullComplete
            ]
        );
        let mut seen = Seen::default();
        seen.steps(&downloading(1), 9, Duration::ZERO);
        seen.steps(&downloading(2), 9, Duration::ZERO);
        assert!(seen.withholds());
        assert_eq!(seen.steps(&downloading(2), 9, PERIOD), [Downloading { current: 2, total: 9 }]);
        assert!(!seen.withholds());
        // Too fast to be seen.
        let fast = [(0, Stage::Downloading { current: 9 }), (1, Stage::Done(Ok(())))];
        assert_eq!(
            shown(&fast),
            [
                Downloading { current: 9, total: 9 },
                VerifyingChecksum,
                DownloadComplete,
                Extracting { current: 9, total: 9 },
                PullComplete
            ]
        );
        // Seen only at its end: the blob was there, it had to be unpacked.
        assert_eq!(shown(&[(0, Stage::Downloaded), (1, Stage::Done(Ok(())))]), [PullComplete]);
        let stopped = super::super::error::Error::Stopped {
            digest: shoal_model::Digest::from_sha256([0; 32]),
        };
        let failed = Stage::Done(Err(std::sync::Arc::new(stopped)));
        let started = (0, Stage::Downloading { current: 0 });
        assert_eq!(shown(&[started, (1, failed)]), [Downloading { current: 0, total: 9 }]);
    }
}

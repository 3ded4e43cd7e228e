//! What a seed came to, in one line that another process reads.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::faults::{Coverage, Kind};
use crate::run::Outcome;

/// What is to be said of a seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All held, and enough happened.
    Sound,
    /// All held, but too little happened to mean something.
    Thin,
    /// Something did not hold, or the run did not come to an end.
    Broken(String),
}

/// What a seed came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Virtual time.
    pub virtual_time: Duration,
    /// Processor time.
    pub processor_time: Duration,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Entries that were checked.
    pub steps: u64,
    /// Of the whole trace.
    pub digest: u64,
    /// How often each kind of fault happened.
    pub coverage: Coverage,
    /// What is to be said of it.
    pub verdict: Verdict,
}

impl Report {
    /// Of a run that came to its end.
    pub fn new(seed: u64, outcome: &Outcome, processor_time: Duration, may_be_thin: bool) -> Self {
        let verdict = match &outcome.broken {
            Some(broken) => Verdict::Broken(one_line(&broken.to_string())),
            None if outcome.is_thin() && !may_be_thin => Verdict::Thin,
            None => Verdict::Sound,
        };
        Self {
            seed,
            virtual_time: whole_milliseconds(outcome.virtual_time),
            processor_time: whole_milliseconds(processor_time),
            acknowledged: outcome.acknowledged,
            steps: outcome.steps,
            digest: outcome.digest,
            coverage: outcome.coverage.clone(),
            verdict,
        }
    }

    /// Of a run that came to no end.
    pub fn ended(seed: u64, why: &str) -> Self {
        Self {
            seed,
            virtual_time: Duration::ZERO,
            processor_time: Duration::ZERO,
            acknowledged: 0,
            steps: 0,
            digest: 0,
            coverage: Coverage::new(),
            verdict: Verdict::Broken(one_line(why)),
        }
    }
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join(" ")
}

fn whole_milliseconds(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, used) = (self.virtual_time.as_millis(), self.processor_time.as_millis());
        write!(f, "seed={} virtual_ms={whole} processor_ms={used}", self.seed)?;
        write!(f, " acknowledged={} steps={}", self.acknowledged, self.steps)?;
        write!(f, " digest={:016x} faults=", self.digest)?;
        for (index, (kind, count)) in self.coverage.iter().enumerate() {
            write!(f, "{}{kind}:{count}", if index == 0 { "" } else { "," })?;
        }
        match &self.verdict {
            Verdict::Sound => f.write_str(" sound"),
            Verdict::Thin => f.write_str(" thin"),
            Verdict::Broken(what) => write!(f, " broken {what}"),
        }
    }
}

/// A line is no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the line is no report of a seed")]
pub struct Malformed;

impl FromStr for Report {
    type Err = Malformed;

    fn from_str(line: &str) -> Result<Self, Malformed> {
        let mut rest = line;
        let mut value = |name: &str| {
            let (word, behind) = rest.split_once(' ').ok_or(Malformed)?;
            rest = behind;
            word.strip_prefix(name).and_then(|word| word.strip_prefix('=')).ok_or(Malformed)
        };
        let number = |text: &str| text.parse::<u64>().map_err(|_| Malformed);
        let seed = number(value("seed")?)?;
        let virtual_time = Duration::from_millis(number(value("virtual_ms")?)?);
        let processor_time = Duration::from_millis(number(value("processor_ms")?)?);
        let acknowledged = number(value("acknowledged")?)?;
        let steps = number(value("steps")?)?;
        let digest = u64::from_str_radix(value("digest")?, 16).map_err(|_| Malformed)?;
        let coverage = coverage(value("faults")?)?;
        let verdict = match rest {
            "sound" => Verdict::Sound,
            "thin" => Verdict::Thin,
            _ => Verdict::Broken(rest.strip_prefix("broken ").ok_or(Malformed)?.to_owned()),
        };
        Ok(Self {
            seed,
            virtual_time,
            processor_time,
            acknowledged,
            steps,
            digest,
            coverage,
            verdict,
        })
    }
}

fn coverage(text: &str) -> Result<Coverage, Malformed> {
    let one = |part: &str| {
        let (kind, count) = part.split_once(':').ok_or(Malformed)?;
        let kind = Kind::named(kind).ok_or(Malformed)?;
        Ok((kind, count.parse().map_err(|_| Malformed)?))
    };
    text.split(',').filter(|part| !part.is_empty()).map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> Report {
        Report {
            seed: 7,
            virtual_time: Duration::from_millis(183_500),
            processor_time: Duration::from_millis(900),
            acknowledged: 412,
            steps: 1_003,
            digest: 0xab,
            coverage: Coverage::from([(Kind::Loss, 3), (Kind::CrashAtWrite, 1)]),
            verdict,
        }
    }

    #[test]
    fn a_line_says_all_and_is_read_again() {
        let broken = report(Verdict::Broken("RAFT-1: managers 1 and 2 differ".to_owned()));
        assert_eq!(
            broken.to_string(),
            "seed=7 virtual_ms=183500 processor_ms=900 acknowledged=412 steps=1003 \
             digest=00000000000000ab faults=Loss:3,CrashAtWrite:1 broken RAFT-1: managers 1 and 2 differ"
        );
        let quiet = Report { coverage: Coverage::new(), verdict: Verdict::Thin, ..broken.clone() };
        for report in [broken, quiet, report(Verdict::Sound), Report::ended(9, "it\nhung")] {
            assert_eq!(report.to_string().parse(), Ok(report));
        }
    }

    #[test]
    fn other_lines_are_no_reports() {
        let sound = report(Verdict::Sound).to_string();
        for line in [
            "",
            "seed 7: BROKEN time stands still",
            &sound.replace("Loss", "Luck"),
            &sound.replace(" sound", " well"),
            &sound.replace("steps", "stops"),
        ] {
            assert_eq!(line.parse::<Report>(), Err(Malformed), "{line}");
        }
    }
}

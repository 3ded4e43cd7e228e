//! What was done, what came of it, and what must not have been: the report of a run.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::rules::Complaint;
use crate::command::monotonic;
use crate::oracle::Answer;

/// Something that must not have been, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Since the beginning of the run.
    pub at: Duration,
    /// What.
    pub complaint: Complaint,
}

/// How often something was answered how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Answers {
    /// In effect; a read that found something, too.
    pub acknowledged: u64,
    /// Not in effect.
    pub refused: u64,
    /// Nobody knows.
    pub lost: u64,
}

#[derive(Debug, Default)]
struct Entries {
    faults: BTreeMap<String, u64>,
    operations: BTreeMap<&'static str, Answers>,
    /// Answered and not answered.
    requests: BTreeMap<&'static str, (u64, u64)>,
    rests: Vec<Duration>,
    violations: Vec<Violation>,
}

/// The report while it is written, by many.
#[derive(Debug)]
pub struct Ledger {
    began: Duration,
    entries: Mutex<Entries>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { began: monotonic(), entries: Mutex::default() }
    }
}

impl Ledger {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since the beginning.
    pub fn now(&self) -> Duration {
        monotonic() - self.began
    }

    /// Says what happens now.
    pub fn say(&self, what: &str) {
        println!("{:>7.1} {what}", self.now().as_secs_f64());
    }

    /// A fault begins.
    pub fn fault(&self, kind: &str, where_: &str) {
        self.say(&format!("{kind} {where_}"));
        *self.entries().faults.entry(kind.to_owned()).or_default() += 1;
    }

    /// An operation of a client was answered.
    pub fn operation(&self, kind: &'static str, answer: Answer) {
        let mut entries = self.entries();
        let answers = entries.operations.entry(kind).or_default();
        *match answer {
            Answer::Done => &mut answers.acknowledged,
            Answer::Refused => &mut answers.refused,
            Answer::Lost => &mut answers.lost,
        } += 1;
    }

    /// Somebody asked a service.
    pub fn request(&self, way: &'static str, answered: bool) {
        let mut entries = self.entries();
        let counts = entries.requests.entry(way).or_default();
        *if answered { &mut counts.0 } else { &mut counts.1 } += 1;
    }

    /// The cluster came to rest, so long after the last fault.
    pub fn rest(&self, took: Duration) {
        self.say(&format!("at rest after {:.1} s", took.as_secs_f64()));
        self.entries().rests.push(took);
    }

    /// Something must not have been.
    pub fn violation(&self, complaint: Complaint) {
        self.say(&format!("VIOLATION {complaint}"));
        let at = self.now();
        self.entries().violations.push(Violation { at, complaint });
    }

    /// All of them.
    pub fn violations(&self) -> Vec<Violation> {
        self.entries().violations.clone()
    }

    /// Operations that were acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.entries().operations.values().map(|answers| answers.acknowledged).sum()
    }

    /// Faults so far.
    pub fn faults(&self) -> u64 {
        self.entries().faults.values().sum()
    }

    /// The report; `repeat` is the command that makes the same choices.
    pub fn table(&self, repeat: &str) -> String {
        self.entries().table(repeat)
    }
}

impl Entries {
    fn table(&self, repeat: &str) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        line(format!("{:<40} {:>12}", "fault", "times"));
        for (kind, times) in &self.faults {
            line(format!("{kind:<40} {times:>12}"));
        }
        line(format!("{:<40} {:>12}", "all", self.faults.values().sum::<u64>()));
        line(format!(
            "\n{:<40} {:>12} {:>12} {:>12}",
            "operation", "acknowledged", "refused", "lost"
        ));
        for (kind, answers) in &self.operations {
            let Answers { acknowledged, refused, lost } = answers;
            line(format!("{kind:<40} {acknowledged:>12} {refused:>12} {lost:>12}"));
        }
        line(format!("\n{:<40} {:>12} {:>12}", "requests", "answered", "not"));
        for (way, (answered, not)) in &self.requests {
            line(format!("{way:<40} {answered:>12} {not:>12}"));
        }
        let mut rests = self.rests.clone();
        rests.sort();
        if let (Some(median), Some(last)) = (rests.get(rests.len() / 2), rests.last()) {
            line(format!(
                "\ncame to rest {} times, all rules held: after {:.1} s (median), {:.1} s (longest)",
                rests.len(),
                median.as_secs_f64(),
                last.as_secs_f64()
            ));
        }
        line(format!("\nviolations: {}", self.violations.len()));
        for Violation { at, complaint } in &self.violations {
            line(format!("at {:.1} s: {complaint}", at.as_secs_f64()));
        }
        line(format!("the same choices again: {repeat}"));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_shows_all_that_was_written() {
        let ledger = Ledger::default();
        ledger.fault("kill -9 of the leader", "h2");
        ledger.fault("kill -9 of the leader", "h1");
        ledger.operation("create a secret", Answer::Done);
        ledger.operation("create a secret", Answer::Lost);
        ledger.operation("create a secret", Answer::Refused);
        ledger.request("mesh", true);
        ledger.request("mesh", false);
        ledger.request("mesh", true);
        ledger.rest(Duration::from_millis(2500));
        ledger.violation(Complaint::new("SLOT-1", "web.1 runs twice"));
        assert_eq!((ledger.faults(), ledger.acknowledged()), (2, 1));
        let mut entries = ledger.entries();
        entries.violations[0].at = Duration::from_secs(90);
        let expected = "\
fault                                           times
kill -9 of the leader                               2
all                                                 2

operation                                acknowledged      refused         lost
create a secret                                     1            1            1

requests                                     answered          not
mesh                                                2            1

came to rest 1 times, all rules held: after 2.5 s (median), 2.5 s (longest)

violations: 1
at 90.0 s: SLOT-1 web.1 runs twice
the same choices again: again
";
        assert_eq!(entries.table("again"), expected);
    }
}

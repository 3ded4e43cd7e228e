//! What many seeds came to, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::faults::{self, Kind};
use crate::report::{Report, Verdict};

/// All of it: how often each kind of fault happened and in how many seeds, the sums, and each seed that failed with the
/// command that repeats it.
pub fn of(reports: &BTreeMap<u64, Report>, repeat: impl Fn(u64) -> String) -> String {
    let mut text = String::from("fault              times    seeds\n");
    let mut all = 0;
    for kind in faults::ALL {
        let (times, seeds) = counts(reports, kind);
        all += times;
        // Strings grow.
        let _ = writeln!(text, "{:<15} {times:>8} {seeds:>8}", kind.to_string());
    }
    let sum = |value: fn(&Report) -> Duration| reports.values().map(value).sum::<Duration>();
    let (passed, used) = (sum(|it| it.virtual_time), sum(|it| it.processor_time));
    let ratio = passed.as_secs_f64() / used.as_secs_f64().max(0.001);
    let acknowledged: u64 = reports.values().map(|it| it.acknowledged).sum();
    let steps: u64 = reports.values().map(|it| it.steps).sum();
    let _ = writeln!(
        text,
        "{} seeds, {all} faults, {acknowledged} acknowledged operations, {steps} entries checked",
        reports.len()
    );
    let _ = writeln!(
        text,
        "{:.0} virtual minutes, {ratio:.0} in each minute of processor time",
        passed.as_secs_f64() / 60.0
    );
    let thin = reports.values().filter(|it| it.verdict == Verdict::Thin).map(|it| it.seed);
    let thin: Vec<_> = thin.collect();
    if !thin.is_empty() {
        let _ = writeln!(text, "too little happened in {}: {thin:?}", thin.len());
    }
    for report in reports.values() {
        if let Verdict::Broken(what) = &report.verdict {
            let _ = writeln!(text, "seed {} BROKEN {what}\n  {}", report.seed, repeat(report.seed));
        }
    }
    text
}

fn counts(reports: &BTreeMap<u64, Report>, kind: Kind) -> (u64, usize) {
    let of_kind = reports.values().filter_map(|report| report.coverage.get(&kind));
    (of_kind.clone().sum(), of_kind.count())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Coverage;

    #[test]
    fn the_table_names_every_kind_and_every_seed_that_failed() {
        let report = |seed, loss, verdict| Report {
            seed,
            virtual_time: Duration::from_secs(240),
            processor_time: Duration::from_secs(2),
            acknowledged: 300,
            steps: 50,
            digest: 1,
            coverage: Coverage::from([(Kind::Loss, loss), (Kind::FullDisk, 1)]),
            verdict,
        };
        let reports = BTreeMap::from([
            (1, report(1, 3, Verdict::Sound)),
            (2, report(2, 4, Verdict::Thin)),
            (3, Report::ended(3, "RAFT-1: lost")),
        ]);
        let expected = "\
fault              times    seeds
Loss                   7        2
Delay                  0        0
SlowNode               0        0
Partition              0        0
OneWay                 0        0
Resets                 0        0
KillManager            0        0
PowerCutManager        0        0
CrashAtWrite           0        0
PowerCutAll            0        0
KillWorker             0        0
PowerCutWorker         0        0
FullDisk               2        2
ClockJump              0        0
LeaderChurn            0        0
ContainerEnds          0        0
3 seeds, 9 faults, 600 acknowledged operations, 100 entries checked
8 virtual minutes, 120 in each minute of processor time
too little happened in 1: [2]
seed 3 BROKEN RAFT-1: lost
  again 3
";
        assert_eq!(of(&reports, |seed| format!("again {seed}")), expected);
    }
}

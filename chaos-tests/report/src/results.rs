//! The figures of all groups, as they are kept.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::design::unanswered;
use crate::machine::Machine;
use crate::row::{Row, Verdict};
use crate::table::table;

/// One group of benches, measured in one go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its name, as `cargo xtask bench` takes it.
    pub group: String,
    /// Where and when.
    pub machine: Machine,
    /// What else must be known to read it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// What it came to.
    pub rows: Vec<Row>,
}

/// The last run of each group.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// In the order in which they are shown.
    pub runs: Vec<Run>,
}

impl Results {
    /// Reads what [`Results::write`] wrote.
    ///
    /// # Errors
    /// When there is none, or it is something else.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("no results in {}", path.display()))
    }

    /// Writes them for programs and for people.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)? + "\n";
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes a run in the place of the former one of its group.
    pub fn put(&mut self, run: Run) {
        match self.runs.iter_mut().find(|former| former.group == run.group) {
            Some(former) => *former = run,
            None => self.runs.push(run),
        }
    }

    /// All figures as a page of Markdown.
    pub fn page(&self) -> String {
        let mut text = String::from(
            "# Figures\n\nWritten by `cargo xtask bench`; [performance](../performance.md) says what they mean.\n",
        );
        for Run { group, machine, note, rows } in &self.runs {
            text += &format!("\n## {group}\n\n{machine}");
            if !machine.load.is_empty() {
                text += &format!(", load before it {}", machine.load);
            }
            text += ".\n";
            if !note.is_empty() {
                text += &format!("{note}\n");
            }
            text += &format!("\n{}", table(rows));
        }
        text
    }

    /// How many budgets are met, and which are missed.
    pub fn summary(&self) -> String {
        let rows = || self.runs.iter().flat_map(|run| &run.rows);
        let count = |wanted| rows().filter(|row| row.verdict() == wanted).count();
        let mut text = format!(
            "{} budgets met, {} by the best run only, {} missed\n",
            count(Verdict::Met),
            count(Verdict::MetByBest),
            count(Verdict::Missed)
        );
        for row in rows().filter(|row| row.verdict() == Verdict::Missed) {
            text += &format!("missed: {}\n", row.what);
        }
        text
    }

    /// Which budgets of the design have no figure, for who measured all groups.
    pub fn gaps(&self) -> String {
        let rows = self.runs.iter().flat_map(|run| &run.rows);
        let missing = unanswered(rows.filter_map(|row| row.design.as_deref()));
        missing.iter().map(|words| format!("not measured: {words}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::design::BUDGETS;

    fn run(group: &str, rows: Vec<Row>) -> Run {
        let machine = Machine {
            commit: "abc".to_owned(),
            date: "2026-01-02T03:04:05Z".to_owned(),
            kernel: "6.18".to_owned(),
            cores: 2,
            floor: Some(2.13),
            load: "0.10 0.20 0.30 1/100 7".to_owned(),
        };
        Run { group: group.to_owned(), machine, note: String::new(), rows }
    }

    #[test]
    fn a_run_replaces_the_former_one_of_its_group() {
        let row = |figure| vec![Row::told("a", "ms", &[figure])];
        let mut results = Results::default();
        for (group, figure) in [("host", 1.0), ("raft", 2.0), ("host", 3.0)] {
            results.put(run(group, row(figure)));
        }
        assert_eq!(results.runs, [run("host", row(3.0)), run("raft", row(2.0))]);
    }

    #[test]
    fn a_summary_names_what_is_missed_and_what_was_not_measured() {
        let answers = BUDGETS[2..]
            .iter()
            .map(|(name, _)| Row::at_most(format!("row {name}"), "ms", &[1.0], 2.0).design(name));
        let mut rows: Vec<Row> = answers.collect();
        rows[0] = Row::at_most("slow", "ms", &[3.0], 2.0).design(BUDGETS[2].0);
        let mut results = Results::default();
        results.put(run("host", rows));
        assert_eq!(
            results.summary(),
            "25 budgets met, 0 by the best run only, 1 missed\nmissed: slow\n"
        );
        assert_eq!(
            results.gaps(),
            "not measured: create + start over the API\n\
             not measured: `shoal run --rm busybox true`, whole process\n"
        );
    }

    #[test]
    fn a_page_shows_all_runs() {
        let mut results = Results::default();
        results.put(run("host", vec![Row::told("floor", "ms", &[2.13])]));
        assert_eq!(
            results.page(),
            "# Figures\n\nWritten by `cargo xtask bench`; [performance](../performance.md) says what they mean.\n\n\
             ## host\n\n2026-01-02T03:04:05Z, commit abc, Linux 6.18, 2 cores, floor 2.13 ms, load before it \
             0.10 0.20 0.30 1/100 7.\n\n\
             | what  | figure  |\n|-------|---------|\n| floor | 2.13 ms |\n"
        );
    }

    #[test]
    fn results_are_read_back() {
        let path = std::env::temp_dir().join(format!("shoal-results-{}", std::process::id()));
        let mut results = Results::default();
        results.put(run("host", vec![Row::at_least("a", "/s", &[3.5], 2.0).how("b")]));
        results.write(&path).unwrap();
        let read = Results::read(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), results);
        assert!(Results::read(&path).is_err());
    }
}

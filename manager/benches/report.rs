//! Rows of a report: figure, budget, ratio. Shared by the benches of the cluster's crates.

#![allow(clippy::print_stdout, reason = "a report for people")]

use std::time::Duration;

/// Head of the table.
pub(crate) fn head() {
    println!("| what | figure | budget | ratio | verdict |\n|---|---|---|---|---|");
}

/// A figure that shall stay below its budget.
pub(crate) fn at_most(what: &str, figure: f64, budget: f64, unit: &str) {
    row(what, figure, budget, unit, figure <= budget);
}

/// A figure that shall reach its budget.
pub(crate) fn at_least(what: &str, figure: f64, budget: f64, unit: &str) {
    row(what, figure, budget, unit, figure >= budget);
}

fn row(what: &str, figure: f64, budget: f64, unit: &str, met: bool) {
    let verdict = if met { "met" } else { "**missed**" };
    let digits = if figure < 100.0 { 2 } else { 0 };
    let ratio = if budget == 0.0 { "-".to_owned() } else { format!("{:.2}", figure / budget) };
    println!("| {what} | {figure:.digits$} {unit} | {budget} {unit} | {ratio} | {verdict} |");
}

/// In milliseconds.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Durations in order.
pub(crate) struct Sorted(Vec<Duration>);

impl Sorted {
    pub(crate) fn new(mut durations: Vec<Duration>) -> Self {
        assert!(!durations.is_empty(), "nothing was measured");
        durations.sort_unstable();
        Self(durations)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The duration that so many of a thousand do not exceed, in milliseconds.
    pub(crate) fn permille(&self, permille: usize) -> f64 {
        millis(self.0[(self.0.len() * permille / 1000).min(self.0.len() - 1)])
    }

    /// In milliseconds.
    pub(crate) fn median(&self) -> f64 {
        self.permille(500)
    }

    /// In milliseconds.
    pub(crate) fn worst(&self) -> f64 {
        millis(self.0[self.0.len() - 1])
    }
}

/// Load of the machine, beside the figures.
pub(crate) fn tail() {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("\nload of this machine: {}", load.trim());
}

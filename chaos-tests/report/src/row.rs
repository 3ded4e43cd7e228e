//! One figure and what it is held against.

use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::design;

/// Which way a figure shall go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aim {
    /// The less the better: times, memory.
    AtMost,
    /// The more the better: rates.
    AtLeast,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// In words.
    pub what: String,
    /// Of all figures of the row; empty: a number.
    pub unit: String,
    /// The median of all runs.
    pub figure: f64,
    /// The least of all runs. `None`: there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
    /// The most of all runs. `None`: there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<f64>,
    /// How many runs there were.
    pub runs: usize,
    /// Which way the figure shall go.
    pub aim: Aim,
    /// What the figure shall come to. `None`: it is told, and held against nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
    /// What Docker Engine 29.7 came to on a quiet machine of the same kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker: Option<f64>,
    /// What Docker's daemon, Debian's 20.10, came to in the same run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub docker_here: Option<f64>,
    /// How it was measured.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub how: String,
    /// The budget of the design that it answers, see [`design::BUDGETS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub design: Option<String>,
}

/// What a figure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The median keeps the budget.
    Met,
    /// The best run keeps it, the median does not.
    MetByBest,
    /// No run keeps it.
    Missed,
    /// There is no budget.
    Untold,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Met => "met",
            Self::MetByBest => "met by the best run",
            Self::Missed => "**missed**",
            Self::Untold => "-",
        })
    }
}

impl Row {
    /// A figure that shall stay below its budget.
    ///
    /// # Panics
    /// When there are no runs, or one is no number.
    pub fn at_most(what: impl Into<String>, unit: &str, runs: &[f64], budget: f64) -> Self {
        Self { budget: Some(budget), ..Self::told(what, unit, runs) }
    }

    /// A figure that shall reach its budget.
    ///
    /// # Panics
    /// As [`Row::at_most`].
    pub fn at_least(what: impl Into<String>, unit: &str, runs: &[f64], budget: f64) -> Self {
        Self { budget: Some(budget), aim: Aim::AtLeast, ..Self::told(what, unit, runs) }
    }

    /// A figure without a budget.
    ///
    /// # Panics
    /// As [`Row::at_most`].
    pub fn told(what: impl Into<String>, unit: &str, runs: &[f64]) -> Self {
        let what = what.into();
        assert!(!runs.is_empty(), "nothing was measured of `{what}`");
        assert!(runs.iter().all(|run| run.is_finite()), "`{what}` came to {runs:?}");
        let mut sorted = runs.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        Self {
            what,
            unit: unit.to_owned(),
            figure: sorted[sorted.len() / 2],
            least: sorted.first().copied().filter(|_| sorted.len() > 1),
            most: sorted.last().copied().filter(|_| sorted.len() > 1),
            runs: sorted.len(),
            aim: Aim::AtMost,
            budget: None,
            docker: None,
            docker_here: None,
            how: String::new(),
            design: None,
        }
    }

    /// With the figure of Docker Engine 29.7 on a quiet machine of the same kind.
    #[must_use]
    pub fn docker(self, figure: f64) -> Self {
        Self { docker: Some(figure), ..self }
    }

    /// With the figure of Docker's daemon in the same run.
    #[must_use]
    pub fn docker_here(self, figure: Option<f64>) -> Self {
        Self { docker_here: figure, ..self }
    }

    /// With how it was measured.
    #[must_use]
    pub fn how(self, how: &str) -> Self {
        Self { how: how.to_owned(), ..self }
    }

    /// As the answer to a budget of the design.
    ///
    /// # Panics
    /// When the design has no such budget.
    #[must_use]
    pub fn design(self, name: &str) -> Self {
        assert!(design::BUDGETS.iter().any(|(known, _)| *known == name), "no budget `{name}`");
        Self { design: Some(name.to_owned()), ..self }
    }

    /// Whether the budget is kept.
    pub fn verdict(&self) -> Verdict {
        let Some(budget) = self.budget else { return Verdict::Untold };
        let (best, breaks) = match self.aim {
            Aim::AtMost => (self.least, Ordering::Greater),
            Aim::AtLeast => (self.most, Ordering::Less),
        };
        let keeps = |figure: f64| figure.total_cmp(&budget) != breaks;
        match (keeps(self.figure), keeps(best.unwrap_or(self.figure))) {
            (true, _) => Verdict::Met,
            (false, true) => Verdict::MetByBest,
            (false, false) => Verdict::Missed,
        }
    }

    /// How much of the budget another figure of this row takes: less is better, one is all of it. `None`: there is no
    /// budget, or it cannot be shared.
    pub fn share(&self, figure: f64) -> Option<f64> {
        let budget = self.budget.filter(|budget| *budget > 0.0 && figure > 0.0)?;
        Some(match self.aim {
            Aim::AtMost => figure / budget,
            Aim::AtLeast => budget / figure,
        })
    }

    /// How many times better this figure is than another one of this row. `None`: one of them is zero.
    pub fn times_better(&self, other: f64) -> Option<f64> {
        if self.figure <= 0.0 || other <= 0.0 {
            return None;
        }
        Some(match self.aim {
            Aim::AtMost => other / self.figure,
            Aim::AtLeast => self.figure / other,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_median_least_and_most() {
        let row = Row::at_most("start", "ms", &[9.0, 7.0, 8.0, 30.0], 10.0).docker(170.0);
        assert_eq!((row.figure, row.runs), (9.0, 4));
        assert_eq!((row.least, row.most), (Some(7.0), Some(30.0)));
        let row = Row::at_most("start", "ms", &[9.0], 10.0).docker(170.0);
        assert_eq!((row.least, row.most), (None, None));
        assert_eq!(row.share(row.figure), Some(0.9));
        assert_eq!(row.share(170.0), Some(17.0));
        assert_eq!(row.times_better(180.0), Some(20.0));
    }

    #[test]
    fn verdicts_follow_the_aim() {
        let most = |runs: &[f64]| Row::at_most("a", "ms", runs, 10.0).verdict();
        assert_eq!(most(&[10.0]), Verdict::Met);
        assert_eq!(most(&[9.0, 11.0, 12.0]), Verdict::MetByBest);
        assert_eq!(most(&[11.0]), Verdict::Missed);
        let least = |runs: &[f64]| Row::at_least("a", "/s", runs, 10.0).verdict();
        assert_eq!(least(&[10.0]), Verdict::Met);
        assert_eq!(least(&[7.0, 8.0, 11.0]), Verdict::MetByBest);
        assert_eq!(least(&[9.0]), Verdict::Missed);
        assert_eq!(Row::told("a", "", &[1.0]).verdict(), Verdict::Untold);
        assert_eq!(Row::at_most("elections", "", &[0.0], 0.0).verdict(), Verdict::Met);
    }

    #[test]
    fn less_of_the_budget_is_better_for_rates_too() {
        let row = Row::at_least("writes", "/s", &[8_000.0], 4_000.0);
        assert_eq!(row.share(row.figure), Some(0.5));
        assert_eq!(row.times_better(2_000.0), Some(4.0));
        assert_eq!(Row::at_most("elections", "", &[0.0], 0.0).share(0.0), None);
    }

    #[test]
    #[should_panic(expected = "nothing was measured of `start`")]
    fn a_row_of_nothing_is_a_mistake() {
        let _ = Row::told("start", "ms", &[]);
    }
}

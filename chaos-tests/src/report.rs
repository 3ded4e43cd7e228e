//! Figures of benches as a table: figure, budget, ratio to what was measured of Docker.

use std::time::Duration;

use anyhow::{Context, ensure};

/// One row of the report.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was measured.
    pub what: &'static str,
    /// Of all figures of the row.
    pub unit: &'static str,
    /// What each run came to.
    pub runs: Vec<f64>,
    /// What it may come to.
    pub budget: f64,
    /// What Docker Engine 29.7 came to on a quiet machine of the same kind with one host. `None`: was not measured.
    pub docker: Option<f64>,
}

impl Row {
    /// A row in seconds.
    pub fn seconds(
        what: &'static str,
        runs: Vec<Duration>,
        budget: f64,
        docker: Option<f64>,
    ) -> Self {
        let runs = runs.iter().map(Duration::as_secs_f64).collect();
        Self { what, unit: "s", runs, budget, docker }
    }

    /// A row in milliseconds, without a figure of Docker.
    pub fn milliseconds(what: &'static str, runs: Vec<Duration>, budget: f64) -> Self {
        let runs = runs.iter().map(|run| run.as_secs_f64() * 1e3).collect();
        Self { what, unit: "ms", runs, budget, docker: None }
    }
}

/// Prints the table and how busy the machine is.
///
/// # Errors
/// When nothing was measured of a row.
#[allow(clippy::print_stdout, reason = "a report for people")]
pub fn print(rows: &[Row]) -> anyhow::Result<()> {
    println!(
        "{:<42} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}  verdict",
        "what", "median", "min", "max", "budget", "docker", "ratio"
    );
    for Row { what, unit, runs, budget, docker } in rows {
        ensure!(!runs.is_empty(), "nothing was measured of `{what}`");
        let mut runs = runs.clone();
        runs.sort_unstable_by(f64::total_cmp);
        let (median, least, most) = (runs[runs.len() / 2], runs[0], runs[runs.len() - 1]);
        let verdict = match (median <= *budget, least <= *budget) {
            (true, _) => "met",
            (false, true) => "met by the minimum",
            (false, false) => "MISSED",
        };
        let (docker, ratio) = match docker {
            Some(docker) => (format!("{docker:.1} {unit}"), format!("1/{:.1}", docker / median)),
            None => ("-".to_owned(), "-".to_owned()),
        };
        println!(
            "{what:<42} {median:>6.2} {unit} {least:>6.2} {unit} {most:>6.2} {unit} {budget:>6.2} {unit} {docker:>8} \
             {ratio:<8}  {verdict}"
        );
    }
    let load = std::fs::read_to_string("/proc/loadavg").context("cannot read the load")?;
    println!("\nload of this machine: {}", load.trim());
    println!(
        "docker: Docker Engine 29.7 measured quiet on a machine of this kind, not in this run"
    );
    Ok(())
}

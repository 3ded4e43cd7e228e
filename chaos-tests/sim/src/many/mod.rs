//! Many seeds, in processes of their own, so that one that hangs or dies ends nothing but itself.

mod journal;
pub mod summary;

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use shoal_base::command;

use crate::report::{Report, Verdict};
use journal::Journal;

/// Seeds that one process runs, one after the other: memory that it has once is not asked for again.
const AT_ONCE: u64 = 20;
/// A process that says nothing for so long waits for something that never comes. One that goes on without end notices
/// that itself, by processor time.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// This program, also when another was built meanwhile and is where it was.
const PROGRAM: &str = "/proc/self/exe";
/// Lines that wait to be read.
const LINES: usize = 64;

/// What to run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Processes at a time.
    pub jobs: usize,
    /// What each process is told besides its seeds.
    pub words: Vec<String>,
    /// Where what is known is kept.
    pub journal: Option<PathBuf>,
}

/// Runs the seeds that are not known yet; what all came to. `tell` hears of each that is done.
///
/// # Errors
/// When no process can be started, or the journal cannot be kept.
pub fn run(plan: &Plan, mut tell: impl FnMut(&Report)) -> anyhow::Result<BTreeMap<u64, Report>> {
    let program = Path::new(PROGRAM);
    let (mut journal, mut known) = match &plan.journal {
        None => (Journal::none(), BTreeMap::new()),
        Some(path) => {
            let build = fingerprint(&std::fs::read(program)?);
            let run = format!("{build:016x} {}", plan.words.join(" "));
            Journal::open(path, &run)
                .with_context(|| format!("cannot use the journal `{}`", path.display()))?
        }
    };
    known.retain(|seed, _| plan.seeds.contains(seed));
    let work = Mutex::new(parts(&plan.seeds, &known));
    std::thread::scope(|scope| {
        let (results, reports) = sync_channel(LINES);
        for _ in 0..plan.jobs.max(1) {
            let (work, results) = (&work, results.clone());
            scope.spawn(move || {
                loop {
                    let part = work.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(part) = part else { return };
                    if let Err(error) = run_part(program, plan, part, &results) {
                        // Who reads has failed itself.
                        let _ = results.send(Err(error));
                        return;
                    }
                }
            });
        }
        drop(results);
        while let Ok(report) = reports.recv() {
            let report = report.inspect_err(|_| {
                work.lock().unwrap_or_else(PoisonError::into_inner).clear();
            })?;
            journal.add(&report)?;
            tell(&report);
            known.insert(report.seed, report);
        }
        Ok(known)
    })
}

/// The seeds that are not known, in parts that follow each other.
fn parts(seeds: &Range<u64>, known: &BTreeMap<u64, Report>) -> VecDeque<Range<u64>> {
    let mut parts: VecDeque<Range<u64>> = VecDeque::new();
    for seed in seeds.clone().filter(|seed| !known.contains_key(seed)) {
        match parts.back_mut() {
            Some(part) if part.end == seed && seed - part.start < AT_ONCE => part.end += 1,
            _ => parts.push_back(seed..seed + 1),
        }
    }
    parts
}

/// Runs a part in as many processes as it takes: one that ends early has failed with the seed that it was at.
fn run_part(
    program: &Path,
    plan: &Plan,
    mut part: Range<u64>,
    results: &SyncSender<anyhow::Result<Report>>,
) -> anyhow::Result<()> {
    while !part.is_empty() {
        let mut child = command::new(program);
        child.stdout(Stdio::piped()).stderr(Stdio::inherit()).args(&plan.words);
        child.args(["--lines", "--seed", &part.start.to_string()]);
        child.args(["--count", &(part.end - part.start).to_string()]);
        let mut child = child.spawn().context("no process can be started")?;
        let lines = lines(&mut child);
        let why = loop {
            match lines.recv_timeout(PATIENCE) {
                Ok(line) => match line.parse::<Report>() {
                    Ok(report) => {
                        part.start = report.seed + 1;
                        results.send(Ok(report))?;
                    }
                    Err(_) => break line,
                },
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {
                    break format!("nothing was said for {} s", PATIENCE.as_secs());
                }
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break String::new(),
            }
        };
        if part.is_empty() {
            let status = child.wait()?;
            if !status.success() {
                let why = format!("the process ended badly: {status}");
                results.send(Ok(Report::ended(part.end - 1, &why)))?;
            }
            return Ok(());
        }
        // It may have ended already.
        let _ = child.kill();
        let status = child.wait()?;
        let why = if why.is_empty() { format!("the process ended early: {status}") } else { why };
        results.send(Ok(Report::ended(part.start, &why)))?;
        part.start += 1;
    }
    Ok(())
}

/// What a process prints.
fn lines(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = sync_channel(LINES);
    if let Some(output) = child.stdout.take() {
        std::thread::spawn(move || {
            let printed = BufReader::new(output).lines().map_while(Result::ok);
            // Until nobody listens any more.
            let _ = printed.map(|line| sender.send(line)).find(Result::is_err);
        });
    }
    lines
}

fn fingerprint(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

/// Whether none failed, and enough happened in all.
pub fn is_well(reports: &BTreeMap<u64, Report>) -> bool {
    reports.values().all(|report| report.verdict == Verdict::Sound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_run_in_parts() {
        let known = |seeds: &[u64]| {
            seeds.iter().map(|seed| (*seed, Report::ended(*seed, ""))).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(parts(&(0..45), &known(&[])), [0..20, 20..40, 40..45]);
        assert_eq!(parts(&(0..10), &known(&[0, 3, 4, 9])), [1..3, 5..9]);
        assert!(parts(&(0..2), &known(&[0, 1])).is_empty());
    }
}

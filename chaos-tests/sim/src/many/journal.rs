//! What is known of seeds already, in a file: a run that was interrupted goes on where it was.
//!
//! Each run begins with a line that names the program and its settings; what other programs or settings came to does not
//! count.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

use crate::report::Report;

const BEGIN: &str = "run ";

/// The file, open for more.
#[derive(Debug)]
pub(super) struct Journal(Option<File>);

/// What a text of these lines says of seeds that were run as `run` says.
fn known(text: &str, run: &str) -> BTreeMap<u64, Report> {
    let (mut reports, mut counts) = (BTreeMap::new(), false);
    for line in text.lines() {
        if let Some(other) = line.strip_prefix(BEGIN) {
            counts = other == run;
        } else if let Some(report) = line.parse::<Report>().ok().filter(|_| counts) {
            reports.insert(report.seed, report);
        }
    }
    reports
}

impl Journal {
    /// Nothing is kept.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Opens it for this process alone, and says what is known.
    ///
    /// # Errors
    /// When it cannot be read or written, or another process has it open.
    pub(super) fn open(path: &Path, run: &str) -> io::Result<(Self, BTreeMap<u64, Report>)> {
        let mut file = File::options().create(true).append(true).read(true).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another run writes it"),
            TryLockError::Error(error) => error,
        })?;
        let text = io::read_to_string(&file)?;
        // The last line of a run that was killed may be half there.
        let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        file.write_all(format!("{end}{BEGIN}{run}\n").as_bytes())?;
        Ok((Self(Some(file)), known(&text, run)))
    }

    /// Keeps a report.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn add(&mut self, report: &Report) -> io::Result<()> {
        match &mut self.0 {
            Some(file) => file.write_all(format!("{report}\n").as_bytes()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_run_the_same_way_is_known_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut told = Vec::new();
        for (run, seed) in [("a", 1), ("b", 2), ("a", 3), ("a", 4)] {
            let (mut journal, known) = Journal::open(&path, run).unwrap();
            told.push(known.into_keys().collect::<Vec<_>>());
            journal.add(&Report::ended(seed, "over")).unwrap();
        }
        assert_eq!(told, [vec![], vec![], vec![1], vec![1, 3]]);
    }

    #[test]
    fn two_runs_do_not_share_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let first = Journal::open(&path, "a").unwrap();
        let error = Journal::open(&path, "a").unwrap_err();
        assert_eq!(error.to_string(), "another run writes it");
        drop(first);
        assert!(Journal::open(&path, "a").is_ok());
    }

    #[test]
    fn half_a_line_says_nothing_and_spoils_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let whole = Report::ended(1, "over").to_string();
        std::fs::write(&path, format!("run a\n{whole}\n{}", &whole[..20])).unwrap();
        let (mut journal, known) = Journal::open(&path, "a").unwrap();
        assert_eq!(known.into_keys().collect::<Vec<_>>(), [1]);
        journal.add(&Report::ended(2, "over")).unwrap();
        drop(journal);
        let (_, known) = Journal::open(&path, "a").unwrap();
        assert_eq!(known.into_keys().collect::<Vec<_>>(), [1, 2]);
    }
}

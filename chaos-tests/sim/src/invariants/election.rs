//! Election safety: no term has two leaders (LOG-2: a vote that was given is never forgotten).

use std::collections::BTreeMap;

use shoal_manager_core::invariants::{Verdict, require};

/// Who led when.
#[derive(Debug, Default)]
pub struct Election(BTreeMap<u64, u8>);

impl Election {
    /// A manager says that it leads.
    ///
    /// # Errors
    /// When another one did in that term.
    pub fn leads(&mut self, number: u8, term: u64) -> Verdict {
        let first = *self.0.entry(term).or_insert(number);
        require(first == number, "LOG-2", || {
            format!("managers {first} and {number} both lead in term {term}")
        })
    }

    /// Terms that had a leader.
    pub fn terms(&self) -> usize {
        self.0.len()
    }
}

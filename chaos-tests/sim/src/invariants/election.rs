//! A vote that was given is never forgotten (LOG-2), seen by leaders: each voted for itself before it led.
//!
//! One term may have several leaders: a candidate with a greater id takes over in the same term (openraft's
//! `leader_id_adv`), and what the one before committed stays.

use std::collections::BTreeMap;

use shoal_manager_core::invariants::{Verdict, require};

/// The last term in which each manager led.
#[derive(Debug, Default)]
pub struct Election(BTreeMap<u8, u64>);

impl Election {
    /// A manager begins to lead.
    ///
    /// # Errors
    /// When it did in a later term.
    pub fn leads(&mut self, number: u8, term: u64) -> Verdict {
        self.knows_a_leader(number, term)?;
        self.0.insert(number, term);
        Ok(())
    }

    /// A manager says that a term has a leader.
    ///
    /// # Errors
    /// When it led in a later term.
    pub fn knows_a_leader(&self, number: u8, term: u64) -> Verdict {
        let led = self.0.get(&number).copied().unwrap_or_default();
        require(led <= term, "LOG-2", || {
            format!("manager {number} led in term {led}, and now knows a leader of term {term}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_goes_back_behind_a_term_it_led() {
        let mut election = Election::default();
        for (number, term) in [(1, 3), (2, 3), (1, 5)] {
            election.leads(number, term).unwrap();
        }
        election.knows_a_leader(2, 4).unwrap();
        election.knows_a_leader(1, 4).unwrap_err();
        election.leads(2, 2).unwrap_err();
    }
}

//! Beside other programs' firewalls: one tagged rule in theirs, as [`crate::plan::foreign`] decides.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use shoal_model::error::Chain;

use super::Inner;
use crate::error::Error;
use crate::plan::foreign::{PLACES, Place, Plan, plan};

impl Inner {
    /// Looks at the other tables; answers what is to be done, and lets [`Inner::desired_rules`] know.
    pub(super) fn look_at_others(&self) -> Result<Plan, Error> {
        let chains = self.host.table().foreign_chains()?;
        let mut plan = plan(&chains);
        if self.state().views().is_empty() {
            plan.unwanted.append(&mut plan.wanted);
            plan.unknown.clear();
        }
        self.admitting.store(!plan.wanted.is_empty(), Ordering::SeqCst);
        Ok(plan)
    }

    /// After a change of others' rules: looks again, and touches our own table only when that matters to it.
    pub(super) fn repair_admission(&self) -> Result<usize, Error> {
        let before = self.admitting.load(Ordering::SeqCst);
        let others = self.look_at_others()?;
        if self.admitting.load(Ordering::SeqCst) != before {
            return self.repair();
        }
        self.admit(&others)
    }

    /// Makes our rules in other tables as planned; answers how many changes that took. What other programs
    /// refuse is reported once.
    pub(super) fn admit(&self, plan: &Plan) -> Result<usize, Error> {
        let tag = self.tag();
        let mut changes = 0;
        for place in &plan.wanted {
            match self.put_accept(place, &tag) {
                Ok(made) => changes += made,
                Err(error) => self.report(place.to_string(), &error),
            }
        }
        for place in &plan.unwanted {
            changes += self.remove_accept(place, None)?;
        }
        for chain in &plan.unknown {
            if self.is_news(chain) {
                tracing::warn!(
                    chain,
                    "another program drops forwarded packets by default: containers reach nothing beyond this host until it accepts them"
                );
            }
        }
        Ok(changes)
    }

    /// Takes our rules out of other programs' tables for good: a repair that runs at this moment puts none back.
    pub(super) fn leave(&self) -> Result<(), Error> {
        self.left.store(true, Ordering::SeqCst);
        self.withdraw_admission()
    }

    /// Takes our rules out of other programs' tables.
    pub(super) fn withdraw_admission(&self) -> Result<(), Error> {
        let errors = PLACES.iter().filter_map(|place| self.remove_accept(place, None).err());
        Error::collect(errors.collect())
    }

    fn put_accept(&self, place: &Place, tag: &str) -> Result<usize, Error> {
        // A rule of another release may mean another mark.
        let removed = self.remove_accept(place, Some(tag))?;
        let mut table = self.host.table();
        if !self.left.load(Ordering::SeqCst) && table.tagged(place, tag)?.is_empty() {
            table.insert_accept(place, tag, self.settings.mark)?;
            return Ok(removed + 1);
        }
        Ok(removed)
    }

    /// Removes our rules at a place, but that with the tag `keep`.
    fn remove_accept(&self, place: &Place, keep: Option<&str>) -> Result<usize, Error> {
        let mut table = self.host.table();
        let mut removed = 0;
        for rule in table.tagged(place, &self.tag_prefix())? {
            if keep != Some(rule.tag.as_str()) {
                table.remove_tagged(place, &rule)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn tag_prefix(&self) -> String {
        format!("{}-admit-", self.settings.table)
    }

    fn tag(&self) -> String {
        format!("{}{:08x}", self.tag_prefix(), self.settings.mark)
    }

    fn report(&self, place: String, error: &Error) {
        let error = Chain(error).to_string();
        if self.is_news(&place) {
            tracing::warn!(
                place,
                error,
                "cannot accept the containers' packets there: let that program accept packets of Shoal's bridges"
            );
        }
    }

    fn is_news(&self, what: &str) -> bool {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned())
    }
}

//! What a client knows of one name: what was acknowledged, and what may have happened.
//!
//! A write whose answer was lost may be in effect at once, later, or never. One that changes or removes an object is made
//! for one version of it, so the next write that is acknowledged ends that; one that creates may still come whenever the
//! name is free.

use std::fmt::Debug;

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register<V> {
    known: Option<V>,
    /// Creations whose answer was lost.
    created: Vec<V>,
    /// Other writes whose answer was lost.
    changed: Vec<Option<V>>,
}

impl<V> Default for Register<V> {
    fn default() -> Self {
        Self { known: None, created: Vec::new(), changed: Vec::new() }
    }
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is in effect.
    Done,
    /// It is not, and will not be.
    Refused,
    /// Nobody knows.
    Lost,
}

impl<V: Clone + PartialEq + Debug> Register<V> {
    /// What it is, as far as is known.
    pub fn known(&self) -> Option<&V> {
        self.known.as_ref()
    }

    /// Whether nothing else is possible.
    pub fn is_certain(&self) -> bool {
        self.created.is_empty() && self.changed.is_empty()
    }

    /// A write of `value` (`None`: a removal) was answered.
    pub fn wrote(&mut self, value: Option<V>, answer: Answer, creates: bool) {
        match answer {
            Answer::Done => {
                self.known = value;
                self.changed.clear();
            }
            Answer::Refused => {}
            Answer::Lost => match value {
                Some(value) if creates => self.created.push(value),
                value => self.changed.push(value),
            },
        }
    }

    /// A read that began after all writes before it were answered found this.
    ///
    /// # Errors
    /// When that is impossible: something acknowledged was lost or not seen.
    pub fn read(&mut self, found: Option<V>) -> Result<(), String> {
        if found == self.known {
            return Ok(());
        }
        let created = found.as_ref().and_then(|it| self.created.iter().position(|one| one == it));
        if let Some(index) = created {
            self.created.remove(index);
        } else if !self.changed.contains(&found) {
            return Err(format!("found {found:?}, possible were {self:?}"));
        }
        self.known = found;
        self.changed.clear();
        Ok(())
    }

    /// As [`Register::read`], when nothing is under way any more: what did not come is not going to.
    ///
    /// # Errors
    /// As [`Register::read`].
    pub fn settle(&mut self, found: Option<V>) -> Result<(), String> {
        self.read(found)?;
        self.created.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_acknowledged_is_found() {
        let mut register = Register::default();
        register.wrote(Some(1), Answer::Done, true);
        register.wrote(Some(2), Answer::Done, false);
        assert!(register.read(Some(1)).is_err());
        assert!(register.read(None).is_err());
        assert_eq!(register.read(Some(2)), Ok(()));
    }

    #[test]
    fn a_lost_change_may_come_until_another_write_is_acknowledged() {
        let mut register = Register::default();
        register.wrote(Some(1), Answer::Done, true);
        register.wrote(Some(2), Answer::Lost, false);
        assert_eq!(register.read(Some(1)), Ok(()));
        assert_eq!(register.read(Some(2)), Ok(()));
        assert!(register.read(Some(1)).is_err(), "it does not come back");
        register.wrote(None, Answer::Lost, false);
        register.wrote(Some(3), Answer::Done, false);
        assert!(register.read(None).is_err());
    }

    #[test]
    fn a_lost_creation_may_come_once_the_name_is_free() {
        let mut register = Register::default();
        register.wrote(Some(1), Answer::Lost, true);
        register.wrote(Some(2), Answer::Done, true);
        register.wrote(None, Answer::Done, false);
        assert_eq!(register.read(None), Ok(()));
        assert_eq!(register.read(Some(1)), Ok(()));
        assert!(register.read(Some(2)).is_err());
        assert!(register.is_certain());
    }

    #[test]
    fn what_did_not_come_before_all_was_quiet_does_not_come() {
        let mut register = Register::default();
        register.wrote(Some(1), Answer::Lost, true);
        assert_eq!(register.settle(None), Ok(()));
        assert!(register.is_certain());
        assert!(register.read(Some(1)).is_err());
    }

    #[test]
    fn a_refused_write_does_nothing() {
        let mut register = Register::default();
        register.wrote(Some(1), Answer::Refused, true);
        assert!(register.read(Some(1)).is_err());
    }
}

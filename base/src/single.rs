//! One thread for everything: a simulator's.
//!
//! What else runs on threads of its own (blocking jobs, consensus, the writer of its log) looks here and stays on the
//! caller's thread, so that a run depends on nothing but its seed. Daemons never enter it.

use std::cell::RefCell;

use crate::random::Numbers;

thread_local! {
    static NUMBERS: RefCell<Option<Numbers>> = const { RefCell::new(None) };
}

/// As long as it lives this thread does everything itself.
#[derive(Debug)]
#[must_use]
pub struct Single(());

/// Makes this thread the only one, with random numbers from a seed.
///
/// # Panics
/// When it is already.
pub fn enter(seed: u64) -> Single {
    NUMBERS.with_borrow_mut(|numbers| {
        assert!(numbers.is_none(), "one simulation on a thread at a time");
        *numbers = Some(Numbers::new(seed));
    });
    Single(())
}

impl Drop for Single {
    fn drop(&mut self) {
        NUMBERS.with_borrow_mut(|numbers| *numbers = None);
    }
}

/// Whether this thread does everything itself.
pub fn is_on() -> bool {
    NUMBERS.with_borrow(Option::is_some)
}

/// The next random number of the seed; `None`: use the kernel's.
pub fn number() -> Option<u64> {
    NUMBERS.with_borrow_mut(|numbers| numbers.as_mut().map(Numbers::next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_blocking_job_stays_on_the_thread_while_it_is_the_only_one() {
        let job = || crate::blocking::run("test", || std::thread::current().id());
        let here = std::thread::current().id();
        assert_ne!(job().await.unwrap(), here);
        let single = enter(7);
        assert_eq!(job().await.unwrap(), here);
        let first = number();
        drop(single);
        assert_eq!(number(), None);
        let _single = enter(7);
        assert_eq!((number(), is_on()), (first, true));
    }
}

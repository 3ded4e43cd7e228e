//! Linearizable reads share rounds of consensus: a round answers all who asked before it began.
//!
//! One that comes while a round is under way must not have its answer, which may be older than the question; it waits for
//! the next one, with all others. A round that hangs holds up the next one for [`GATHER`] only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use shoal_base::SharedClock;

use super::{Error, ForwardError};
use crate::consensus;

/// The longest time for which those who ask are gathered while another round is under way.
const GATHER: Duration = Duration::from_millis(50);

/// Why a round gave no index.
#[derive(Debug, Clone)]
pub(super) enum Failed {
    /// Here.
    Here(consensus::Error),
    /// On the manager that leads.
    There(ForwardError),
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Here(error) => error.into(),
            Failed::There(error) => error.into(),
        }
    }
}

type Answer = Result<u64, Failed>;
/// Runs while one of those who wait for it polls it, and is dropped with the last of them.
type Round = Shared<BoxFuture<'static, Answer>>;

/// The rounds of one store.
#[derive(Debug, Default)]
pub(super) struct Reads {
    rounds: Mutex<Rounds>,
}

#[derive(Debug, Default)]
struct Rounds {
    running: Option<WeakShared<BoxFuture<'static, Answer>>>,
    /// Has not begun.
    next: Option<WeakShared<BoxFuture<'static, Answer>>>,
}

impl Reads {
    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer of a round that has not begun yet; `ask` is one, and not begun when there already is another.
    pub(super) fn join(
        self: &Arc<Self>,
        clock: &SharedClock,
        ask: impl Future<Output = Answer> + Send + 'static,
    ) -> Round {
        let mut rounds = self.rounds();
        if let Some(next) = rounds.next.as_ref().and_then(WeakShared::upgrade) {
            return next;
        }
        let before = rounds.running.as_ref().and_then(WeakShared::upgrade);
        let (this, clock) = (Arc::clone(self), clock.clone());
        let round = async move {
            if let Some(before) = before {
                tokio::select! {
                    _ = before => {}
                    () = clock.sleep(GATHER) => {}
                }
            }
            this.begin();
            ask.await
        };
        let round = round.boxed().shared();
        rounds.next = round.downgrade();
        round
    }

    /// Who comes from now on needs another round.
    fn begin(&self) {
        let mut rounds = self.rounds();
        rounds.running = rounds.next.take();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::store::tests::TestClock;

    /// Counts rounds; each waits until it is let go.
    #[derive(Debug)]
    struct Asked {
        reads: Arc<Reads>,
        clock: SharedClock,
        begun: Arc<AtomicU64>,
        go: Arc<Semaphore>,
    }

    impl Asked {
        fn new() -> Self {
            let go = Arc::new(Semaphore::new(0));
            Self { reads: Arc::default(), clock: TestClock::shared(), begun: Arc::default(), go }
        }

        /// The number of the round.
        fn ask(&self) -> impl Future<Output = u64> + use<> {
            let (begun, go) = (Arc::clone(&self.begun), Arc::clone(&self.go));
            let round = self.reads.join(&self.clock, async move {
                let number = begun.fetch_add(1, Ordering::Relaxed) + 1;
                go.acquire().await.unwrap().forget();
                Ok(number)
            });
            async move { round.await.unwrap() }
        }

        fn begun(&self) -> u64 {
            self.begun.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_share_the_round_after_the_one_that_is_under_way() {
        let asked = Asked::new();
        let mut first = Box::pin(asked.ask());
        assert_eq!((&mut first).now_or_never(), None);
        let mut many: Vec<_> = (0..5000).map(|_| Box::pin(asked.ask())).collect();
        assert!(many.iter_mut().all(|one| one.now_or_never().is_none()));
        assert_eq!(asked.begun(), 1, "what has begun may be older than the question");
        asked.go.add_permits(2);
        assert_eq!(first.await, 1);
        assert!(join_all(many).await.iter().all(|&number| number == 2));
        asked.go.add_permits(1);
        assert_eq!(asked.ask().await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_goes_on_for_the_others_when_one_does_not_wait_any_more() {
        let asked = Asked::new();
        let mut first = Box::pin(asked.ask());
        assert_eq!((&mut first).now_or_never(), None);
        let (mut second, third) = (Box::pin(asked.ask()), asked.ask());
        assert_eq!((&mut second).now_or_never(), None);
        drop((first, second));
        asked.go.add_permits(2);
        assert_eq!(third.await, 2);
        let mut dropped = Box::pin(asked.ask());
        assert_eq!((&mut dropped).now_or_never(), None);
        drop(dropped);
        asked.go.add_permits(1);
        assert_eq!(asked.ask().await, 4, "nobody waits for the one before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_round_that_hangs_does_not_hold_up_the_next_one() {
        let asked = Asked::new();
        let mut hangs = Box::pin(asked.ask());
        assert_eq!((&mut hangs).now_or_never(), None);
        let mut next = Box::pin(asked.ask());
        assert_eq!((&mut next).now_or_never(), None);
        let begun = asked.clock.monotonic();
        tokio::select! {
            biased;
            _ = &mut next => unreachable!("it was not let go"),
            () = asked.clock.sleep(GATHER * 2) => {}
        }
        assert_eq!((asked.begun(), asked.clock.monotonic() - begun), (2, GATHER * 2));
    }
}

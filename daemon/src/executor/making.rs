//! Containers of tasks that are being made. The making goes on when the call that began it is dropped, so that nothing
//! half-made is left; whoever asks for the task next waits for it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use shoal_base::tasks::{GivenUp, TaskKind, Tasks};
use shoal_model::cluster::TaskId;
use tokio::sync::watch;

/// What is being made, by task. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Making {
    /// The sender goes when it is made, or has failed.
    under_way: Arc<Mutex<BTreeMap<TaskId, watch::Receiver<()>>>>,
}

/// Under way as long as this lives.
struct UnderWay {
    making: Making,
    task: TaskId,
    _until: watch::Sender<()>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.making.under_way().remove(&self.task);
    }
}

impl Making {
    fn under_way(&self) -> std::sync::MutexGuard<'_, BTreeMap<TaskId, watch::Receiver<()>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does `work` for a task, of which nothing may be under way.
    ///
    /// # Errors
    /// When the daemon stops first.
    ///
    /// # Cancel safety
    /// Once polled, dropping the future does not stop the work.
    pub(super) async fn make<T: Send + 'static>(
        &self,
        tasks: &Tasks,
        task: TaskId,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, GivenUp> {
        let (until, ended) = watch::channel(());
        self.under_way().insert(task, ended);
        let under_way = UnderWay { making: self.clone(), task, _until: until };
        let made = async move {
            let _under_way = under_way;
            work.await
        };
        tasks.detached(TaskKind::WorkerTask, made).await
    }

    /// Waits until nothing is under way for a task.
    pub(super) async fn made(&self, task: TaskId) {
        let ended = self.under_way().get(&task).cloned();
        if let Some(mut ended) = ended {
            // Nothing is ever sent: this is the end of the sender.
            let _ = ended.changed().await;
        }
    }

    /// The tasks for which something is under way.
    pub(super) fn tasks(&self) -> Vec<TaskId> {
        self.under_way().keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn who_asks_for_a_task_waits_for_its_making_even_if_that_was_forsaken() {
        let (making, tasks) = (Making::default(), Tasks::new());
        let (one, other) = (TaskId::from_bytes([1; 16]), TaskId::from_bytes([2; 16]));
        let (go_on, may_go_on) = oneshot::channel::<()>();
        let (done, mut is_done) = oneshot::channel();
        let work = async move {
            may_go_on.await.unwrap();
            done.send(()).unwrap();
        };
        assert!(making.make(&tasks, one, work).now_or_never().is_none());
        assert_eq!(making.tasks(), [one]);
        assert!(making.made(one).now_or_never().is_none());
        assert!(making.made(other).now_or_never().is_some());
        go_on.send(()).unwrap();
        making.made(one).await;
        assert_eq!(is_done.try_recv(), Ok(()));
        assert_eq!(making.tasks(), []);
    }

    #[tokio::test]
    async fn nobody_waits_for_what_the_daemons_end_gave_up() {
        let (making, tasks) = (Making::default(), Tasks::new());
        let task = TaskId::from_bytes([1; 16]);
        let endless = making.make(&tasks, task, std::future::pending::<()>());
        let (made, _) = tokio::join!(endless, tasks.shut_down());
        assert_eq!(made, Err(GivenUp));
        making.made(task).await;
        assert_eq!(making.make(&tasks, task, async { 7 }).await, Err(GivenUp));
        assert_eq!(making.tasks(), []);
    }
}

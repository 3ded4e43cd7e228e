//! Containers. Each has one **owner**: a task that runs its verbs one after the other and hears its shim.
//!
//! Others hold a [`Container`]: they read its published [`View`] at any time without waiting, and send the
//! owner jobs. Verbs that take long (stop, wait) send short jobs and watch the view in between, so that a
//! kill never queues behind a stop. Containers share no lock that is held across an await; different
//! containers never wait for each other.
//!
//! Life of a run: [`start`] prepares network and runtime spec, spawns the shim, tells it to run; the owner
//! follows the shim's events; [`exit`] first reports the end, then cleans up, then decides on restart and
//! removal. [`restore`] does the same for what a previous daemon left.

pub mod health;
pub mod lifecycle;
pub mod record;
pub mod restart_policy;
pub mod session;
pub mod settle;
pub mod view;
pub mod wait;

pub(crate) mod attach;
pub(crate) mod create;
pub(crate) mod kill;
pub(crate) mod networks;
pub(crate) mod pause;
pub(crate) mod remove;
pub(crate) mod rename;
pub(crate) mod restart;
pub(crate) mod restore;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod update;

mod exit;
mod owner;
mod probe;
mod shim;
mod unfinished;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use shoal_model::{Classified, ContainerId};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::Error;
use lifecycle::Verb;
pub(crate) use owner::Owner;
use record::Paths;
use session::PendingAttach;
use view::View;

/// Jobs that wait for one owner at most; further callers wait to enqueue.
const JOBS_MAX: usize = 64;

/// Work for an owner.
pub(crate) type Job = Box<dyn for<'a> FnOnce(&'a mut Owner) -> BoxFuture<'a, ()> + Send>;

/// A handle to one container.
#[derive(Debug)]
pub struct Container {
    /// Its id.
    pub id: ContainerId,
    /// Its files.
    pub(crate) paths: Paths,
    pub(crate) view: watch::Sender<View>,
    jobs: mpsc::Sender<Job>,
    /// Clients that attached before the start.
    pub(crate) pending: Mutex<Vec<PendingAttach>>,
}

impl Container {
    /// A new handle and the queue its owner serves.
    pub(crate) fn new(paths: Paths, view: View) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let (jobs, queue) = mpsc::channel(JOBS_MAX);
        let id = view.record.id.clone();
        let container =
            Self { id, paths, view: watch::Sender::new(view), jobs, pending: Mutex::default() };
        (Arc::new(container), queue)
    }

    /// What it is now.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Has the owner do `job`. The job runs to its end even if the caller goes away.
    ///
    /// # Errors
    /// When the container is removed meanwhile, or the daemon stops.
    pub(crate) async fn ask<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Owner) -> BoxFuture<'a, T> + Send + 'static,
    {
        let (answer, receiver) = oneshot::channel();
        let job: Job = Box::new(move |owner| {
            let work = job(owner);
            Box::pin(async move {
                // The caller may be gone: then nobody needs the answer.
                let _ = answer.send(work.await);
            })
        });
        let gone = || Error::NoSuchContainer { name: self.id.to_string() };
        self.jobs.send(job).await.map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())
    }

    /// Returns when the owner has done all that it was asked for before.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(crate) async fn turn(&self) -> Result<(), Error> {
        self.ask(|_| Box::pin(std::future::ready(()))).await
    }

    /// Checks whether `verb` is possible now.
    pub(crate) fn permit(&self, verb: Verb) -> Result<(), Error> {
        permit(&self.view.borrow(), verb)
    }

    pub(crate) fn take_pending(&self) -> Vec<PendingAttach> {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Checks whether `verb` is possible for what `view` shows.
pub(crate) fn permit(view: &View, verb: Verb) -> Result<(), Error> {
    let name = view.name();
    let id = view.record.id.as_str();
    lifecycle::permit(verb, view.state.phase, name, id).map_err(|refusal| Error::Phase {
        container: name.to_owned(),
        phase: view.state.phase,
        kind: refusal.kind,
        fact: refusal.fact,
    })
}

/// Attributes of a container's events: its labels, image and name, and `extra`.
pub(crate) fn attributes(view: &View, extra: &[(&str, String)]) -> BTreeMap<String, String> {
    let mut attributes = view.record.spec.labels.clone();
    attributes.insert("image".to_owned(), view.record.spec.image.clone());
    attributes.insert("name".to_owned(), view.record.name.clone());
    for (key, value) in extra {
        attributes.insert((*key).to_owned(), value.clone());
    }
    attributes
}

/// Whether an error only says that things are already as asked.
pub(crate) fn is_not_modified(error: &Error) -> bool {
    error.kind() == shoal_model::ErrorKind::NotModified
}

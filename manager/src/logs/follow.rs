//! Logs that go on: of tasks that are there and of those that come, until the reader ends or there is no such service
//! or task any more.
//!
//! Differs from Docker, where following never ends, and where a node that was out of reach is not heard of again.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, SelectAll};
use shoal_base::SharedClock;
use shoal_base::tasks::{TaskKind, Tasks};
use shoal_manager_core::store::{Event, State};
use shoal_model::cluster::logs::{LogLine, LogQuery};
use shoal_model::cluster::{NodeId, ServiceId, TaskId};
use shoal_model::error::Failure;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::book::{Batch, Book};
use super::node::{Ask, Item, Nodes};
use super::plan::Selection;
use super::{Lines, incomplete};
use crate::store::Store;
use crate::watch::Subscription;

/// Lines that wait for a slow reader, beyond what the connections hold.
const QUEUE: usize = 256;
/// Before a node that was not reached, or broke off, is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a client follows.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) selection: Selection,
    pub(super) service: Option<ServiceId>,
    pub(super) query: LogQuery,
}

/// The lines as they come.
pub(super) fn stream(store: Store, nodes: Nodes, tasks: &Tasks, wanted: Wanted) -> Lines {
    let (sender, receiver) = mpsc::channel(QUEUE);
    tasks.spawn(TaskKind::Stream, async move {
        let reader = sender.clone();
        let (state, changes) = store.watch();
        let Wanted { selection, service, query } = wanted;
        let follower = Follower {
            book: Book::new(&state, selection, query.since, query.tail),
            clock: nodes.clock.clone(),
            pause: None,
            store,
            nodes,
            selection,
            service,
            query,
            channels: BTreeMap::new(),
            open: BTreeMap::new(),
            streams: SelectAll::new(),
            batches: 0,
            sender,
        };
        // The end of the reader drops everything else.
        tokio::select! {
            () = follower.run(&state, changes) => {}
            () = reader.closed() => {}
        }
    });
    ReceiverStream::new(receiver).boxed()
}

struct Follower {
    store: Store,
    nodes: Nodes,
    clock: SharedClock,
    selection: Selection,
    service: Option<ServiceId>,
    query: LogQuery,
    book: Book,
    channels: BTreeMap<NodeId, (String, Channel)>,
    /// By number.
    open: BTreeMap<u64, Batch>,
    /// `None` at a batch's end.
    streams: SelectAll<BoxStream<'static, (u64, Option<Item>)>>,
    batches: u64,
    pause: Option<BoxFuture<'static, ()>>,
    sender: mpsc::Sender<Result<LogLine, Failure>>,
}

impl Follower {
    async fn run(mut self, state: &State, mut changes: Subscription) {
        self.look(state);
        loop {
            if self.open.is_empty() && !self.selection.exists(&self.store.view()) {
                return;
            }
            let pause = async {
                match &mut self.pause {
                    Some(pause) => pause.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                came = changes.next() => match came {
                    Ok(batches) => {
                        let mut events = batches.iter().flat_map(|batch| &batch.events);
                        if events.any(|event| concerns(self.selection, event)) {
                            self.look(&self.store.view());
                        }
                    }
                    Err(_) => {
                        let (state, fresh) = self.store.watch();
                        changes = fresh;
                        self.look(&state);
                    }
                },
                Some((number, heard)) = self.streams.next() => {
                    if self.hear(number, heard).await.is_err() {
                        return;
                    }
                }
                () = pause => {
                    self.pause = None;
                    self.book.resume();
                    self.look(&self.store.view());
                }
            }
        }
    }

    /// Opens what can be read and is not.
    fn look(&mut self, state: &State) {
        for batch in self.book.open(state) {
            let channel = match self.channels.get(&batch.node) {
                Some((address, channel)) if *address == batch.address => Ok(channel.clone()),
                _ => self.nodes.channel(batch.node, &batch.address).inspect(|channel| {
                    let known = (batch.address.clone(), channel.clone());
                    self.channels.insert(batch.node, known);
                }),
            };
            let query = LogQuery { since: batch.since, tail: batch.tail, ..self.query.clone() };
            let (node, tasks) = (batch.node, batch.tasks.clone());
            let ask = Ask { node, service: self.service, tasks, query };
            let number = self.batches;
            self.batches += 1;
            let items = self.nodes.lines(channel, ask).map(move |item| (number, Some(item)));
            self.streams.push(items.chain(stream::iter([(number, None)])).boxed());
            self.open.insert(number, batch);
        }
    }

    async fn hear(&mut self, number: u64, heard: Option<Item>) -> Result<(), ReaderGone> {
        match heard {
            Some(Item::Line(line)) => {
                self.book.line(line.origin.task, line.at);
                self.send(Ok(line)).await?;
            }
            Some(Item::Unreadable(reason)) => self.send(Err(incomplete(&[reason]))).await?,
            Some(Item::Broken { .. }) => {
                let tasks: &[TaskId] = self.open.get(&number).map_or(&[], |batch| &batch.tasks);
                self.book.pause(tasks);
                self.pause.get_or_insert_with(|| self.clock.sleep(AGAIN));
            }
            None => {
                if let Some(batch) = self.open.remove(&number) {
                    self.book.end(&batch.tasks);
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, line: Result<LogLine, Failure>) -> Result<(), ReaderGone> {
        self.sender.send(line).await.map_err(|_| ReaderGone)
    }
}

struct ReaderGone;

/// Whether more may be readable after an event.
fn concerns(selection: Selection, event: &Event) -> bool {
    match event {
        Event::Task(diff) => diff.latest().is_some_and(|task| selection.contains(task)),
        Event::Node(_) | Event::Service(_) => true,
        Event::Cluster(_) | Event::Network(_) | Event::Secret(_) | Event::Config(_) => false,
    }
}

//! Which nodes live: sessions, missed heartbeats, nodes that stay away.
//!
//! Pure: `now` is monotonic, deadlines are in the state. The driver turns effects into transactions. Lives on the leader;
//! a new leader begins with [`Liveness::new`], which gives each node double grace, so that a change of the
//! leader marks no healthy node down, and writes nothing.
//!
//! Silence says something of a node only while the leader listens. It looks at least once a heartbeat; a look that comes
//! late says that it stood still, or had no quorum without which no session begins: then all clocks begin anew.
//!
//! Source: swarmkit `manager/dispatcher/nodes.go`, `manager/dispatcher/dispatcher.go` (constants).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use shoal_model::Timestamp;
use shoal_model::cluster::{NodeId, SessionId};

/// Heartbeats that may be missed.
pub const MISSED_MAX: u32 = 3;
/// A node that was down for so long loses its tasks.
pub const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 3600);
/// Between two looks of the leader that nothing else asks for, however short the heartbeats.
const LOOK_MIN: Duration = Duration::from_secs(1);
/// Registrations of one node within [`REGISTRATION_WINDOW`].
pub const REGISTRATIONS_MAX: usize = 3;
/// See [`REGISTRATIONS_MAX`].
pub const REGISTRATION_WINDOW: Duration = Duration::from_secs(8);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum Event {
    /// A session began, on any manager.
    Registered { node: NodeId, session: SessionId, period: Duration },
    /// A sign of life.
    Heartbeat { node: NodeId, session: SessionId, period: Duration },
    /// The node says goodbye.
    Left { node: NodeId, session: SessionId },
    /// The node is no member any more.
    Removed { node: NodeId },
    /// The leader listens, and a deadline may have passed.
    Tick,
}

/// What the driver must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names of the fields say it")]
pub enum Effect {
    /// Has a live session: write Ready.
    Ready { node: NodeId },
    /// Missed its heartbeats, or left: write Down.
    Down { node: NodeId },
    /// Was away for [`ORPHAN_AFTER`]: its tasks become orphans.
    Orphan { node: NodeId },
    /// Not the session of its node any more: whoever serves it ends it.
    End { session: SessionId },
}

impl Effect {
    /// The node whose object it changes.
    pub const fn node(&self) -> Option<NodeId> {
        match self {
            Self::Ready { node } | Self::Down { node } | Self::Orphan { node } => Some(*node),
            Self::End { .. } => None,
        }
    }
}

/// A node as a new leader finds it in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Id.
    pub node: NodeId,
    /// For how long it has been away; `None`: it has not.
    pub away: Option<Duration>,
    /// Whether the store says Ready.
    pub ready: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// Alive until the deadline; the store says `ready`.
    Alive { session: Option<SessionId>, deadline: Timestamp, ready: bool },
    /// Away; its tasks become orphans at the time, `None`: they have.
    Away { orphan_at: Option<Timestamp> },
}

/// Liveness of all nodes.
#[derive(Debug, Clone)]
pub struct Liveness {
    nodes: BTreeMap<NodeId, Clock>,
    /// (deadline, node), so that a tick costs what is due.
    deadlines: std::collections::BTreeSet<(Timestamp, NodeId)>,
    /// Of the newest beat; at first that of the cluster.
    period: Duration,
    /// When the last [`Event::Tick`] came.
    looked: Timestamp,
}

impl Liveness {
    /// For a leader that begins: clocks of nodes that were not away run for double grace.
    pub fn new(now: Timestamp, period: Duration, nodes: impl IntoIterator<Item = Known>) -> Self {
        let mut liveness = Self {
            nodes: BTreeMap::new(),
            deadlines: std::collections::BTreeSet::new(),
            period,
            looked: now,
        };
        for Known { node, away, ready } in nodes {
            let clock = match away {
                Some(away) => {
                    Clock::Away { orphan_at: Some(now.after(ORPHAN_AFTER.saturating_sub(away))) }
                }
                None => Clock::Alive { session: None, deadline: now.after(fresh(period)), ready },
            };
            liveness.set(node, Some(clock));
        }
        liveness
    }

    /// Takes one event in.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Vec<Effect>) {
        match event {
            Event::Registered { node, session, period } => {
                let ready = match self.nodes.get(&node) {
                    Some(&Clock::Alive { session: before, ready, .. }) => {
                        let replaced = before.filter(|&before| before != session);
                        out.extend(replaced.map(|session| Effect::End { session }));
                        ready
                    }
                    Some(Clock::Away { .. }) | None => false,
                };
                self.revive(now, node, session, period, ready, out);
            }
            Event::Heartbeat { node, session, period } => match self.nodes.get(&node) {
                Some(&Clock::Alive { session: Some(current), .. }) if current != session => {
                    out.push(Effect::End { session });
                }
                Some(&Clock::Alive { ready, .. }) => {
                    self.revive(now, node, session, period, ready, out);
                }
                // It was given up: it must register, so that it gets a complete set.
                Some(Clock::Away { .. }) | None => out.push(Effect::End { session }),
            },
            Event::Left { node, session } => {
                if let Some(Clock::Alive { session: current, .. }) = self.nodes.get(&node)
                    && current.is_none_or(|current| current == session)
                {
                    self.set(node, Some(Clock::Away { orphan_at: Some(now.after(ORPHAN_AFTER)) }));
                    out.push(Effect::Down { node });
                }
            }
            Event::Removed { node } => {
                if let Some(Clock::Alive { session: Some(session), .. }) = self.nodes.get(&node) {
                    out.push(Effect::End { session: *session });
                }
                self.set(node, None);
            }
            Event::Tick => {
                if now.since(self.next_deadline()) > self.period / 2 {
                    self.begin_anew(now);
                }
                self.looked = now;
                self.expire(now, out);
            }
        }
    }

    /// When [`Event::Tick`] is due, at least once a heartbeat.
    pub fn next_deadline(&self) -> Timestamp {
        let look = self.looked.after(self.period.max(LOOK_MIN));
        self.deadlines.first().map_or(look, |&(deadline, _)| deadline.min(look))
    }

    /// Whether an effect that is not written yet is still to be: a node may have come back meanwhile, or be gone again.
    pub fn still(&self, effect: &Effect) -> bool {
        let alive = |node| matches!(self.nodes.get(node), Some(Clock::Alive { .. }));
        match effect {
            Effect::Ready { node } => alive(node),
            Effect::Down { node } | Effect::Orphan { node } => !alive(node),
            Effect::End { .. } => true,
        }
    }

    /// As for a leader that begins. Who was away before stays so.
    fn begin_anew(&mut self, now: Timestamp) {
        let earliest = now.after(fresh(self.period));
        let alive = self.nodes.iter().filter_map(|(node, clock)| match *clock {
            Clock::Alive { session, deadline, ready } => {
                Some((*node, Clock::Alive { session, deadline: deadline.max(earliest), ready }))
            }
            Clock::Away { .. } => None,
        });
        for (node, clock) in alive.collect::<Vec<_>>() {
            self.set(node, Some(clock));
        }
    }

    fn revive(
        &mut self,
        now: Timestamp,
        node: NodeId,
        session: SessionId,
        period: Duration,
        ready: bool,
        out: &mut Vec<Effect>,
    ) {
        let deadline = now.after(grace(period));
        self.period = period;
        self.set(node, Some(Clock::Alive { session: Some(session), deadline, ready: true }));
        if !ready {
            out.push(Effect::Ready { node });
        }
    }

    fn expire(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        while let Some(&(deadline, node)) = self.deadlines.first()
            && deadline <= now
        {
            match self.nodes.get(&node) {
                Some(&Clock::Alive { session, .. }) => {
                    out.extend(session.map(|session| Effect::End { session }));
                    out.push(Effect::Down { node });
                    self.set(node, Some(Clock::Away { orphan_at: Some(now.after(ORPHAN_AFTER)) }));
                }
                Some(Clock::Away { .. }) => {
                    out.push(Effect::Orphan { node });
                    self.set(node, Some(Clock::Away { orphan_at: None }));
                }
                None => drop(self.deadlines.pop_first()),
            }
        }
    }

    fn set(&mut self, node: NodeId, clock: Option<Clock>) {
        let before = match clock {
            Some(clock) => self.nodes.insert(node, clock),
            None => self.nodes.remove(&node),
        };
        if let Some(deadline) = before.and_then(Clock::deadline) {
            self.deadlines.remove(&(deadline, node));
        }
        if let Some(deadline) = clock.and_then(Clock::deadline) {
            self.deadlines.insert((deadline, node));
        }
    }
}

impl Clock {
    fn deadline(self) -> Option<Timestamp> {
        match self {
            Self::Alive { deadline, .. } => Some(deadline),
            Self::Away { orphan_at } => orphan_at,
        }
    }
}

fn grace(period: Duration) -> Duration {
    period * MISSED_MAX
}

/// For clocks that begin before their nodes were heard: time to find a manager.
fn fresh(period: Duration) -> Duration {
    grace(period) * 2
}

/// A period within a tenth of the wished one, chosen by random bits, so that nodes spread.
pub fn jittered(period: Duration, random: u32) -> Duration {
    let spread = period / 5;
    (period - period / 10) + spread.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// How often nodes register.
#[derive(Debug, Clone, Default)]
pub struct RegistrationLimit {
    recent: BTreeMap<NodeId, VecDeque<Timestamp>>,
}

impl RegistrationLimit {
    /// Counts a registration.
    ///
    /// # Errors
    /// How long the node must wait, when it registered too often; then it does not count.
    pub fn admit(&mut self, now: Timestamp, node: NodeId) -> Result<(), Duration> {
        self.recent.retain(|_, times| {
            while times.front().is_some_and(|&time| now.since(time) >= REGISTRATION_WINDOW) {
                times.pop_front();
            }
            !times.is_empty()
        });
        let times = self.recent.entry(node).or_default();
        if let Some(&oldest) = times.front()
            && times.len() >= REGISTRATIONS_MAX
        {
            return Err(REGISTRATION_WINDOW.saturating_sub(now.since(oldest)));
        }
        times.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests;

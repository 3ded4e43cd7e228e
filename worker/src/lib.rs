//! The node agent: session, assignments, task lifecycles.
//!
//! [`agent`] owns all state and is the only one who decides; [`lifecycle`], [`assignments`], [`reports`] and [`managers`]
//! are its pure parts; [`session`] talks to managers, [`executor`] is the port to the engine, [`networks`] that to the
//! networks of the cluster, [`storage`] the disk, [`node_api`] what managers ask of the node's tasks,
//! [`visits`] the port by which that reaches into containers.

pub mod agent;
pub mod assignments;
pub mod attach;
pub mod executor;
mod known_views;
pub mod lifecycle;
pub mod managers;
pub mod networks;
pub mod node_api;
pub mod reports;
pub mod session;
pub mod storage;
pub mod template;
pub mod visits;

#[cfg(test)]
mod testing;

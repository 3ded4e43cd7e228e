//! The name server of user-defined networks: 127.0.0.11 in each sandbox.
//!
//! Its sockets lie in the sandbox's namespace, on a high port of that address; a rule in the namespace
//! leads port 53 of the address there, so that a program in the sandbox may bind port 53 itself. Copies of
//! the sockets are kept outside while the daemon restarts: queries queue in them and are answered later.
//!
//! [`message`] and [`view`] are pure; [`sockets`] and [`forward`] are effects; [`server`] joins them.

pub mod cluster;
pub mod forward;
pub mod message;
pub mod server;
pub mod sockets;
pub mod view;

use std::net::Ipv4Addr;

pub use cluster::ClusterNames;
pub use server::{Dns, Service};

/// Where the name server answers in a sandbox.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// The port that programs ask.
pub const PORT: u16 = 53;

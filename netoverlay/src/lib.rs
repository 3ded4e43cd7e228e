//! Networks of one host: bridges, sandboxes, addresses, published ports, nftables.
//!
//! [`Networks`] is the whole of it for callers. It knows sandboxes, not containers: the daemon adapts.
//! Three layers: plain types and checks ([`network`], [`endpoint`], [`sandbox`], [`subnet`], [`ipam`]) and
//! the desired kernel state ([`plan`]) are pure; [`kernel`] does single effects; [`Networks`] puts them
//! together, keeps the records and undoes what failed.

pub mod dns;
pub mod endpoint;
pub mod error;
pub mod ipam;
pub mod kernel;
pub mod network;
mod networks;
pub mod parent;
pub mod plan;
pub mod sandbox;
pub mod settings;
mod store;
pub mod subnet;

pub use error::Error;
pub use networks::overlay::network_id;
pub use networks::{Networks, Ports};
pub use settings::Settings;

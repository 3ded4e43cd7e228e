//! Docker Engine API: routes, conversions, errors to status.
//!
//! The API reaches the engine through its [`ports`] only. A request goes: version (`router`), handler
//! (`routes`), conversion (`convert`, pure), port; the answer goes back the same way, failures through
//! `error`, which alone knows statuses and dockerd's words.

mod body;
mod convert;
mod error;
pub mod ports;
mod request;
mod router;
mod routes;
pub mod server;
mod stream;

pub use ports::Ports;
pub use router::router;

/// The credentials in an `X-Registry-Auth` header; `None` when there are none.
pub fn registry_auth(header: &str) -> Option<shoal_model::image::Credentials> {
    convert::image::registry_auth(header)
}

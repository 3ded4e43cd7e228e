//! Addresses of endpoints and subnets of networks. Pure: no I/O; what is persisted are the endpoints.

mod addresses;
mod pools;

pub use addresses::{Addresses, Error};
pub use pools::{Pool, PoolError, choose, defaults};

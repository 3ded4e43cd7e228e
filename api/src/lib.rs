//! Docker Engine API: routes, conversions, errors to status.

pub mod ports;

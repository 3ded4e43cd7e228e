//! Networks of one host: planner and kernel.

pub mod endpoint;
pub mod kernel;
pub mod plan;
pub mod subnet;

//! Pure decisions of a cluster: store, orchestrators, scheduler, allocator.

pub mod assignment;
pub mod liveness;

//! Pure decisions of a cluster: store, orchestrators, scheduler, allocator.

pub mod constraint;
pub mod prefix;
#[cfg(test)]
pub(crate) mod samples;

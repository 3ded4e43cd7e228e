//! Pure decisions of a cluster: store, orchestrators, scheduler, allocator.

//! Content store, layer snapshots, images and registries.

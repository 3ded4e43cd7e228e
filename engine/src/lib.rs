//! The container engine of one host.

//! Tests of the engine on the kernel: real shims, busybox containers. They need root and
//! `busybox-static`.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod daemon_restart;
mod files;
mod lifecycle;
mod streams;
mod support;

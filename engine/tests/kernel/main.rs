//! Tests of the engine on the kernel: real shims, busybox containers. They need root and
//! `busybox-static`.

mod daemon_restart;
mod lifecycle;
mod streams;
mod support;

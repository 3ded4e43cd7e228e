//! Streams: frames, detach keys, hijacked connections, JSON sequences.

pub(crate) mod detach;
pub(crate) mod frame;
pub(crate) mod hijack;
pub(crate) mod sequence;
pub(crate) mod websocket;

//! Attached streams: demultiplexing, raw terminal, detach keys, signals, window size.

pub(crate) mod demux;
pub(crate) mod keys;
pub(crate) mod live;
pub(crate) mod progress;
pub(crate) mod pump;
pub(crate) mod signals;
pub(crate) mod terminal;

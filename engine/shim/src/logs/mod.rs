//! Where output is recorded. A full disk never stops a container: records are dropped and counted.
//! Effects; `lines`, `json_file::line` and `rotation` decisions are pure.

pub(crate) mod behind;
pub(crate) mod compress;
pub(crate) mod file;
pub(crate) mod journald;
pub(crate) mod json_file;
pub(crate) mod lines;
pub(crate) mod syslog;

use std::path::Path;

use shoal_shim_protocol::config::{LogSink, ShimConfig};
use shoal_shim_protocol::local_log::{self, Record};

use crate::failure::Result;
use file::RotatedFile;

/// Where a container's records go.
#[derive(Debug)]
pub(crate) struct Logs {
    to: To,
    dropped: u64,
    encoded: Vec<u8>,
}

#[derive(Debug)]
enum To {
    Sinks(Sinks),
    /// By another process.
    Behind(behind::Behind),
}

impl Logs {
    /// Opens what the container in `directory` writes to.
    pub(crate) fn open(config: &ShimConfig, directory: &Path) -> Result<Self> {
        let sinks = Sinks::open(&config.logs)?;
        let to = match config.log_buffer {
            // The other opens them again; here is seen whether that will go well.
            Some(_) if !config.logs.is_empty() => {
                drop(sinks);
                To::Behind(behind::Behind::begin(directory)?)
            }
            _ => To::Sinks(sinks),
        };
        Ok(Self { to, dropped: 0, encoded: Vec::new() })
    }

    /// Records one line.
    pub(crate) fn write(&mut self, record: &Record<'_>) {
        self.dropped += match &mut self.to {
            To::Sinks(sinks) => sinks.write(record),
            To::Behind(behind) => u64::from(!behind.give(record, &mut self.encoded)),
        };
    }

    /// No line follows.
    pub(crate) fn finish(&mut self) {
        if let To::Behind(behind) = &mut self.to {
            behind.finish();
        }
    }

    /// Records lost so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// All sinks of a container.
#[derive(Debug)]
pub(crate) struct Sinks {
    sinks: Vec<Sink>,
    encoded: Vec<u8>,
}

#[derive(Debug)]
enum Sink {
    Json(RotatedFile, String),
    Local(RotatedFile),
    Syslog(syslog::Syslog),
    Journald(journald::Journald),
}

impl Sinks {
    /// Opens all of them.
    pub(crate) fn open(sinks: &[LogSink]) -> Result<Self> {
        let open = |sink: &LogSink| match sink {
            LogSink::JsonFile { file, attributes } => {
                Ok(Sink::Json(RotatedFile::open(file, b"")?, json_file::attributes(attributes)))
            }
            LogSink::Local { file } => Ok(Sink::Local(RotatedFile::open(file, &local_log::MAGIC)?)),
            LogSink::Syslog { address, format, facility, tag, hostname } => {
                let style = syslog::Style {
                    format: *format,
                    facility: *facility,
                    tag: tag.clone(),
                    hostname: hostname.clone(),
                    pid: std::process::id(),
                };
                Ok(Sink::Syslog(syslog::Syslog::open(address, style)?))
            }
            LogSink::Journald { socket, fields } => {
                Ok(Sink::Journald(journald::Journald::open(socket, fields)?))
            }
        };
        let sinks = sinks.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { sinks, encoded: Vec::new() })
    }

    /// Records one line; gives how many of them lost it.
    pub(crate) fn write(&mut self, record: &Record<'_>) -> u64 {
        let mut dropped = 0;
        for sink in &mut self.sinks {
            self.encoded.clear();
            let written = match sink {
                Sink::Json(file, attributes) => {
                    json_file::line(record, attributes, &mut self.encoded);
                    file.append(&self.encoded)
                }
                Sink::Local(file) => {
                    local_log::encode(record, &mut self.encoded);
                    file.append(&self.encoded)
                }
                Sink::Syslog(server) => server.send(record),
                Sink::Journald(journal) => journal.send(record),
            };
            dropped += u64::from(written.is_err());
        }
        dropped
    }
}

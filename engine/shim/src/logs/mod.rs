//! Where output is recorded. A full disk never stops a container: records are dropped and counted.
//! Effects; `lines`, `json_file::line` and `rotation` decisions are pure.

pub(crate) mod compress;
pub(crate) mod file;
pub(crate) mod journald;
pub(crate) mod json_file;
pub(crate) mod lines;
pub(crate) mod syslog;

use shoal_shim_protocol::config::LogSink;
use shoal_shim_protocol::local_log::{self, Record};

use crate::failure::Result;
use file::RotatedFile;

/// All sinks of a container.
#[derive(Debug)]
pub(crate) struct Logs {
    sinks: Vec<Sink>,
    dropped: u64,
    encoded: Vec<u8>,
}

#[derive(Debug)]
enum Sink {
    Json(RotatedFile, String),
    Local(RotatedFile),
    Syslog(syslog::Syslog),
    Journald(journald::Journald),
}

impl Logs {
    /// Opens all sinks.
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
        Ok(Self { sinks, dropped: 0, encoded: Vec::new() })
    }

    /// Records one line.
    pub(crate) fn write(&mut self, record: &Record<'_>) {
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
            if written.is_err() {
                self.dropped += 1;
            }
        }
    }

    /// Records lost so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

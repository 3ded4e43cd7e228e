//! Where output is recorded. A full disk never stops a container: records are dropped and counted.
//! Effects; `lines`, `json_file::line` and `rotation` decisions are pure.

pub(crate) mod file;
pub(crate) mod json_file;
pub(crate) mod lines;

use shoal_shim_protocol::config::LogSink;
use shoal_shim_protocol::local_log::{self, Record};
use shoal_shim_protocol::message::FailureKind;

use crate::failure::{Result, failure};
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
}

impl Logs {
    /// Opens all sinks.
    pub(crate) fn open(sinks: &[LogSink]) -> Result<Self> {
        let open = |sink: &LogSink| match sink {
            LogSink::JsonFile { file, attributes } => {
                Ok(Sink::Json(RotatedFile::open(file, b"")?, json_file::attributes(attributes)))
            }
            LogSink::Local { file } => Ok(Sink::Local(RotatedFile::open(file, &local_log::MAGIC)?)),
            LogSink::Syslog { .. } | LogSink::Journald { .. } => Err(failure(
                FailureKind::NotImplemented,
                "log drivers syslog and journald are not served by this shim",
            )),
        };
        let sinks = sinks.iter().map(open).collect::<Result<_>>()?;
        Ok(Self { sinks, dropped: 0, encoded: Vec::new() })
    }

    /// Records one line.
    pub(crate) fn write(&mut self, record: &Record<'_>) {
        for sink in &mut self.sinks {
            self.encoded.clear();
            let file = match sink {
                Sink::Json(file, attributes) => {
                    json_file::line(record, attributes, &mut self.encoded);
                    file
                }
                Sink::Local(file) => {
                    local_log::encode(record, &mut self.encoded);
                    file
                }
            };
            if file.append(&self.encoded).is_err() {
                self.dropped += 1;
            }
        }
    }

    /// Records lost so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

//! The two formats on disk: docker's `json-file` and our `local`. Pure.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use shoal_model::Timestamp;
use shoal_model::container::{LogRecord, OutputKind};
use shoal_shim_protocol::local_log;
use shoal_shim_protocol::stdcopy::Stream;

/// How records lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object per line.
    Json,
    /// [`local_log`].
    Local,
}

/// A file holds something that is no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log record is malformed: {0}")]
pub(crate) struct Malformed(pub String);

#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow, default)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// Collects bytes of one file and hands out whole records.
#[derive(Debug)]
pub(crate) struct Decoder {
    format: Format,
    bytes: Vec<u8>,
    at: usize,
}

impl Decoder {
    /// For the bytes of one file from the start of a record.
    pub(crate) fn new(format: Format) -> Self {
        Self { format, bytes: Vec::new(), at: 0 }
    }

    /// How the file is read.
    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Adds bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole record, if there is one.
    pub(crate) fn next_record(&mut self) -> Result<Option<LogRecord>, Malformed> {
        match self.format {
            Format::Json => self.next_json(),
            Format::Local => self.next_local(),
        }
    }

    fn next_json(&mut self) -> Result<Option<LogRecord>, Malformed> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
        let record = parse_json(&rest[..end]);
        self.at += end + 1;
        record.map(Some)
    }

    fn next_local(&mut self) -> Result<Option<LogRecord>, Malformed> {
        let rest = &self.bytes[self.at..];
        let malformed = |error: local_log::Error| Malformed(error.to_string());
        if let Some((record, length)) = local_log::decode(rest).map_err(malformed)? {
            let made = from_local(&record);
            self.at += length;
            return Ok(Some(made));
        }
        Ok(None)
    }
}

fn parse_json(line: &[u8]) -> Result<LogRecord, Malformed> {
    let malformed = |error: String| Malformed(error);
    let parsed: JsonLine<'_> =
        serde_json::from_slice(line).map_err(|error| malformed(error.to_string()))?;
    let time: jiff::Timestamp =
        parsed.time.parse().map_err(|e: jiff::Error| malformed(e.to_string()))?;
    let nanos = i64::try_from(time.as_nanosecond()).map_err(|e| malformed(e.to_string()))?;
    Ok(LogRecord {
        at: Timestamp::from_nanos(nanos),
        kind: if parsed.stream == "stderr" { OutputKind::Stderr } else { OutputKind::Stdout },
        line: parsed.log.into_owned().into_bytes(),
        attributes: parsed.attrs,
    })
}

fn from_local(record: &local_log::Record<'_>) -> LogRecord {
    let mut line = record.line.to_vec();
    if !record.partial {
        line.push(b'\n');
    }
    LogRecord {
        at: Timestamp::from_nanos(record.time_ns),
        kind: match record.stream {
            Stream::Stdout => OutputKind::Stdout,
            Stream::Stderr => OutputKind::Stderr,
        },
        line,
        attributes: BTreeMap::new(),
    }
}

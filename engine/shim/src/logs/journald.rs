//! The `journald` driver: datagrams of the journal's native protocol. `entry` is pure.
//!
//! Source: systemd `docs/JOURNAL_NATIVE_PROTOCOL.md`; moby `daemon/logger/journald/journald.go`.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use shoal_shim_protocol::local_log::Record;
use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::stdcopy::Stream;

use crate::failure::{Context, Result};

/// A connection to the journal.
#[derive(Debug)]
pub(crate) struct Journald {
    socket: UnixDatagram,
    path: std::path::PathBuf,
    fields: Vec<u8>,
}

fn field(name: &str, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn entry(fields: &[u8], record: &Record<'_>) -> Vec<u8> {
    let mut out = fields.to_vec();
    field("PRIORITY", if record.stream == Stream::Stdout { b"6" } else { b"3" }, &mut out);
    if record.partial {
        field("CONTAINER_PARTIAL_MESSAGE", b"true", &mut out);
    }
    field("MESSAGE", record.line, &mut out);
    out
}

impl Journald {
    /// Connects; an absent journal is an error.
    pub(crate) fn open(path: &Path, fields: &BTreeMap<String, String>) -> Result<Self> {
        let failed = || format!("connect to the journal at `{}`", path.display());
        let socket = UnixDatagram::unbound().failing(FailureKind::LogDriver, failed)?;
        socket.set_nonblocking(true).failing(FailureKind::LogDriver, failed)?;
        socket.connect(path).failing(FailureKind::LogDriver, failed)?;
        let mut constant = Vec::new();
        for (name, value) in fields {
            field(name, value.as_bytes(), &mut constant);
        }
        Ok(Self { socket, path: path.to_owned(), fields: constant })
    }

    /// Sends one line. The journal may have been restarted.
    pub(crate) fn send(&self, record: &Record<'_>) -> std::io::Result<()> {
        let bytes = entry(&self.fields, record);
        match self.socket.send(&bytes) {
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                self.socket.connect(&self.path)?;
                self.socket.send(&bytes).map(drop)
            }
            result => result.map(drop),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let record = Record { time_ns: 0, stream: Stream::Stderr, partial: true, line: b"hi" };
        let expected = "A=b\nPRIORITY=3\nCONTAINER_PARTIAL_MESSAGE=true\nMESSAGE=hi\n";
        assert_eq!(entry(b"A=b\n", &record), expected.as_bytes());
        let mut out = Vec::new();
        field("X", b"1\n2", &mut out);
        assert_eq!(out, b"X\n\x03\0\0\0\0\0\0\x001\n2\n");
    }
}

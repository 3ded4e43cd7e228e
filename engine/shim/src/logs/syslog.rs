//! The `syslog` driver. A server that is slow or away loses messages, which are counted; it never
//! stops the container. `message` is pure.
//!
//! Source: moby `daemon/logger/syslog/syslog.go`; RFC 3164, RFC 5424. Differs: times are UTC.

use std::io::{ErrorKind, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

use shoal_shim_protocol::config::{SyslogAddress, SyslogFormat};
use shoal_shim_protocol::local_log::Record;
use shoal_shim_protocol::message::FailureKind;
use shoal_shim_protocol::stdcopy::Stream;

use super::json_file::rfc3339;
use crate::failure::{Context, Result};
use crate::sys;

/// Unsent bytes of a stream connection beyond which messages are dropped.
const UNSENT_BYTES_MAX: usize = 256 << 10;
/// A lost connection is tried again after so long, for at most so long.
const RETRY_MS: i64 = 5_000;
const CONNECT_MAX: Duration = Duration::from_millis(500);

/// How messages look.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    pub(crate) format: SyslogFormat,
    pub(crate) facility: u8,
    pub(crate) tag: String,
    pub(crate) hostname: String,
    pub(crate) pid: u32,
}

/// A connection to a server.
#[derive(Debug)]
pub(crate) struct Syslog {
    address: SyslogAddress,
    style: Style,
    link: Option<Link>,
    unsent: Vec<u8>,
    tried_ms: i64,
}

#[derive(Debug)]
enum Link {
    UnixDatagrams(UnixDatagram),
    UnixStream(UnixStream),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// Makes one message.
fn message(style: &Style, record: &Record<'_>) -> Vec<u8> {
    let severity = if record.stream == Stream::Stdout { 6 } else { 3 };
    let priority = u16::from(style.facility) * 8 + severity;
    let time = rfc3339(record.time_ns);
    let Style { tag, hostname, pid, .. } = style;
    let head = match style.format {
        SyslogFormat::Unix => format!("<{priority}>{} {tag}[{pid}]: ", stamp(&time)),
        SyslogFormat::Rfc3164 => format!("<{priority}>{} {hostname} {tag}[{pid}]: ", stamp(&time)),
        SyslogFormat::Rfc5424 => {
            let seconds = time.get(..19).unwrap_or(&time);
            format!("<{priority}>1 {seconds}Z {hostname} {tag} {pid} {tag} - ")
        }
        SyslogFormat::Rfc5424Micro => {
            let micros = record.time_ns.rem_euclid(1_000_000_000) / 1000;
            let seconds = time.get(..19).unwrap_or(&time);
            format!("<{priority}>1 {seconds}.{micros:06}Z {hostname} {tag} {pid} {tag} - ")
        }
    };
    let mut out = head.into_bytes();
    out.extend_from_slice(record.line);
    out.push(b'\n');
    out
}

/// `2024-02-09T12:34:56…` → `Feb  9 12:34:56`.
fn stamp(time: &str) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let number = |from: usize| time.get(from..from + 2).and_then(|text| text.parse::<usize>().ok());
    let month = number(5).and_then(|month| MONTHS.get(month.wrapping_sub(1))).unwrap_or(&"Jan");
    format!("{month} {:>2} {}", number(8).unwrap_or(1), time.get(11..19).unwrap_or("00:00:00"))
}

impl Syslog {
    /// Connects; a server that cannot be reached at the start is an error, as for docker.
    pub(crate) fn open(address: &SyslogAddress, style: Style) -> Result<Self> {
        let link = connect(address)
            .failing(FailureKind::LogDriver, || format!("connect to syslog at {address:?}"))?;
        let tried_ms = sys::monotonic_ms();
        Ok(Self { address: address.clone(), style, link: Some(link), unsent: Vec::new(), tried_ms })
    }

    /// Sends one line.
    pub(crate) fn send(&mut self, record: &Record<'_>) -> std::io::Result<()> {
        if self.link.is_none() && sys::monotonic_ms() - self.tried_ms > RETRY_MS {
            self.tried_ms = sys::monotonic_ms();
            self.link = connect(&self.address).ok();
        }
        let bytes = message(&self.style, record);
        let result = match &mut self.link {
            None => Err(ErrorKind::NotConnected.into()),
            Some(Link::UnixDatagrams(socket)) => socket.send(&bytes).map(drop),
            Some(Link::Udp(socket)) => socket.send(&bytes).map(drop),
            Some(Link::UnixStream(socket)) => queue(socket, &mut self.unsent, &bytes),
            Some(Link::Tcp(socket)) => queue(socket, &mut self.unsent, &bytes),
        };
        let busy = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
        if result.as_ref().is_err_and(|error| !busy(error)) {
            self.link = None;
            self.unsent = Vec::new();
        }
        result
    }
}

/// Sends what the peer takes now and keeps the rest; whole messages only.
fn queue(socket: &mut impl Write, unsent: &mut Vec<u8>, bytes: &[u8]) -> std::io::Result<()> {
    let full = unsent.len() + bytes.len() > UNSENT_BYTES_MAX;
    if !full {
        unsent.extend_from_slice(bytes);
    }
    while !unsent.is_empty() {
        match socket.write(unsent) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => drop(unsent.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    if full { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

fn connect(address: &SyslogAddress) -> std::io::Result<Link> {
    match address {
        SyslogAddress::Unix { path } => {
            let datagrams = UnixDatagram::unbound()?;
            datagrams.set_nonblocking(true)?;
            match datagrams.connect(path) {
                Ok(()) => Ok(Link::UnixDatagrams(datagrams)),
                Err(error) if error.raw_os_error() == Some(libc::EPROTOTYPE) => {
                    let socket = UnixStream::connect(path)?;
                    socket.set_nonblocking(true)?;
                    Ok(Link::UnixStream(socket))
                }
                Err(error) => Err(error),
            }
        }
        SyslogAddress::Udp { address } => {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any)?;
            socket.set_nonblocking(true)?;
            socket.connect(address)?;
            Ok(Link::Udp(socket))
        }
        SyslogAddress::Tcp { address } => {
            let socket = TcpStream::connect_timeout(address, CONNECT_MAX)?;
            socket.set_nonblocking(true)?;
            Ok(Link::Tcp(socket))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(format: SyslogFormat, stream: Stream, expected: &str) {
        let style = Style { format, facility: 3, tag: "web".into(), hostname: "h".into(), pid: 42 };
        let time_ns = 1_707_482_096_120_004_000;
        let record = Record { time_ns, stream, partial: false, line: b"hello" };
        assert_eq!(String::from_utf8(message(&style, &record)).unwrap(), expected);
    }

    #[test]
    fn formats() {
        use SyslogFormat::{Rfc3164, Rfc5424, Rfc5424Micro, Unix};
        check(Unix, Stream::Stdout, "<30>Feb  9 12:34:56 web[42]: hello\n");
        check(Rfc3164, Stream::Stderr, "<27>Feb  9 12:34:56 h web[42]: hello\n");
        check(Rfc5424, Stream::Stdout, "<30>1 2024-02-09T12:34:56Z h web 42 web - hello\n");
        check(
            Rfc5424Micro,
            Stream::Stdout,
            "<30>1 2024-02-09T12:34:56.120004Z h web 42 web - hello\n",
        );
    }

    #[test]
    fn a_full_connection_drops_whole_messages() {
        struct Slow;
        impl Write for Slow {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(ErrorKind::WouldBlock.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut unsent = Vec::new();
        let message = vec![b'x'; UNSENT_BYTES_MAX / 2];
        assert!(queue(&mut Slow, &mut unsent, &message).is_ok());
        assert!(queue(&mut Slow, &mut unsent, &message).is_ok());
        assert!(queue(&mut Slow, &mut unsent, &message).is_err());
        assert_eq!(unsent.len(), UNSENT_BYTES_MAX);
    }
}

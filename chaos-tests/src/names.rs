//! What the name server of a container says, asked by a datagram as any resolver asks.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::traffic::Place;

/// Whoever got no answer asks once more, as resolvers do.
const PATIENCE: Duration = Duration::from_secs(5);
const ATTEMPTS: usize = 2;
const SERVER: &str = "127.0.0.11:53";

impl Place {
    /// The addresses of a name, of both families; none: it is not known.
    ///
    /// # Errors
    /// When there is no answer.
    pub fn resolve(&self, name: &str) -> anyhow::Result<BTreeSet<IpAddr>> {
        let name = name.to_owned();
        self.run(move || {
            let mut found = BTreeSet::new();
            for kind in [1, 28] {
                let asked = (0..ATTEMPTS).find_map(|_| ask(&query(&name, kind)).transpose());
                let answer = asked.with_context(|| format!("no answer to {name}"))??;
                found.extend(answers(&answer)?);
            }
            Ok(found)
        })
    }
}

/// A name server outside that knows no name, until it is dropped: without one, unknown names take as long as a
/// silent server may.
#[derive(Debug)]
pub struct Unknowing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Unknowing {
    /// Begins to answer at an address of the place.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(place: &Place, address: IpAddr) -> anyhow::Result<Self> {
        let socket = place.run(move || Ok(UdpSocket::bind((address, 53))?))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, asker)) = socket.recv_from(&mut buffer) else { continue };
                // An answer; no such name.
                (buffer[2], buffer[3]) = (buffer[2] | 0x80, 0x83);
                drop(socket.send_to(&buffer[..length], asker));
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Unknowing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// `None`: there was no answer in time.
fn ask(query: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(query, SERVER)?;
    let mut buffer = [0; 4096];
    match socket.recv(&mut buffer) {
        Ok(length) => Ok(Some(buffer[..length].to_vec())),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn query(name: &str, kind: u8) -> Vec<u8> {
    let mut bytes = vec![0, kind, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, kind, 0, 1]);
    bytes
}

/// Addresses of a message.
fn answers(message: &[u8]) -> anyhow::Result<BTreeSet<IpAddr>> {
    let word = |at: usize| -> anyhow::Result<usize> {
        let pair = message.get(at..at + 2).context("a short answer")?;
        Ok(usize::from(pair[0]) << 8 | usize::from(pair[1]))
    };
    match word(2)? & 0xf {
        0 => {}
        // No such name; or it is not the cluster's, and who is outside cannot be asked.
        2 | 3 => return Ok(BTreeSet::new()),
        other => bail!("the name server fails with {other}"),
    }
    let skip_name = |mut at: usize| -> anyhow::Result<usize> {
        loop {
            match usize::from(*message.get(at).context("a short answer")?) {
                0 => return Ok(at + 1),
                pointer if pointer >= 0xc0 => return Ok(at + 2),
                length => at += 1 + length,
            }
        }
    };
    let mut at = 12;
    for _ in 0..word(4)? {
        at = skip_name(at)? + 4;
    }
    let mut found = BTreeSet::new();
    for _ in 0..word(6)? {
        at = skip_name(at)?;
        let (kind, length) = (word(at)?, word(at + 8)?);
        let data = message.get(at + 10..at + 10 + length).context("a short answer")?;
        match kind {
            1 => drop(found.insert(Ipv4Addr::from(<[u8; 4]>::try_from(data)?).into())),
            28 => drop(found.insert(Ipv6Addr::from(<[u8; 16]>::try_from(data)?).into())),
            _ => {}
        }
        at += 10 + length;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let mut message = query("web", 1);
        (message[2], message[7]) = (0x81, 2);
        for host in [3, 4] {
            message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 10, 0, 0, host]);
        }
        let expected = [[10, 0, 0, 3], [10, 0, 0, 4]].map(IpAddr::from);
        assert_eq!(answers(&message).unwrap(), expected.into());
        message[3] = 3;
        assert!(answers(&message).unwrap().is_empty());
        message[3] = 4;
        assert!(answers(&message).is_err());
    }
}

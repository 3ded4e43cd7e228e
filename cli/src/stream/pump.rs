//! Copies between our standard streams and a hijacked connection.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::demux::Demux;
use super::keys::Keys;
use crate::client::Hijacked;
use crate::error::{Failure, Result};
use crate::sys;

/// Which streams take part.
#[derive(Debug)]
pub(crate) struct Streams {
    /// Pass standard input on.
    pub(crate) stdin: bool,
    /// Output is a terminal's: not multiplexed.
    pub(crate) raw: bool,
    /// Sequence that ends the session, where we must watch for it.
    pub(crate) keys: Option<Vec<u8>>,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The other side closed the stream.
    Closed,
    /// The user typed the detach keys.
    Detached,
}

/// Copies until the output ends. The end of our input closes theirs and nothing else.
pub(crate) async fn run(connection: Hijacked, streams: Streams) -> Result<Ended> {
    let (mut reader, mut writer) = tokio::io::split(connection);
    // Not by the content type: daemons before API 1.42 call both kinds raw.
    let raw = streams.raw;
    let (tell, mut detached) = tokio::sync::mpsc::channel::<()>(1);
    if streams.stdin {
        let mut keys = streams.keys.map(Keys::new);
        sys::spawn(async move {
            let mut stdin = tokio::io::stdin();
            let mut buffer = vec![0; 32 * 1024];
            loop {
                let count = stdin.read(&mut buffer).await.unwrap_or(0);
                if count == 0 {
                    break;
                }
                let (pass, done) = match &mut keys {
                    Some(keys) => keys.feed(&buffer[..count]),
                    None => (buffer[..count].to_vec(), false),
                };
                if writer.write_all(&pass).await.is_err() {
                    return;
                }
                if done {
                    // The daemon knows the keys too; a refused message means the session is over.
                    let _over = tell.send(()).await;
                    return;
                }
            }
            // A connection that is closed already needs no half-close.
            let _closed = writer.shutdown().await;
            drop(tell);
        });
    } else {
        drop(tell);
    }
    let mut demux = Demux::default();
    let mut buffer = vec![0; 32 * 1024];
    let mut watch = streams.stdin;
    loop {
        let count = tokio::select! {
            count = reader.read(&mut buffer) => count.map_err(|error| Failure::new(error.to_string()))?,
            told = detached.recv(), if watch => {
                if told.is_some() {
                    return Ok(Ended::Detached);
                }
                watch = false;
                continue;
            }
        };
        match count {
            0 => return Ok(Ended::Closed),
            count if raw => sys::out(&buffer[..count]),
            count => demux.write(&buffer[..count]),
        }
    }
}

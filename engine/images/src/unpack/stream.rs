//! Plain, gzip or zstd by the first bytes, decoded and hashed on a thread of its own.

use std::io::{self, BufReader, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};
use shoal_model::Digest;

use super::limits::{Exceeded, Limits};

const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks between decoder and consumer.
const QUEUE: usize = 4;
/// Bytes that tell the format.
const MAGIC_BYTES: usize = 6;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 8878, any number of frames.
    Zstd,
}

/// A stream that cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Known by its first bytes, and not supported.
    #[error("archives compressed with {0} are not supported; use gzip, zstd or none")]
    Unsupported(&'static str),
    /// Reading the first bytes failed.
    #[error("failed to read the archive")]
    Read(#[source] io::Error),
}

/// Tells the compression by the first bytes.
///
/// # Errors
/// [`Error::Unsupported`] names bzip2 and xz.
pub(crate) fn detect(magic: &[u8]) -> Result<Compression, Error> {
    match magic {
        [0x1f, 0x8b, ..] => Ok(Compression::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Ok(Compression::Zstd),
        // A zstd skippable frame.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Compression::Zstd),
        [b'B', b'Z', b'h', ..] => Err(Error::Unsupported("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(Error::Unsupported("xz")),
        _ => Ok(Compression::Plain),
    }
}

/// The uncompressed bytes of `input`, which are not hashed; a plain stream is passed on as it is.
pub(crate) fn plain(
    mut input: Box<dyn Read + Send>,
    limits: Limits,
) -> Result<Box<dyn Read + Send>, Error> {
    let magic = magic(&mut input)?;
    let compression = detect(&magic)?;
    let input: Box<dyn Read + Send> = Box::new(io::Cursor::new(magic).chain(input));
    match compression {
        Compression::Plain => Ok(input),
        Compression::Gzip | Compression::Zstd => Ok(Box::new(DecodedStream::start(input, limits)?)),
    }
}

fn magic(input: &mut dyn Read) -> Result<Vec<u8>, Error> {
    let mut magic = Vec::with_capacity(MAGIC_BYTES);
    input.take(MAGIC_BYTES as u64).read_to_end(&mut magic).map_err(Error::Read)?;
    Ok(magic)
}

/// What came out of a decoded stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoded {
    /// Digest of the uncompressed bytes.
    pub(crate) digest: Digest,
}

/// The uncompressed bytes, decoded on another thread.
#[derive(Debug)]
pub(crate) struct DecodedStream {
    chunks: Option<Receiver<io::Result<Vec<u8>>>>,
    current: Vec<u8>,
    position: usize,
    decoder: Option<JoinHandle<Digest>>,
}

impl DecodedStream {
    /// Starts decoding `input`.
    pub(crate) fn start(mut input: Box<dyn Read + Send>, limits: Limits) -> Result<Self, Error> {
        let magic = magic(&mut input)?;
        let compression = detect(&magic)?;
        let input: Box<dyn Read + Send> = Box::new(io::Cursor::new(magic).chain(input));
        let (sender, chunks) = sync_channel(QUEUE);
        let decoder = std::thread::Builder::new()
            .name("shoal-decode".to_owned())
            .spawn(move || decode(input, compression, limits, &sender))
            .map_err(Error::Read)?;
        Ok(Self { chunks: Some(chunks), current: Vec::new(), position: 0, decoder: Some(decoder) })
    }

    /// Reads to the end and returns the digest of all uncompressed bytes.
    pub(crate) fn finish(mut self) -> io::Result<Decoded> {
        io::copy(&mut self, &mut io::sink())?;
        let decoder = self.decoder.take().expect("finish consumes the stream");
        let digest = decoder.join().map_err(|_| io::Error::other("the decoder panicked"))?;
        Ok(Decoded { digest })
    }
}

impl Read for DecodedStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.current.len() {
            let Some(chunks) = &self.chunks else { return Ok(0) };
            match chunks.recv() {
                Ok(chunk) => self.current = chunk?,
                Err(_) => return Ok(0),
            }
            self.position = 0;
        }
        let count = buffer.len().min(self.current.len() - self.position);
        buffer[..count].copy_from_slice(&self.current[self.position..self.position + count]);
        self.position += count;
        Ok(count)
    }
}

impl Drop for DecodedStream {
    fn drop(&mut self) {
        self.chunks = None; // the decoder's next send fails
        if let Some(decoder) = self.decoder.take() {
            let _ = decoder.join(); // a panic was reported as a short stream
        }
    }
}

fn decode(
    input: Box<dyn Read + Send>,
    compression: Compression,
    limits: Limits,
    sender: &SyncSender<io::Result<Vec<u8>>>,
) -> Digest {
    let mut hasher = Sha256::new();
    let mut counted = BufReader::with_capacity(CHUNK_BYTES, Counting { input, count: 0 });
    let result = match compression {
        Compression::Plain => pump(&mut counted, &mut hasher, sender, |_, _| Ok(())),
        Compression::Gzip => {
            let mut decoder = flate2::bufread::MultiGzDecoder::new(counted);
            pump(&mut decoder, &mut hasher, sender, |decoder, unpacked| {
                limits.check_stream(decoder.get_ref().get_ref().count, unpacked)
            })
        }
        Compression::Zstd => {
            zstd::stream::read::Decoder::with_buffer(counted).and_then(|decoder| {
                let mut decoder = decoder;
                pump(&mut decoder, &mut hasher, sender, |decoder, unpacked| {
                    limits.check_stream(decoder.get_ref().get_ref().count, unpacked)
                })
            })
        }
    };
    if let Err(error) = result {
        let _ = sender.send(Err(error)); // nobody listens any more: nobody to tell
    }
    Digest::from_sha256(hasher.finalize().into())
}

fn pump<R: Read>(
    decoder: &mut R,
    hasher: &mut Sha256,
    sender: &SyncSender<io::Result<Vec<u8>>>,
    check: impl Fn(&R, u64) -> Result<(), Exceeded>,
) -> io::Result<()> {
    let mut unpacked = 0;
    loop {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES);
        decoder.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(());
        }
        unpacked += chunk.len() as u64;
        check(decoder, unpacked).map_err(io::Error::other)?;
        hasher.update(&chunk);
        if sender.send(Ok(chunk)).is_err() {
            return Ok(()); // the consumer gave up and knows why
        }
    }
}

struct Counting<R> {
    input: R,
    count: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

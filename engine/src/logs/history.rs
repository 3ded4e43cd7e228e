//! What was logged so far: rotated files oldest first, or only the last records. Blocking.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use shoal_shim_protocol::local_log;

use super::format::{Decoder, Format};
use super::{Flow, Place, Sink};
use crate::error::Error;

/// Bytes read at once.
const BLOCK: usize = 64 << 10;

/// Where a follower goes on.
#[derive(Debug)]
pub(crate) struct Position {
    /// `None`: there is no file yet.
    pub file: Option<File>,
    pub decoder: Decoder,
}

/// One file of a log.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
}

/// Reads the history. `None`: the reader wants no more. A log that does not exist yet is empty.
pub(crate) fn read(
    place: &Place,
    tail: Option<usize>,
    sink: &Sink,
) -> Result<Option<Position>, Error> {
    let parts = open_all(&place.path)?;
    let mut begin = vec![start_of_records(place.format); parts.len()];
    let mut first = 0;
    if let Some(mut wanted) = tail {
        first = parts.len();
        for (at, part) in parts.iter().enumerate().rev() {
            let (offset, found) = tail_offset(&part.file, place.format, wanted)
                .map_err(Error::file("read", &part.path))?;
            begin[at] = offset;
            first = at;
            wanted -= found.min(wanted);
            if wanted == 0 {
                break;
            }
        }
    }
    let mut position = Position { file: None, decoder: Decoder::new(place.format) };
    for (part, offset) in parts.into_iter().zip(begin).skip(first) {
        let mut decoder = Decoder::new(place.format);
        let mut file = part.file;
        file.seek(SeekFrom::Start(offset)).map_err(Error::file("read", &part.path))?;
        if drain(&mut file, &mut decoder, &part.path, sink)? == Flow::Stop {
            return Ok(None);
        }
        position = Position { file: Some(file), decoder };
    }
    Ok(Some(position))
}

/// Where the first record of a file is.
pub(crate) fn start_of_records(format: Format) -> u64 {
    match format {
        Format::Json => 0,
        Format::Local => local_log::MAGIC.len() as u64,
    }
}

/// Reads to the present end of a file and delivers whole records. A malformed record of a crash is
/// skipped in `json-file`; in `local` nothing after it can be found, so the rest of the file is.
fn drain(file: &mut File, decoder: &mut Decoder, path: &Path, sink: &Sink) -> Result<Flow, Error> {
    let mut buffer = vec![0; BLOCK];
    loop {
        let count = file.read(&mut buffer).map_err(Error::file("read", path))?;
        if count == 0 {
            return Ok(Flow::Continue);
        }
        decoder.push(&buffer[..count]);
        loop {
            match decoder.next_record() {
                Ok(Some(record)) => {
                    if sink.put_blocking(record) == Flow::Stop {
                        return Ok(Flow::Stop);
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "skipped");
                    if decoder.format() == Format::Local {
                        return Ok(Flow::Continue);
                    }
                }
            }
        }
    }
}

/// Opens the files of a log, oldest first. Rotation may happen in between: a file that was renamed is
/// then met once, by its inode.
fn open_all(path: &Path) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    let mut inodes = Vec::new();
    let mut open = |path: PathBuf| -> Result<bool, Error> {
        let opened = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            other => other.map_err(Error::file("open", &path))?,
        };
        let inode = opened.metadata().map_err(Error::file("read", &path))?.ino();
        if !inodes.contains(&inode) {
            inodes.push(inode);
            let compressed = path.extension().is_some_and(|extension| extension == "gz");
            let file = if compressed { inflate(&opened, &path)? } else { opened };
            parts.push(Part { path, file });
        }
        Ok(true)
    };
    // The current one first: what is rotated away meanwhile is then met again under its new name.
    open(path.to_owned())?;
    for number in 1.. {
        let rotated = numbered(path, number, "");
        if !open(rotated)? && !open(numbered(path, number, ".gz"))? {
            break;
        }
    }
    parts.reverse();
    Ok(parts)
}

fn numbered(path: &Path, number: u32, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{suffix}"));
    name.into()
}

/// Unpacks a compressed log into a file without a name beside it, so that it can be read backwards and
/// costs no memory.
fn inflate(compressed: &File, path: &Path) -> Result<File, Error> {
    use rustix::fs::{Mode, OFlags};
    let directory = path.parent().unwrap_or_else(|| Path::new("/"));
    let unnamed = rustix::fs::open(
        directory,
        OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    );
    let mut file = File::from(unnamed.map_err(|errno| Error::file("unpack", path)(errno.into()))?);
    let mut decoder = flate2::read::MultiGzDecoder::new(compressed);
    std::io::copy(&mut decoder, &mut file).map_err(Error::file("unpack", path))?;
    Ok(file)
}

/// Where the last `wanted` records of a file begin, and how many there are.
fn tail_offset(file: &File, format: Format, wanted: usize) -> std::io::Result<(u64, usize)> {
    let length = file.metadata()?.len();
    if wanted == 0 {
        return Ok((length, 0));
    }
    match format {
        Format::Json => tail_lines(file, length, wanted),
        Format::Local => tail_local(file, length, wanted),
    }
}

/// Counts newlines backwards, block by block. An unfinished last line is not a record yet.
fn tail_lines(file: &File, length: u64, wanted: usize) -> std::io::Result<(u64, usize)> {
    let mut buffer = vec![0; BLOCK];
    let mut end = length;
    let mut seen = 0;
    while end > 0 {
        let size = end.min(BLOCK as u64);
        let start = end - size;
        let block = &mut buffer[..usize::try_from(size).unwrap_or(BLOCK)];
        file.read_exact_at(block, start)?;
        for (at, byte) in block.iter().enumerate().rev() {
            if *byte == b'\n' {
                // The newline that ends the record before the wanted ones.
                if seen == wanted {
                    return Ok((start + at as u64 + 1, wanted));
                }
                seen += 1;
            }
        }
        end = start;
    }
    Ok((0, seen))
}

/// Follows the lengths at the end of each record. A torn end (crash) makes it read forwards instead.
fn tail_local(file: &File, length: u64, wanted: usize) -> std::io::Result<(u64, usize)> {
    let first = start_of_records(Format::Local);
    let mut end = length;
    let mut seen = 0;
    while end > first && seen < wanted {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, end - 4)?;
        let whole = u64::from(u32::from_be_bytes(word)) + 8;
        let start = end.checked_sub(whole).filter(|start| *start >= first);
        let mut head = [0; 4];
        match start {
            Some(start) => file.read_exact_at(&mut head, start)?,
            None => return tail_forwards(file, wanted),
        }
        if head != word {
            return tail_forwards(file, wanted);
        }
        end = start.unwrap_or(first);
        seen += 1;
    }
    Ok((end.max(first.min(length)), seen))
}

/// Reads all record lengths from the start and remembers the last places.
fn tail_forwards(file: &File, wanted: usize) -> std::io::Result<(u64, usize)> {
    let mut places = std::collections::VecDeque::new();
    let mut at = start_of_records(Format::Local);
    let length = file.metadata()?.len();
    while at + 8 <= length {
        let mut word = [0; 4];
        file.read_exact_at(&mut word, at)?;
        let next = at + u64::from(u32::from_be_bytes(word)) + 8;
        if next > length {
            break;
        }
        if places.len() == wanted {
            places.pop_front();
        }
        places.push_back(at);
        at = next;
    }
    Ok((places.front().copied().unwrap_or(at), places.len()))
}

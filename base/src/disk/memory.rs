//! A disk in memory that fills up, fails, and loses its power, for tests and the simulator.
//!
//! What a running program sees and what would survive are kept apart. A power failure keeps what was synced; of the
//! rest it keeps any part: of each write any sectors, of the names of a directory any prefix of the changes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, temporary_for};
use crate::random::Numbers;

/// What is written of a sector is written whole or not at all.
const SECTOR: usize = 512;

/// The disk. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that have a name, would have one after a power failure, or are open.
    files: BTreeMap<usize, Content>,
    /// Number of the next file.
    next: usize,
    directories: BTreeSet<PathBuf>,
    /// As programs see it.
    names: BTreeMap<PathBuf, usize>,
    /// As they would survive.
    durable: BTreeMap<PathBuf, usize>,
    /// Changes of names that are not durable yet, in order.
    renamed: Vec<(PathBuf, Option<usize>)>,
    /// Changes that were asked for.
    steps: u64,
    /// The step from which on everything fails.
    dies_at: Option<u64>,
    /// Bytes that files may have in all.
    capacity: Option<u64>,
    /// Power failures so far: files that were open before are gone.
    epoch: u64,
}

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Changes since the last sync, in order.
    pending: Vec<Change>,
    /// How often it is open.
    handles: usize,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Size(usize),
}

impl MemoryDisk {
    /// An empty disk without limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// Changes that were asked for up to now.
    pub fn steps(&self) -> u64 {
        self.state().steps
    }

    /// Lets nothing change from the step of this number on: every change fails, as if the machine had stopped.
    pub fn die_at(&self, step: u64) {
        self.state().dies_at = Some(step);
    }

    /// Limits the bytes of all files; `None`: there is room for any.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.state().used()
    }

    /// Switches power off and on. `seed` chooses what survives of what was not synced. Files that are open are
    /// not usable any more.
    pub fn cut_power(&self, seed: u64) {
        let mut state = self.state();
        let mut chance = Numbers::new(seed ^ 0x9e37_79b9_7f4a_7c15);
        let kept = chance.below(state.renamed.len() as u64 + 1);
        for (path, file) in std::mem::take(&mut state.renamed)
            .into_iter()
            .take(usize::try_from(kept).unwrap_or(usize::MAX))
        {
            set_name(&mut state.durable, path, file);
        }
        state.names = state.durable.clone();
        for content in state.files.values_mut() {
            for change in std::mem::take(&mut content.pending) {
                change.survive(&mut content.durable, &mut chance);
            }
            content.now.clone_from(&content.durable);
            content.handles = 0;
        }
        state.forget_nameless();
        state.dies_at = None;
        state.epoch += 1;
    }

    /// Changes bytes of a file behind everyone's back, as a disk that rots does.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn corrupt(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let file = *state.names.get(path).expect("the file exists");
        let content = state.content(file);
        change(&mut content.now);
        content.durable.clone_from(&content.now);
        content.pending.clear();
    }

    /// Another disk with the files as they are now: an old copy of this one.
    pub fn copied(&self) -> Self {
        let state = self.state();
        let mut copy = State { directories: state.directories.clone(), ..State::default() };
        for (path, file) in &state.names {
            let now = state.files[file].now.clone();
            let content = Content { durable: now.clone(), now, ..Content::default() };
            let file = copy.add(content);
            copy.names.insert(path.clone(), file);
        }
        copy.durable = copy.names.clone();
        Self { shared: Arc::new(Mutex::new(copy)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `state` is this disk's.
    fn handle(&self, state: &mut State, file: usize) -> Box<dyn DiskFile> {
        state.content(file).handles += 1;
        Box::new(MemoryFile { disk: self.clone(), file, epoch: state.epoch })
    }
}

impl State {
    fn add(&mut self, content: Content) -> usize {
        let file = self.next;
        self.next += 1;
        self.files.insert(file, content);
        file
    }

    fn content(&mut self, file: usize) -> &mut Content {
        self.files.get_mut(&file).expect("files that are open or have a name are kept")
    }

    /// Gives back files that nothing leads to any more.
    fn forget_nameless(&mut self) {
        let Self { files, names, durable, renamed, .. } = self;
        files.retain(|file, content| {
            content.handles > 0
                || names.values().chain(durable.values()).any(|named| named == file)
                || renamed.iter().any(|(_, named)| *named == Some(*file))
        });
    }

    /// Counts a change that is asked for.
    fn step(&mut self) -> io::Result<()> {
        let step = self.steps;
        self.steps += 1;
        match self.dies_at {
            Some(at) if step >= at => Err(io::Error::other("the machine has stopped")),
            _ => Ok(()),
        }
    }

    fn used(&self) -> u64 {
        let files: BTreeSet<usize> = self.names.values().copied().collect();
        files.iter().map(|file| self.files[file].now.len() as u64).sum()
    }

    /// Bytes by which files may grow.
    fn room(&self) -> usize {
        let room = self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()));
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    fn rename(&mut self, path: &Path, file: Option<usize>) {
        set_name(&mut self.names, path.to_owned(), file);
        self.renamed.push((path.to_owned(), file));
    }

    fn found(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn check_directory(&self, path: &Path) -> io::Result<()> {
        let known = path.parent().is_none_or(|parent| self.directories.contains(parent));
        if known { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    fn sync_names(&mut self, directory: &Path) {
        for (path, file) in std::mem::take(&mut self.renamed) {
            if path.parent() == Some(directory) {
                set_name(&mut self.durable, path, file);
            } else {
                self.renamed.push((path, file));
            }
        }
        self.forget_nameless();
    }
}

fn set_name(names: &mut BTreeMap<PathBuf, usize>, path: PathBuf, file: Option<usize>) {
    match file {
        Some(file) => names.insert(path, file),
        None => names.remove(&path),
    };
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Size(size) => content.resize(*size, 0),
            Self::Write { offset, bytes } => put(content, *offset, bytes),
        }
    }

    /// Applies a part of itself.
    fn survive(self, content: &mut Vec<u8>, chance: &mut Numbers) {
        match self {
            Self::Size(_) if chance.below(2) == 0 => {}
            Self::Size(_) => self.apply(content),
            Self::Write { offset, bytes } => {
                let mut at = 0;
                while at < bytes.len() {
                    let end = (at + SECTOR - (offset + at) % SECTOR).min(bytes.len());
                    if chance.below(2) == 1 {
                        put(content, offset + at, &bytes[at..end]);
                    }
                    at = end;
                }
            }
        }
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    content.resize(content.len().max(end), 0);
    content[offset..end].copy_from_slice(bytes);
}

impl Disk for MemoryDisk {
    fn write_atomic(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let temporary = temporary_for(path);
        let mut file = self.create(&temporary)?;
        let written = file
            .write_at(bytes, 0)
            .and_then(|()| file.sync())
            .and_then(|()| self.rename(&temporary, path));
        if let Err(error) = written {
            // As on the real one: what was half-written must not stay.
            let _ = self.remove(&temporary);
            return Err(error);
        }
        self.sync_directory(path.parent().unwrap_or_else(|| Path::new("/")))
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let state = self.state();
        Ok(state.names.get(path).map(|file| state.files[file].now.clone()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.names.contains_key(path) {
            state.rename(path, None);
        }
        state.sync_names(path.parent().unwrap_or_else(|| Path::new("/")));
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.sync_names(directory);
        Ok(())
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state();
        for ancestor in directory.ancestors() {
            state.directories.insert(ancestor.to_owned());
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(directory));
        let name = |path: &PathBuf| path.file_name()?.to_str().map(str::to_owned);
        Ok(inside.filter_map(name).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let file = state.found(from)?;
        // In this order: what survives may have both names, never none.
        state.rename(to, Some(file));
        state.rename(from, None);
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        state.step()?;
        state.check_directory(path)?;
        let file = match state.found(path) {
            Ok(file) => {
                state.content(file).change(Change::Size(0));
                file
            }
            Err(_) => {
                let file = state.add(Content::default());
                state.rename(path, Some(file));
                file
            }
        };
        Ok(self.handle(&mut state, file))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state();
        let file = state.found(path)?;
        Ok(self.handle(&mut state, file))
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
    epoch: u64,
}

impl MemoryFile {
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.epoch == self.epoch {
            Ok(state)
        } else {
            Err(io::Error::other("the machine was switched off"))
        }
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        // After a power failure it is not open any more.
        if let Ok(mut state) = self.state() {
            state.content(self.file).handles -= 1;
        }
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.step()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let room = state.room();
        let content = state.content(self.file);
        let end = content.now.len().saturating_add(room);
        let fits = end.saturating_sub(offset).min(bytes.len());
        content.change(Change::Write { offset, bytes: bytes[..fits].to_vec() });
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.state()?;
        let content = &state.files[&self.file].now;
        let offset = usize::try_from(offset).map_err(io::Error::other)?.min(content.len());
        let count = buffer.len().min(content.len() - offset);
        buffer[..count].copy_from_slice(&content[offset..offset + count]);
        Ok(count)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.state()?.files[&self.file].now.len() as u64)
    }

    fn set_size(&mut self, size: u64) -> io::Result<()> {
        let mut state = self.state()?;
        state.step()?;
        let size = usize::try_from(size).map_err(io::Error::other)?;
        let room = state.room();
        let content = state.content(self.file);
        if size > content.now.len().saturating_add(room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        content.change(Change::Size(size));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state()?;
        state.step()?;
        let content = state.content(self.file);
        for change in std::mem::take(&mut content.pending) {
            change.apply(&mut content.durable);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Compiled programs as files that shims read.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use shoal_base::SharedDisk;

use super::{Choice, Error, compile, rules};

/// Changes whenever the compiler makes other programs from the same profile.
const COMPILER: &str = "1";

/// A compiled filter in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Instructions, eight bytes each, in native byte order.
    pub path: PathBuf,
    /// Flags of seccomp(2).
    pub flags: u32,
}

/// The programs of a daemon. A file is complete or not there; leftovers are harmless and reused.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    disk: SharedDisk,
    known: Mutex<HashMap<[u8; 32], Program>>,
}

impl Cache {
    /// Programs in `directory`, which must exist. It may be on a tmpfs; it must outlive the daemon
    /// where shims start containers again by themselves.
    pub fn new(directory: PathBuf, disk: SharedDisk) -> Self {
        Self { directory, disk, known: Mutex::default() }
    }

    /// The program of `choice`; compiles it when it is new. Blocks for a small file.
    ///
    /// # Errors
    /// When the profile cannot be compiled or the file not written.
    pub fn program(&self, choice: &Choice) -> Result<Program, Error> {
        let identity = format!("{COMPILER} {}", choice.identity());
        let key: [u8; 32] = Sha256::digest(identity.as_bytes()).into();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(program) = known.filter(|program| program.path.exists()) {
            return Ok(program);
        }
        let section = choice.section()?;
        let bytes: Vec<u8> = compile(&section, choice.arch())?
            .into_iter()
            .flat_map(super::Instruction::to_bytes)
            .collect();
        let name = shoal_model::Digest::from_sha256(key).hex();
        let path = self.directory.join(format!("{name}.bpf"));
        let stored = match self.disk.read(&path) {
            Ok(Some(old)) if old == bytes => Ok(()),
            _ => self.disk.write_atomic(&path, &bytes),
        };
        stored.map_err(|source| Error::Store { path: path.clone(), source })?;
        let program = Program { path, flags: rules::flags(&section)? };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(key, program.clone());
        Ok(program)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use shoal_base::SystemDisk;

    use super::*;
    use crate::seccomp::{Arch, Profile};

    #[test]
    fn the_same_choice_is_compiled_once_and_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let cache = || Cache::new(dir.path().to_owned(), Arc::new(SystemDisk));
        let choice = |caps: &[&str]| {
            let caps = caps.iter().map(|cap| (*cap).to_owned()).collect();
            Choice::new(Profile::builtin().clone(), Arch::NATIVE, caps, (6, 1))
        };
        let first = cache();
        let program = first.program(&choice(&["CAP_KILL", "CAP_BPF"])).unwrap();
        assert_eq!(first.program(&choice(&["CAP_BPF", "CAP_KILL"])).unwrap(), program);
        assert_eq!(cache().program(&choice(&["CAP_KILL", "CAP_BPF"])).unwrap(), program);
        assert_ne!(first.program(&choice(&["CAP_KILL"])).unwrap(), program);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        assert_eq!(program.flags, 4);
        let bytes = std::fs::read(&program.path).unwrap();
        assert_eq!(bytes.len() % 8, 0);

        std::fs::remove_file(&program.path).unwrap();
        assert_eq!(first.program(&choice(&["CAP_KILL", "CAP_BPF"])).unwrap(), program);
        assert_eq!(std::fs::read(&program.path).unwrap(), bytes);
    }
}

//! Options of mounts, as words → flags. Pure.
//!
//! Source: OCI runtime-spec `config-linux.md` and `mount(8)`.

use shoal_shim_protocol::message::FailureKind;

use crate::failure::{Result, failure};

/// What a list of options says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// Bind mount; with the mounts below when `recursive`.
    pub(crate) bind: bool,
    /// `rbind`.
    pub(crate) recursive: bool,
    /// `MOUNT_ATTR_*` to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub(crate) clear: u64,
    /// `MOUNT_ATTR_*` to set on the mounts below, too (`rro` …).
    pub(crate) set_all: u64,
    /// `MOUNT_ATTR_*` to clear on the mounts below, too.
    pub(crate) clear_all: u64,
    /// `MS_SHARED` …
    pub(crate) propagation: u64,
    /// Propagation of the mounts below, too.
    pub(crate) propagation_all: bool,
    /// `MS_*` without a mount attribute, e.g. `sync`.
    pub(crate) superblock: u64,
    /// What the file system understands, joined by commas.
    pub(crate) data: String,
}

pub(crate) const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

/// Parses the options of one mount.
pub(crate) fn parse(words: &[String]) -> Result<Options> {
    let mut out = Options::default();
    let mut data = Vec::new();
    for word in words.iter().map(String::as_str) {
        if let Some((set, clear)) = attribute(word) {
            out.set = out.set & !clear | set;
            out.clear = out.clear & !set | clear;
            continue;
        }
        if let Some((set, clear)) = word.strip_prefix('r').and_then(attribute) {
            out.set_all = out.set_all & !clear | set;
            out.clear_all = out.clear_all & !set | clear;
            continue;
        }
        if let Some(flags) = propagation(word) {
            out.propagation = flags;
            out.propagation_all = word.starts_with('r');
            continue;
        }
        match word {
            "bind" => out.bind = true,
            "rbind" => (out.bind, out.recursive) = (true, true),
            "sync" => out.superblock |= libc::MS_SYNCHRONOUS,
            "async" => out.superblock &= !libc::MS_SYNCHRONOUS,
            "dirsync" => out.superblock |= libc::MS_DIRSYNC,
            "mand" => out.superblock |= libc::MS_MANDLOCK,
            "nomand" => out.superblock &= !libc::MS_MANDLOCK,
            "lazytime" => out.superblock |= 1 << 25,
            "nolazytime" => out.superblock &= !(1 << 25),
            "defaults" | "private-" | "loud" => {}
            "tmpcopyup" | "idmap" | "ridmap" | "remount" => {
                let message = format!("mount option `{word}` is not served by this runtime");
                return Err(failure(FailureKind::NotImplemented, message));
            }
            _ => data.push(word),
        }
    }
    out.data = data.join(",");
    Ok(out)
}

fn attribute(word: &str) -> Option<(u64, u64)> {
    Some(match word {
        "ro" => (RDONLY, 0),
        "rw" => (0, RDONLY),
        "nosuid" => (NOSUID, 0),
        "suid" => (0, NOSUID),
        "nodev" => (NODEV, 0),
        "dev" => (0, NODEV),
        "noexec" => (NOEXEC, 0),
        "exec" => (0, NOEXEC),
        "noatime" => (NOATIME, ATIME & !NOATIME),
        "strictatime" => (STRICTATIME, ATIME & !STRICTATIME),
        "relatime" | "atime" => (0, ATIME),
        "nodiratime" => (NODIRATIME, 0),
        "diratime" => (0, NODIRATIME),
        "nosymfollow" => (NOSYMFOLLOW, 0),
        _ => return None,
    })
}

/// Flags of a word for propagation.
pub(crate) fn propagation(word: &str) -> Option<u64> {
    Some(match word.strip_prefix('r').unwrap_or(word) {
        "shared" => libc::MS_SHARED,
        "slave" => libc::MS_SLAVE,
        "private" => libc::MS_PRIVATE,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => return None,
    })
}

/// The same attributes as flags of `mount(2)`.
pub(crate) fn mount_flags(attributes: u64) -> u64 {
    [
        (RDONLY, libc::MS_RDONLY),
        (NOSUID, libc::MS_NOSUID),
        (NODEV, libc::MS_NODEV),
        (NOEXEC, libc::MS_NOEXEC),
        (NOATIME, libc::MS_NOATIME),
        (STRICTATIME, libc::MS_STRICTATIME),
        (NODIRATIME, libc::MS_NODIRATIME),
        (NOSYMFOLLOW, 256),
    ]
    .iter()
    .filter(|(attribute, _)| attributes & attribute != 0)
    .fold(0, |flags, (_, flag)| flags | flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn words_become_flags() {
        let parsed = parse(&words("rbind ro nosuid rslave mode=755 rnodev rw")).unwrap();
        let expected = Options {
            bind: true,
            recursive: true,
            set: NOSUID,
            clear: RDONLY,
            set_all: NODEV,
            propagation: libc::MS_SLAVE,
            propagation_all: true,
            data: "mode=755".to_owned(),
            ..Options::default()
        };
        assert_eq!(parsed, expected);
    }

    #[test]
    fn what_is_not_served_is_refused() {
        let refused = parse(&words("tmpcopyup")).unwrap_err();
        assert_eq!(refused.kind, FailureKind::NotImplemented);
    }

    #[test]
    fn attributes_as_flags() {
        assert_eq!(mount_flags(RDONLY | NOEXEC), libc::MS_RDONLY | libc::MS_NOEXEC);
    }
}

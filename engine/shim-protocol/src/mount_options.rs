//! Options of mounts, as words → flags. Pure.
//!
//! Here because both sides mount: the shim what a container has for itself, the engine what several share.
//!
//! Source: OCI runtime-spec `config-linux.md` and `mount(8)`.

/// An option that is known and not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("mount option `{0}` is not served by this runtime")]
pub struct Unserved(pub String);

/// What a list of options says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Bind mount; with the mounts below when `recursive`.
    pub bind: bool,
    /// `rbind`.
    pub recursive: bool,
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MOUNT_ATTR_*` to set on the mounts below, too (`rro` …).
    pub set_all: u64,
    /// `MOUNT_ATTR_*` to clear on the mounts below, too.
    pub clear_all: u64,
    /// `MS_SHARED` …
    pub propagation: u64,
    /// Propagation of the mounts below, too.
    pub propagation_all: bool,
    /// `MS_*` without a mount attribute, e.g. `sync`.
    pub superblock: u64,
    /// What the file system understands, joined by commas.
    pub data: String,
}

/// `MOUNT_ATTR_RDONLY`, and also `MS_RDONLY`.
pub const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const NODEV: u64 = 4;
const NOEXEC: u64 = 8;
const ATIME: u64 = 0x70;
const NOATIME: u64 = 0x10;
const STRICTATIME: u64 = 0x20;
const NODIRATIME: u64 = 0x80;
const NOSYMFOLLOW: u64 = 0x20_0000;

const MS_SYNCHRONOUS: u64 = 16;
const MS_MANDLOCK: u64 = 64;
const MS_DIRSYNC: u64 = 128;
const MS_LAZYTIME: u64 = 1 << 25;
const MS_UNBINDABLE: u64 = 1 << 17;
const MS_PRIVATE: u64 = 1 << 18;
const MS_SLAVE: u64 = 1 << 19;
const MS_SHARED: u64 = 1 << 20;

/// Parses the options of one mount.
///
/// # Errors
/// The first option that is not served.
pub fn parse(words: &[String]) -> Result<Options, Unserved> {
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
            "sync" => out.superblock |= MS_SYNCHRONOUS,
            "async" => out.superblock &= !MS_SYNCHRONOUS,
            "dirsync" => out.superblock |= MS_DIRSYNC,
            "mand" => out.superblock |= MS_MANDLOCK,
            "nomand" => out.superblock &= !MS_MANDLOCK,
            "lazytime" => out.superblock |= MS_LAZYTIME,
            "nolazytime" => out.superblock &= !MS_LAZYTIME,
            "defaults" | "private-" | "loud" => {}
            "tmpcopyup" | "idmap" | "ridmap" | "remount" => {
                return Err(Unserved(word.to_owned()));
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
pub fn propagation(word: &str) -> Option<u64> {
    Some(match word.strip_prefix('r').unwrap_or(word) {
        "shared" => MS_SHARED,
        "slave" => MS_SLAVE,
        "private" => MS_PRIVATE,
        "unbindable" => MS_UNBINDABLE,
        _ => return None,
    })
}

/// The same attributes as flags of `mount(2)`.
pub fn mount_flags(attributes: u64) -> u64 {
    [
        (RDONLY, 1),
        (NOSUID, 2),
        (NODEV, 4),
        (NOEXEC, 8),
        (NOATIME, 1 << 10),
        (STRICTATIME, 1 << 24),
        (NODIRATIME, 1 << 11),
        (NOSYMFOLLOW, 1 << 8),
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
            propagation: MS_SLAVE,
            propagation_all: true,
            data: "mode=755".to_owned(),
            ..Options::default()
        };
        assert_eq!(parsed, expected);
    }

    #[test]
    fn what_is_not_served_is_refused() {
        assert_eq!(parse(&words("ro tmpcopyup")), Err(Unserved("tmpcopyup".to_owned())));
    }

    #[test]
    fn attributes_as_flags() {
        assert_eq!(mount_flags(RDONLY | NOEXEC), 1 | 8);
    }
}

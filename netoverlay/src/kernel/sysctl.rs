//! Kernel parameters of the calling thread's network namespace.

use std::io;
use std::path::PathBuf;

/// Sets `/proc/sys/net/<key>` when it has another value. `false`: the kernel has no such key.
///
/// # Errors
/// The operating system's.
pub fn set(key: &str, value: &str) -> io::Result<bool> {
    let path = PathBuf::from("/proc/sys/net").join(key);
    match std::fs::read_to_string(&path) {
        Ok(current) if current.trim_end() == value => return Ok(true),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    }
    std::fs::write(&path, value).map(|()| true)
}

/// Reads `/proc/sys/net/<key>`; `None`: the kernel has no such key.
///
/// # Errors
/// The operating system's.
pub fn get(key: &str) -> io::Result<Option<String>> {
    match std::fs::read_to_string(PathBuf::from("/proc/sys/net").join(key)) {
        Ok(value) => Ok(Some(value.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

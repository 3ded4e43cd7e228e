//! Which file to run: looked up in the container's `PATH`, with the messages docker's users know. The
//! look-up is pure over a probe of files.

use shoal_shim_protocol::message::{Failure, FailureKind};

use crate::failure::{Result, failure};

/// What a probe says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Executable,
    NotExecutable,
    Directory,
    Missing,
}

/// Finds the file of `name`. A name with a slash is a path.
pub(crate) fn find(name: &str, env: &[String], probe: impl Fn(&str) -> Found) -> Result<String> {
    if name.contains('/') {
        return match probe(name) {
            Found::Executable => Ok(name.to_owned()),
            Found::NotExecutable => Err(not_executable(name, "permission denied")),
            Found::Directory => Err(not_executable(name, "is a directory")),
            Found::Missing => Err(failure(
                FailureKind::CommandNotFound,
                format!("exec: {name:?}: stat {name}: no such file or directory"),
            )),
        };
    }
    // The last PATH counts, as for a shell.
    let path = env.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or_default();
    let candidates = path.split(':').filter(|directory| !name.is_empty() && !directory.is_empty());
    for directory in candidates {
        let candidate = format!("{}/{name}", directory.trim_end_matches('/'));
        if probe(&candidate) == Found::Executable {
            return Ok(candidate);
        }
    }
    let message = format!("exec: {name:?}: executable file not found in $PATH");
    Err(failure(FailureKind::CommandNotFound, message))
}

fn not_executable(name: &str, why: &str) -> Failure {
    failure(FailureKind::CommandNotExecutable, format!("exec: {name:?}: {why}"))
}

/// The failure of the exec itself.
pub(crate) fn exec_failed(path: &str, error: &std::io::Error) -> Failure {
    let kind = match error.raw_os_error() {
        Some(libc::ENOENT) => FailureKind::CommandNotFound,
        _ => FailureKind::CommandNotExecutable,
    };
    let message = format!("exec {path}: {}", crate::failure::lower(error));
    Failure { kind, message, errno: error.raw_os_error() }
}

/// Looks at the file system of this process.
pub(crate) fn probe(path: &str) -> Found {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Found::Directory,
        Ok(metadata) => {
            use std::os::unix::fs::PermissionsExt;
            let executable = metadata.permissions().mode() & 0o111 != 0;
            if executable { Found::Executable } else { Found::NotExecutable }
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Found::NotExecutable,
        Err(_) => Found::Missing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(path: &str) -> Found {
        match path {
            "/bin/sh" | "/usr/bin/env" => Found::Executable,
            "/etc" => Found::Directory,
            "/bin/data" => Found::NotExecutable,
            _ => Found::Missing,
        }
    }

    #[track_caller]
    fn check(name: &str, expected: &str) {
        let env = ["PATH=/ignored".to_owned(), "PATH=/usr/bin:/bin/".to_owned()];
        let found = find(name, &env, files).unwrap_or_else(|failed| failed.message);
        assert_eq!(found, expected);
    }

    #[test]
    fn look_up() {
        check("sh", "/bin/sh");
        check("env", "/usr/bin/env");
        check("/bin/sh", "/bin/sh");
        check("foo", "exec: \"foo\": executable file not found in $PATH");
        check("data", "exec: \"data\": executable file not found in $PATH");
        check("/foo", "exec: \"/foo\": stat /foo: no such file or directory");
        check("/etc", "exec: \"/etc\": is a directory");
        check("/bin/data", "exec: \"/bin/data\": permission denied");
    }
}

//! Child programs: fixed environment and directory, no shell, closed standard input.

use std::ffi::OsStr;
use std::process::Stdio;

/// The search path every child gets.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command whose environment is `PATH` alone, in `/`, with null stdio. Callers set what they need.
#[expect(clippy::disallowed_methods, reason = "the one place that makes commands")]
pub fn new(program: impl AsRef<OsStr>) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.env_clear().env("PATH", PATH).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

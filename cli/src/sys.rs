//! Effects of the process itself: time, background tasks, standard streams.

use std::future::Future;
use std::io::Write;
use std::time::Duration;

/// Nanoseconds since 1970 on the wall clock.
pub(crate) fn now_nanos() -> i128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// Runs a future in the background of this program. It ends with the program at the latest.
#[expect(clippy::disallowed_methods, reason = "the one place of the client that spawns")]
pub(crate) fn spawn<F>(task: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(task)
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "the one place of the client that waits for time")]
pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Writes to standard output. A closed pipe ends the program quietly, as it ends every filter.
pub(crate) fn out(text: impl AsRef<[u8]>) {
    let mut stdout = std::io::stdout().lock();
    if stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()).is_err() {
        end(141);
    }
}

/// Writes a line to standard output.
pub(crate) fn line(text: impl std::fmt::Display) {
    out(format!("{text}\n"));
}

/// Writes to standard error; nothing can be done when that fails.
pub(crate) fn err(text: impl AsRef<[u8]>) {
    let mut stderr = std::io::stderr().lock();
    let _unreportable = stderr.write_all(text.as_ref());
}

/// Writes a line to standard error.
pub(crate) fn err_line(text: impl std::fmt::Display) {
    err(format!("{text}\n"));
}

/// Ends the program at once: without waiting for a blocked read of standard input.
#[expect(clippy::exit, reason = "a thread may be blocked reading the terminal")]
pub(crate) fn end(code: i32) -> ! {
    std::process::exit(code)
}

/// Is standard input, output, error a terminal?
pub(crate) fn is_terminal(stream: impl std::io::IsTerminal) -> bool {
    stream.is_terminal()
}

/// A variable of the environment that is set and not empty.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A variable of the environment as it is, empty or not; `None`: it is not set.
///
/// # Errors
/// When its value is no text: it could not be passed on as it is.
pub(crate) fn variable(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("environment variable {name} is not valid UTF-8"))
        }
    }
}

/// Runs a helper program with a word and an input: whether it succeeded, and what it wrote.
#[expect(clippy::disallowed_methods, reason = "the one place of the client that runs programs")]
pub(crate) fn filter(program: &str, word: &str, input: &str) -> std::io::Result<(bool, String)> {
    use std::process::{Command, Stdio};
    let mut child = Command::new(program)
        .arg(word)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    let written = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output()?;
    // A helper that fails need not read its input; one that succeeds must have.
    if output.status.success() {
        written?;
    }
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

//! The one door to blocking work: named, and bounded by tokio's blocking pool.

/// A blocking job did not return: it panicked, or the runtime is shutting down.
#[derive(Debug, thiserror::Error)]
#[error("blocking job `{name}` did not finish")]
pub struct Lost {
    /// What the job was called.
    pub name: &'static str,
    /// Why.
    #[source]
    pub source: tokio::task::JoinError,
}

/// Runs `job` on a thread where it may block; on this one when it is the [only one](crate::single).
///
/// # Errors
/// When the job panicked or the runtime went down.
///
/// # Cancel safety
/// Dropping the future does not stop a job that has begun: its effects still happen.
pub async fn run<T, F>(name: &'static str, job: F) -> Result<T, Lost>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    if crate::single::is_on() {
        return Ok(job());
    }
    #[expect(clippy::disallowed_methods, reason = "the one door")]
    let handle = tokio::task::spawn_blocking(job);
    handle.await.map_err(|source| Lost { name, source })
}

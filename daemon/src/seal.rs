//! Makes images survive a power failure: in the background while the daemon runs, and before a clean stop.
//!
//! No command waits for the disk: what came in since is synced in one go, see `shoal_engine_images::content`.

use std::time::Duration;

use shoal_base::{SharedClock, blocking};
use shoal_engine_images::image::Images;
use shoal_model::error::Chain;

/// Between two looks for something new; a look without news costs two locks.
const PERIOD: Duration = Duration::from_secs(15);

/// Seals what came in, again and again.
///
/// # Cancel safety
/// Dropping the future at most leaves blobs unsealed, which the next start accepts.
pub(crate) async fn keep_sealing(images: Images, clock: SharedClock) {
    loop {
        clock.sleep(PERIOD).await;
        seal(&images).await;
    }
}

/// Seals what came in. A failure is logged: what is unsealed is only verified again after a power failure.
pub(crate) async fn seal(images: &Images) {
    let images = images.clone();
    match blocking::run("seal images", move || images.seal()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %Chain(&error), "images are not sealed"),
        Err(error) => tracing::warn!(error = %Chain(&error), "images are not sealed"),
    }
}

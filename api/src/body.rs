//! The body of a request whose handler may refuse it before it was read.
//!
//! A client that still writes its body when the connection is closed sees a broken pipe instead of the
//! refusal: so what is left of a moderate body is read before a refusal is sent, as Go's server does.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use futures_util::StreamExt as _;
use hyper::body::{Frame, SizeHint};
use shoal_base::SharedClock;

/// Bytes of a refused body that are read; a client that sends more must bear a broken pipe.
const DRAIN_MAX: usize = 8 << 20;
/// How long such a client may take.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A body that a handler and the router share.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Body>>);

impl Shared {
    pub(crate) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(body)))
    }

    fn body(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is left, up to the limits.
    pub(crate) async fn drain(self, clock: &SharedClock) {
        let read = async {
            let mut stream = Body::new(self).into_data_stream();
            let mut left = DRAIN_MAX;
            while let Some(Ok(chunk)) = stream.next().await {
                let Some(rest) = left.checked_sub(chunk.len()) else { return };
                left = rest;
            }
        };
        tokio::select! {
            () = read => {}
            () = clock.sleep(DRAIN_TIME) => {}
        }
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

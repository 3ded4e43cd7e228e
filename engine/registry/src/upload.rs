//! Upload of a blob: mount from another repository, or one streamed PATCH that resumes, then PUT.
//!
//! Source: OCI distribution-spec "Pushing a blob in chunks", "Mounting a blob from another repository".
//! PATCH and not one monolithic PUT: a session knows how much it has, so a broken connection costs only
//! what was in flight.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::header::{CONTENT_RANGE, CONTENT_TYPE, RANGE};
use http::{HeaderValue, Method, StatusCode, Uri};
use shoal_model::{Digest, Reference};

use crate::error::Error;
use crate::header::range;
use crate::refusal::Code;
use crate::repository::Repository;
use crate::session::{Session, backoff};
use crate::transport::{Payload, Reader, Request, Response, Source};
use crate::url;

/// What came of a mount.
#[derive(Debug)]
pub enum Mount {
    /// The registry has the blob in this repository now.
    Mounted,
    /// It must be uploaded; the registry opened a session for that.
    Upload(Upload),
}

/// An open upload session.
#[derive(Debug)]
pub struct Upload {
    location: Uri,
    /// Bytes that the session holds.
    held: u64,
}

/// Tells how many bytes have gone out. Called often.
pub trait Meter: Send + Sync {
    /// `position` bytes of the blob have been handed to the connection. May go back after a failure.
    fn at(&self, position: u64);
}

impl Repository {
    /// Asks the registry to take a blob from another of its repositories.
    ///
    /// # Errors
    /// Refusals of the registry and failures on the way. A registry that does not mount opens an upload.
    pub async fn mount(&self, digest: Digest, from: &Reference) -> Result<Mount, Error> {
        let digest = digest.to_string();
        let query = [("mount", digest.as_str()), ("from", from.path())];
        let path = url::with_query(&self.path("blobs/uploads/"), &query);
        let response = self.post(path).await?;
        if response.status == StatusCode::CREATED {
            return Ok(Mount::Mounted);
        }
        Ok(Mount::Upload(Upload { location: response.location()?, held: 0 }))
    }

    /// Opens an upload session.
    ///
    /// # Errors
    /// Refusals of the registry and failures on the way.
    pub async fn start_upload(&self) -> Result<Upload, Error> {
        let response = self.post(self.path("blobs/uploads/")).await?;
        Ok(Upload { location: response.location()?, held: 0 })
    }

    async fn post(&self, path: String) -> Result<Response, Error> {
        self.try_each(move |session| {
            let path = path.clone();
            Box::pin(async move {
                // An upload opened twice is one that the registry forgets.
                session.read(session.request(Method::POST, &path)?).await
            })
        })
        .await
    }

    /// Sends a blob through an open session.
    ///
    /// # Errors
    /// Refusals, and failures that did not pass in the attempts allowed.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a session that the registry removes in its time.
    pub async fn upload(
        &self,
        mut upload: Upload,
        digest: Digest,
        size: u64,
        source: Arc<dyn Source>,
        meter: Arc<dyn Meter>,
    ) -> Result<(), Error> {
        let session = self.live_session();
        let attempts = self.client().settings().attempts.max(1);
        let mut failures = 0;
        loop {
            let before = upload.held;
            let error = match finish(session, &mut upload, digest, size, &source, &meter).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if upload.held > before {
                failures = 0;
            }
            failures += 1;
            let lost = error.refusal().is_some_and(|refusal| refusal.code == Code::UploadUnknown)
                || matches!(error, Error::Status { status: 416, .. })
                || error.refusal().is_some_and(|refusal| refusal.status == 416);
            if failures >= attempts || !(error.is_transient() || lost) {
                return Err(error);
            }
            tracing::info!(%digest, held = upload.held, error = %error, "upload broke");
            let wish = error.refusal().and_then(|refusal| refusal.retry_after);
            session.clock.sleep(backoff(failures, wish)).await;
            upload = self.recover(session, upload, lost).await?;
            meter.at(upload.held);
        }
    }

    /// Asks what a session holds; opens a new one when it is gone.
    async fn recover(
        &self,
        session: &Session,
        upload: Upload,
        lost: bool,
    ) -> Result<Upload, Error> {
        if !lost {
            let status = session.read(Request::new(Method::GET, upload.location.clone())).await;
            match status {
                Ok(response) => {
                    let location = response.location().unwrap_or(upload.location);
                    let held = range::received(&response.headers);
                    if let Some(held) = held {
                        return Ok(Upload { location, held });
                    }
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => tracing::debug!(error = %error, "upload session is gone"),
            }
        }
        self.start_upload().await
    }
}

/// Sends what the session does not hold yet, then closes it.
async fn finish(
    session: &Session,
    upload: &mut Upload,
    digest: Digest,
    size: u64,
    source: &Arc<dyn Source>,
    meter: &Arc<dyn Meter>,
) -> Result<(), Error> {
    if upload.held < size {
        let mut request = Request::new(Method::PATCH, upload.location.clone());
        let octets = HeaderValue::from_static("application/octet-stream");
        request.headers.insert(CONTENT_TYPE, octets);
        if upload.held > 0 {
            let text = format!("{}-{}", upload.held, size - 1);
            let value = HeaderValue::from_str(&text).expect("digits are a header value");
            request.headers.insert(CONTENT_RANGE, value);
        }
        let source: Arc<dyn Source> =
            Arc::new(Metered { source: Arc::clone(source), meter: Arc::clone(meter) });
        let (offset, length) = (upload.held, size - upload.held);
        request.payload = Payload::Part { source, offset, length };
        let response = session.send(request).await?;
        upload.location = response.location()?;
        // A registry that says how much it took is believed, and asked to take the rest.
        let held = if response.headers.contains_key(RANGE) && size > 1 {
            range::received(&response.headers).unwrap_or(size)
        } else {
            size
        };
        upload.held = held.min(size);
        if upload.held < size {
            let url = upload.location.to_string();
            return Err(Error::Broken { url, source: "the registry took only a part".into() });
        }
    }
    let target = url::with_query(&upload.location.to_string(), &[("digest", &digest.to_string())]);
    let target = url::absolute(&target)
        .map_err(|source| Error::Url { host: session.endpoint.host.clone(), source })?;
    let response = session.send(Request::new(Method::PUT, target)).await?;
    if matches!(response.status, StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK) {
        return Ok(());
    }
    Err(Error::Status { url: response.url.to_string(), status: response.status.as_u16() })
}

/// A source whose readers tell where they are.
struct Metered {
    source: Arc<dyn Source>,
    meter: Arc<dyn Meter>,
}

impl Source for Metered {
    fn open(&self, offset: u64) -> BoxFuture<'_, std::io::Result<Reader>> {
        Box::pin(async move {
            let inner = self.source.open(offset).await?;
            let meter = Arc::clone(&self.meter);
            Ok(Box::new(MeteredReader { inner, position: offset, meter }) as Reader)
        })
    }
}

struct MeteredReader {
    inner: Reader,
    position: u64,
    meter: Arc<dyn Meter>,
}

impl tokio::io::AsyncRead for MeteredReader {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let polled = std::pin::Pin::new(&mut this.inner).poll_read(cx, buf);
        let read = buf.filled().len() - before;
        if read > 0 {
            this.position += u64::try_from(read).unwrap_or(0);
            this.meter.at(this.position);
        }
        polled
    }
}

//! Applies [`crate::rules`] to each call, before any handler sees it.
//!
//! Also refuses nodes that were removed, on connections that they already had.

use std::future::{Ready, ready};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Extensions, Request, Response};
use tonic::Status;
use tower_layer::Layer;
use tower_service::Service;

use crate::credentials::Credentials;
use crate::peer::{PeerIdentity, PeerInfo};
use crate::rules::{self, Refusal};

/// The layer. Put it around all services of a listener of [`crate::listen`].
#[derive(Debug, Clone)]
pub struct Authorize(Credentials);

impl Authorize {
    /// Refuses the nodes that `credentials` say were removed.
    pub fn new(credentials: &Credentials) -> Self {
        Self(credentials.clone())
    }
}

impl<S> Layer<S> for Authorize {
    type Service = Authorized<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authorized { inner, credentials: self.0.clone() }
    }
}

/// A service whose callers are checked.
#[derive(Debug, Clone)]
pub struct Authorized<S> {
    inner: S,
    credentials: Credentials,
}

impl<S, B, R> Service<Request<B>> for Authorized<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Self::Response, Self::Error>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.check(request.uri().path(), request.extensions()) {
            Ok(()) => Either::Left(self.inner.call(request)),
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}

impl<S> Authorized<S> {
    fn check(&self, path: &str, extensions: &Extensions) -> Result<(), Box<Status>> {
        let identity = extensions.get::<PeerInfo>().and_then(|peer| peer.identity);
        if let Some(peer) = identity
            && self.credentials.is_revoked(peer.node)
        {
            let text = format!("node `{}` was removed from the cluster", peer.node);
            return Err(Box::new(Status::permission_denied(text)));
        }
        rules::decide(path, identity).map_err(|refusal| Box::new(status(&refusal)))
    }
}

fn status(refusal: &Refusal) -> Status {
    match refusal {
        Refusal::NoRule { .. } => Status::unimplemented(refusal.to_string()),
        Refusal::NoCertificate { .. } => Status::unauthenticated(refusal.to_string()),
        Refusal::NotManager { .. } => Status::permission_denied(refusal.to_string()),
    }
}

/// Who calls, for handlers.
///
/// # Errors
/// `UNAUTHENTICATED` when the caller has shown no certificate.
pub fn caller(extensions: &Extensions) -> Result<PeerIdentity, Status> {
    extensions
        .get::<PeerInfo>()
        .and_then(|peer| peer.identity)
        .ok_or_else(|| Status::unauthenticated("this call needs a certificate of the cluster"))
}

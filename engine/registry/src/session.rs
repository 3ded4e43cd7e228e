//! One endpoint with one caller's credentials: answers challenges, retries what may be retried.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderValue, Method, StatusCode};
use shoal_base::SharedClock;

use crate::credentials::Credentials;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::header::challenge::{self, Challenge};
use crate::token::{self, Cache, Grant, Offline, Wish};
use crate::transport::{Request, Response, Transport};
use crate::url;

/// Attempts of a request that only reads.
const READ_ATTEMPTS: u32 = 4;
const BACKOFF_FIRST: Duration = Duration::from_millis(250);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// How long to wait before attempt `attempt` + 1, counted from 0; a registry's own wish counts, bounded.
pub(crate) fn backoff(attempt: u32, wish: Option<Duration>) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1 << attempt.min(10));
    wish.map_or(doubled, |wish| wish.max(doubled)).min(BACKOFF_MAX)
}

/// How the registry wants to be told who asks.
#[derive(Debug, Clone)]
enum Scheme {
    Basic,
    Bearer { realm: String, service: String },
}

/// One endpoint of a registry, as one caller sees it.
pub(crate) struct Session {
    pub(crate) endpoint: Endpoint,
    pub(crate) clock: SharedClock,
    transport: Transport,
    credentials: Credentials,
    cache: Arc<Cache>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` until the registry has asked.
    scheme: Option<Scheme>,
    /// What tokens are asked for.
    scopes: BTreeSet<String>,
}

impl Session {
    pub(crate) fn new(
        endpoint: Endpoint,
        transport: Transport,
        credentials: Credentials,
        cache: Arc<Cache>,
        clock: SharedClock,
        scopes: BTreeSet<String>,
    ) -> Self {
        let state = Mutex::new(State { scheme: None, scopes });
        Self { endpoint, clock, transport, credentials, cache, state }
    }

    /// Asks for one more scope from now on.
    pub(crate) fn add_scope(&self, scope: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.scopes = union(&state.scopes, [scope]);
    }

    /// A request for a path below the endpoint, e.g. `/v2/`.
    pub(crate) fn request(&self, method: Method, path: &str) -> Result<Request, Error> {
        let target = url::absolute(&format!("{}{path}", self.endpoint.base))
            .map_err(|source| Error::Url { host: self.endpoint.host.clone(), source })?;
        Ok(Request::new(method, target))
    }

    /// Sends a request, answering challenges. The status of the result is below 400.
    pub(crate) async fn send(&self, request: Request) -> Result<Response, Error> {
        let response = self.send_any(request).await?;
        if response.status.is_client_error() || response.status.is_server_error() {
            return Err(response.into_error().await);
        }
        Ok(response)
    }

    /// As [`Session::send`], trying again after failures that may pass. Only for requests that may
    /// be repeated.
    pub(crate) async fn read(&self, request: Request) -> Result<Response, Error> {
        let mut attempt = 0;
        loop {
            let error = match self.send(request.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            // No connection: another endpoint may do better. Silence has cost enough already. A 429 is
            // for the caller to see.
            let again = match &error {
                Error::Broken { .. } => true,
                Error::Status { status, .. } => *status >= 500,
                Error::Refused { refusal, .. } => refusal.status >= 500,
                _ => false,
            };
            attempt += 1;
            if !again || attempt == READ_ATTEMPTS {
                return Err(error);
            }
            let wait =
                backoff(attempt - 1, error.refusal().and_then(|refusal| refusal.retry_after));
            tracing::debug!(error = %error, ?wait, "registry request failed, trying again");
            self.clock.sleep(wait).await;
        }
    }

    /// Sends a request, answering one challenge. The status may be any.
    pub(crate) async fn send_any(&self, mut request: Request) -> Result<Response, Error> {
        let wish = self.authorize(&mut request).await?;
        let response = self.transport.send(&request).await?;
        if response.status != StatusCode::UNAUTHORIZED
            || !url::same_origin(&response.url, &request.url)
        {
            return Ok(response);
        }
        let challenges = challenge::of(&response.headers);
        let refused_basic = request.headers.contains_key(AUTHORIZATION) && wish.is_none();
        if challenges.is_empty() || refused_basic || !self.credentials.registry_token.is_empty() {
            return Ok(response);
        }
        if let Some(wish) = wish {
            self.cache.forget(&wish, &self.credentials);
        }
        self.learn(&challenges)?;
        request.headers.remove(AUTHORIZATION);
        self.authorize(&mut request).await?;
        self.transport.send(&request).await
    }

    /// Remembers what the registry asked for.
    fn learn(&self, challenges: &[Challenge]) -> Result<(), Error> {
        let of = |scheme: &str| challenges.iter().find(|challenge| challenge.scheme == scheme);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bearer) = of("bearer") {
            let text = |name: &str| bearer.parameter(name).unwrap_or_default().to_owned();
            let scopes = text("scope");
            let all = union(&state.scopes, scopes.split_ascii_whitespace());
            state.scopes = all;
            state.scheme = Some(Scheme::Bearer { realm: text("realm"), service: text("service") });
        } else if of("basic").is_some() {
            state.scheme = Some(Scheme::Basic);
        } else {
            return Err(Error::Scheme { host: self.endpoint.host.clone() });
        }
        Ok(())
    }

    /// Adds the credentials that the registry asked for, if it did and the request goes to its origin.
    /// Returns the wish behind a token of the cache or the token server.
    async fn authorize(&self, request: &mut Request) -> Result<Option<Wish>, Error> {
        let origin = url::absolute(&self.endpoint.base)
            .map_err(|source| Error::Url { host: self.endpoint.host.clone(), source })?;
        if !url::same_origin(&origin, &request.url) {
            return Ok(None);
        }
        if !self.credentials.registry_token.is_empty() {
            let text = format!("Bearer {}", self.credentials.registry_token);
            Self::insert(request, token::secret_header(&text))?;
            return Ok(None);
        }
        let (scheme, scopes) = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state.scheme.clone(), state.scopes.clone())
        };
        match scheme {
            None => Ok(None),
            Some(Scheme::Basic) => {
                Self::insert(request, token::basic_header(&self.credentials))?;
                Ok(None)
            }
            Some(Scheme::Bearer { realm, service }) => {
                let wish = Wish { realm, service, scopes };
                let token = self.token(&wish).await?;
                Self::insert(request, token::secret_header(&format!("Bearer {token}")))?;
                Ok(Some(wish))
            }
        }
    }

    fn insert(request: &mut Request, value: Option<HeaderValue>) -> Result<(), Error> {
        let value = value.ok_or_else(|| Error::NoCredentials {
            method: request.method.to_string(),
            url: request.url.to_string(),
        })?;
        request.headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    async fn token(&self, wish: &Wish) -> Result<String, Error> {
        let now = self.clock.monotonic();
        if let Some(token) = self.cache.get(wish, &self.credentials, now) {
            return Ok(token);
        }
        let grant = token::fetch(&self.transport, wish, &self.credentials, Offline::No).await?;
        self.cache.put(wish.clone(), &self.credentials, &grant, self.clock.monotonic());
        Ok(grant.token)
    }

    /// Asks the token server of the registry's challenge for a token and a refresh token; `None` when the
    /// registry has no token server.
    pub(crate) async fn login_grant(&self, response: &Response) -> Result<Option<Grant>, Error> {
        self.learn(&challenge::of(&response.headers))?;
        let wish = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match state.scheme.clone() {
                Some(Scheme::Bearer { realm, service }) => {
                    Wish { realm, service, scopes: BTreeSet::new() }
                }
                _ => return Ok(None),
            }
        };
        token::fetch(&self.transport, &wish, &self.credentials, Offline::Yes).await.map(Some)
    }

    /// Sends without any credentials of the session.
    pub(crate) async fn send_bare(&self, request: &Request) -> Result<Response, Error> {
        self.transport.send(request).await
    }
}

/// Adds scopes, merging the actions of one resource: `repository:a:pull` and `repository:a:push,pull` become
/// `repository:a:pull,push`.
fn union<'a>(
    scopes: &'a BTreeSet<String>,
    added: impl IntoIterator<Item = &'a str>,
) -> BTreeSet<String> {
    let mut resources = std::collections::BTreeMap::<String, BTreeSet<String>>::new();
    for scope in scopes.iter().map(String::as_str).chain(added) {
        let (resource, actions) = scope.rsplit_once(':').unwrap_or((scope, ""));
        let known = resources.entry(resource.to_owned()).or_default();
        known.extend(actions.split(',').filter(|action| !action.is_empty()).map(str::to_owned));
    }
    let join = |(resource, actions): (String, BTreeSet<String>)| {
        let actions = actions.into_iter().collect::<Vec<_>>().join(",");
        format!("{resource}:{actions}")
    };
    resources.into_iter().map(join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_one_repository_are_merged() {
        let start = ["repository:a/b:pull".to_owned()].into();
        let all = union(
            &start,
            ["repository:a/b:push,pull", "repository:h:5/c:pull", "registry:catalog:*"],
        );
        assert_eq!(
            all.into_iter().collect::<Vec<_>>(),
            ["registry:catalog:*", "repository:a/b:pull,push", "repository:h:5/c:pull"]
        );
    }

    #[test]
    fn back_off_doubles_listens_and_ends() {
        let seconds = Duration::from_secs;
        assert_eq!(backoff(0, None), Duration::from_millis(250));
        assert_eq!(backoff(3, None), seconds(2));
        assert_eq!(backoff(40, None), seconds(10));
        assert_eq!(backoff(0, Some(seconds(3))), seconds(3));
        assert_eq!(backoff(0, Some(seconds(3600))), seconds(10));
    }
}

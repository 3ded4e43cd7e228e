//! Bearer tokens: asked for by scope, kept until shortly before they expire.
//!
//! Source: distribution `docs/spec/auth/token.md` (GET) and `oauth.md` (POST);
//! distribution `registry/client/auth/session.go` (defaults, which form when).

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;

use crate::credentials::Credentials;
use crate::error::Error;
use crate::transport::{Payload, Request, Response, Transport, host_of};
use crate::url;

/// The name under which token servers know docker's daemon; some give refresh tokens to known clients only.
const CLIENT_ID: &str = "docker";
const ANSWER_MAX: usize = 1 << 20;
const LIFE_MIN: Duration = Duration::from_secs(60);
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
const MARGIN: Duration = Duration::from_secs(10);
const CACHED_MAX: usize = 512;

/// What a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wish {
    pub(crate) realm: String,
    pub(crate) service: String,
    /// `repository:<name>:<actions>` and the like.
    pub(crate) scopes: BTreeSet<String>,
}

/// Whether a refresh token is wanted too: only a login does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offline {
    Yes,
    No,
}

/// What a token server gave.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) token: String,
    pub(crate) refresh_token: String,
    pub(crate) life: Duration,
}

/// Tokens by wish and by whose they are.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    tokens: Mutex<HashMap<(Wish, [u8; 32]), Cached>>,
}

#[derive(Debug, Clone)]
struct Cached {
    token: String,
    /// On the monotonic clock.
    expires: Duration,
}

impl Cache {
    /// A token that is good at `now` and a little longer.
    pub(crate) fn get(&self, wish: &Wish, owner: &Credentials, now: Duration) -> Option<String> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = tokens.get(&(wish.clone(), owner.fingerprint()))?;
        (now < cached.expires).then(|| cached.token.clone())
    }

    pub(crate) fn put(&self, wish: Wish, owner: &Credentials, grant: &Grant, now: Duration) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        if tokens.len() >= CACHED_MAX {
            tokens.retain(|_, cached| now < cached.expires);
        }
        if tokens.len() >= CACHED_MAX {
            tokens.clear();
        }
        let expires = now + grant.life.saturating_sub(MARGIN);
        let cached = Cached { token: grant.token.clone(), expires };
        tokens.insert((wish, owner.fingerprint()), cached);
    }

    /// Forgets a token that the registry no longer takes.
    pub(crate) fn forget(&self, wish: &Wish, owner: &Credentials) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.remove(&(wish.clone(), owner.fingerprint()));
    }
}

/// Asks the token server.
pub(crate) async fn fetch(
    transport: &Transport,
    wish: &Wish,
    credentials: &Credentials,
    offline: Offline,
) -> Result<Grant, Error> {
    let realm = url::absolute(&wish.realm)
        .map_err(|source| Error::Url { host: wish.service.clone(), source })?;
    let host = host_of(&realm);
    let failed = |source| Error::Token { host: host.clone(), source: Box::new(source) };
    let request = if credentials.identity_token.is_empty() {
        by_query(wish, credentials, offline).map_err(failed)?
    } else {
        by_form(wish, &credentials.identity_token, realm)
    };
    let mut response = transport.send(&request).await.map_err(failed)?;
    let no_form = matches!(response.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
    if no_form && request.method == Method::POST && credentials.basic().is_some() {
        let request = by_query(wish, credentials, offline).map_err(failed)?;
        response = transport.send(&request).await.map_err(failed)?;
    }
    if response.status != StatusCode::OK {
        return Err(failed(response.into_error().await));
    }
    read(&mut response).await.map_err(failed)
}

/// OAuth2 with a refresh token.
fn by_form(wish: &Wish, refresh_token: &str, realm: http::Uri) -> Request {
    let scope = wish.scopes.iter().map(String::as_str).collect::<Vec<_>>().join(" ");
    let form = url::form(&[
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
        ("service", &wish.service),
        ("client_id", CLIENT_ID),
        ("scope", &scope),
    ]);
    let mut request = Request::new(Method::POST, realm);
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers.insert(CONTENT_TYPE, form_type);
    request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    request.payload = Payload::Bytes(Bytes::from(form));
    request
}

/// The docker form: a query, with basic credentials if there are any.
fn by_query(wish: &Wish, credentials: &Credentials, offline: Offline) -> Result<Request, Error> {
    let mut query = Vec::new();
    if !wish.service.is_empty() {
        query.push(("service", wish.service.as_str()));
    }
    query.extend(wish.scopes.iter().map(|scope| ("scope", scope.as_str())));
    if let Some((user, _)) = credentials.basic() {
        query.push(("account", user));
    }
    if offline == Offline::Yes {
        query.extend([("offline_token", "true"), ("client_id", CLIENT_ID)]);
    }
    let target = url::absolute(&url::with_query(&wish.realm, &query))
        .map_err(|source| Error::Url { host: wish.service.clone(), source })?;
    let mut request = Request::new(Method::GET, target);
    request.headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    if let Some(value) = basic_header(credentials) {
        request.headers.insert(AUTHORIZATION, value);
    }
    Ok(request)
}

/// `Basic …`, if there are a user and a password.
pub(crate) fn basic_header(credentials: &Credentials) -> Option<HeaderValue> {
    let (user, password) = credentials.basic()?;
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    secret_header(&format!("Basic {encoded}"))
}

/// A header value that is never shown.
pub(crate) fn secret_header(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: String,
    #[serde(default)]
    expires_in: u64,
}

async fn read(response: &mut Response) -> Result<Grant, Error> {
    let body = response.bytes(ANSWER_MAX).await?;
    let url = response.url.to_string();
    let answer: Answer = serde_json::from_slice(&body).map_err(|source| Error::NotJson {
        url: url.clone(),
        what: "a token",
        source,
    })?;
    let token = if answer.token.is_empty() { answer.access_token } else { answer.token };
    if token.is_empty() {
        return Err(Error::Malformed { url, what: "token" });
    }
    let life = Duration::from_secs(answer.expires_in).clamp(LIFE_MIN, LIFE_MAX);
    Ok(Grant { token, refresh_token: answer.refresh_token, life })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish() -> Wish {
        Wish {
            realm: "https://auth.example/token?x=1".to_owned(),
            service: "registry".to_owned(),
            scopes: ["repository:a/b:pull", "repository:c:pull,push"].map(str::to_owned).into(),
        }
    }

    #[test]
    fn asks_by_query_with_every_scope() {
        let user = Credentials {
            username: "ann".to_owned(),
            password: "pw".to_owned(),
            ..Credentials::default()
        };
        let request = by_query(&wish(), &user, Offline::Yes).unwrap();
        assert_eq!(
            request.url.to_string(),
            "https://auth.example/token?x=1&service=registry&scope=repository%3Aa%2Fb%3Apull\
             &scope=repository%3Ac%3Apull%2Cpush&account=ann&offline_token=true&client_id=docker"
        );
        assert_eq!(request.headers[AUTHORIZATION], "Basic YW5uOnB3");
        let anonymous = by_query(&wish(), &Credentials::default(), Offline::No).unwrap();
        assert!(!anonymous.headers.contains_key(AUTHORIZATION));
    }

    #[test]
    fn tokens_expire_and_belong_to_their_owner() {
        let (cache, nobody) = (Cache::default(), Credentials::default());
        let ann = Credentials { username: "ann".to_owned(), ..Credentials::default() };
        let life = Duration::from_secs(60);
        let grant = Grant { token: "t".to_owned(), refresh_token: String::new(), life };
        cache.put(wish(), &ann, &grant, Duration::from_secs(100));
        let at = |seconds| cache.get(&wish(), &ann, Duration::from_secs(seconds));
        assert_eq!(at(149).as_deref(), Some("t"));
        assert_eq!(at(150), None);
        assert_eq!(cache.get(&wish(), &nobody, Duration::from_secs(100)), None);
        cache.forget(&wish(), &ann);
        assert_eq!(at(100), None);
    }
}

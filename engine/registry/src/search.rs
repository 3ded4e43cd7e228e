//! Search, where a registry offers docker's old search.
//!
//! Source: moby `daemon/pkg/registry/search.go`, `search_session.go` (`/v1/search?q=…&n=…`, term
//! `host/term`), limits 1 to 100.

use http::{Method, StatusCode};
use serde::Deserialize;

use shoal_model::reference::DEFAULT_DOMAIN;

use crate::client::Client;
use crate::credentials::Credentials;
use crate::endpoint::{Access, Endpoint, Role, Trust, lookup};
use crate::error::Error;
use crate::session::Session;
use crate::token::basic_header;
use crate::transport::Response;
use crate::url;

/// The host that answers searches of docker.io.
const INDEX_HOST: &str = "index.docker.io";
const ANSWER_MAX: usize = 8 << 20;
const LIMIT_MAX: u32 = 100;
/// What docker asks for when no limit is given.
const LIMIT_DEFAULT: u32 = 25;

/// One repository found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Found {
    /// Name, with the registry's host before it unless it is docker.io's.
    pub name: String,
    /// Free text.
    #[serde(default)]
    pub description: String,
    /// Popularity.
    #[serde(default)]
    pub star_count: i64,
    /// Whether it is one of docker's own.
    #[serde(default)]
    pub is_official: bool,
    /// Whether it is built by the registry.
    #[serde(default)]
    pub is_automated: bool,
}

impl Client {
    /// Searches a registry: `term` is `[host/]words`. Zero results asked for means docker's 25.
    ///
    /// # Errors
    /// When the term or limit is wrong, or the registry has no search.
    pub async fn search(
        &self,
        term: &str,
        limit: u32,
        credentials: &Credentials,
    ) -> Result<Vec<Found>, Error> {
        let (domain, words) = split(term);
        let refused = |why| Error::Search { host: domain.to_owned(), why };
        if term.contains("://") {
            return Err(refused("a search term has no scheme"));
        }
        if limit > LIMIT_MAX {
            return Err(refused("the limit is outside the range of 1 to 100"));
        }
        let limit = if limit == 0 { LIMIT_DEFAULT } else { limit };
        let mut last = None;
        for endpoint in self.index(domain).await {
            let session = self.session(endpoint, credentials, None).await?;
            match query(&session, words, limit, credentials).await {
                Err(error) if error.is_connect() => last = Some(error),
                Err(error) => return Err(error),
                Ok(found) => {
                    let prefix = |name| match domain {
                        DEFAULT_DOMAIN => name,
                        _ => format!("{domain}/{name}"),
                    };
                    let named = |found: Found| Found { name: prefix(found.name), ..found };
                    return Ok(found.into_iter().map(named).collect());
                }
            }
        }
        Err(last.expect("a registry has at least one endpoint"))
    }

    async fn index(&self, domain: &str) -> Vec<Endpoint> {
        if domain == DEFAULT_DOMAIN {
            return vec![Endpoint {
                base: format!("https://{INDEX_HOST}"),
                host: INDEX_HOST.to_owned(),
                trust: Trust::Verify,
                role: Role::Upstream,
            }];
        }
        let settings = self.settings();
        lookup(domain, Access::Push, &settings.mirrors, &settings.insecure).await
    }
}

async fn query(
    session: &Session,
    words: &str,
    limit: u32,
    credentials: &Credentials,
) -> Result<Vec<Found>, Error> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        results: Vec<Found>,
    }
    let path = url::with_query("/v1/search", &[("q", words), ("n", &limit.to_string())]);
    let mut request = session.request(Method::GET, &path)?;
    request.headers.insert("x-docker-token", http::HeaderValue::from_static("true"));
    if let Some(value) = basic_header(credentials) {
        request.headers.insert(http::header::AUTHORIZATION, value);
    }
    let mut response: Response = session.send_bare(&request).await?;
    if response.status != StatusCode::OK {
        let (host, status) = (session.endpoint.host.clone(), response.status.as_u16());
        return Err(Error::SearchStatus { host, status });
    }
    let body = response.bytes(ANSWER_MAX).await?;
    let url = response.url.to_string();
    let answer: Answer = serde_json::from_slice(&body).map_err(|source| Error::NotJson {
        url,
        what: "a search result",
        source,
    })?;
    Ok(answer.results)
}

/// Splits `host/words` as references are split; `library/` before a docker.io name is dropped.
fn split(term: &str) -> (&str, &str) {
    match term.split_once('/') {
        Some((host, words)) if host.contains(['.', ':']) || host == "localhost" => {
            let host = if host == INDEX_HOST { DEFAULT_DOMAIN } else { host };
            (
                host,
                words.strip_prefix("library/").filter(|_| host == DEFAULT_DOMAIN).unwrap_or(words),
            )
        }
        _ => (DEFAULT_DOMAIN, term.strip_prefix("library/").unwrap_or(term)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_name_their_registry() {
        for (term, expected) in [
            ("busybox", ("docker.io", "busybox")),
            ("library/busybox", ("docker.io", "busybox")),
            ("user/app", ("docker.io", "user/app")),
            ("docker.io/busybox", ("docker.io", "busybox")),
            ("localhost:5000/a/b", ("localhost:5000", "a/b")),
        ] {
            assert_eq!(split(term), expected, "{term}");
        }
    }
}

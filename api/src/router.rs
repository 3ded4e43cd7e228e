//! Which handler a request gets: version prefix, then the table of routes.
//!
//! Own matching, since names of images hold slashes (`/images/{name:.*}/json`) and escapes are decoded
//! before matching, as in dockerd. A method that a path does not have is 404 there too.

use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, StatusCode};
use shoal_api_wire::{ApiVersion, version};

use crate::body::Shared;
use crate::error::ApiError;
use crate::ports::Ports;
use crate::request::{Answer, Context, Query, percent_decode};
use crate::routes::TABLE;

/// A handler.
pub(crate) type Handler = fn(Context) -> BoxFuture<'static, Answer>;

/// One row of the table. `{name}` is one segment, `{name:.*}` several.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) pattern: &'static str,
    pub(crate) handler: Handler,
}

/// The API over these ports.
pub fn router(ports: Ports) -> axum::Router {
    axum::Router::new().fallback(dispatch).with_state(ports)
}

const SERVER: &str = concat!("Shoal/", env!("CARGO_PKG_VERSION"), " (linux)");

async fn dispatch(State(ports): State<Ports>, request: Request<Body>) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let is_head = method == Method::HEAD;
    let mut response = match answer(ports, request).await {
        Ok(response) => response,
        Err(error) => {
            if error.status == StatusCode::INTERNAL_SERVER_ERROR {
                tracing::error!(%method, path, error = error.message, "request failed");
            }
            error.into_response()
        }
    };
    if is_head && !response.status().is_success() {
        *response.body_mut() = Body::empty();
    }
    let headers = response.headers_mut();
    headers.insert("server", HeaderValue::from_static(SERVER));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    if let Ok(max) = HeaderValue::from_str(&version::MAX.to_string()) {
        headers.insert("api-version", max);
    }
    response
}

/// The handler's answer; before a refusal, the request's body has been read.
async fn answer(ports: Ports, request: Request<Body>) -> Answer {
    if request.body().is_end_stream() {
        return handle(ports, request).await;
    }
    let (parts, body) = request.into_parts();
    let (body, clock) = (Shared::new(body), Arc::clone(&ports.clock));
    let answer = handle(ports, Request::from_parts(parts, Body::new(body.clone()))).await;
    if answer.is_err() {
        body.drain(&clock).await;
    }
    answer
}

async fn handle(ports: Ports, request: Request<Body>) -> Answer {
    let (parts, body) = request.into_parts();
    let path = percent_decode(parts.uri.path());
    let (version, path) = split_version(&path)?;
    let Some((route, params)) = find(&parts.method, path) else {
        return Err(ApiError::new(StatusCode::NOT_FOUND, "page not found"));
    };
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    (route.handler)(Context { ports, inside: None, version, params, query, parts, body }).await
}

/// The version a request speaks and its path without the prefix.
fn split_version(path: &str) -> Result<(ApiVersion, &str), ApiError> {
    let prefixed = path.strip_prefix("/v").and_then(|rest| {
        let end = rest.find('/')?;
        let number = &rest[..end];
        let is_number =
            !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        is_number.then(|| (number, &rest[end..]))
    });
    let Some((number, path)) = prefixed else { return Ok((version::MAX, path)) };
    let asked: ApiVersion = number
        .parse()
        .map_err(|_| ApiError::bad_request(format!("invalid API version: {number}")))?;
    if asked < version::MIN {
        return Err(ApiError::bad_request(format!(
            "client version {asked} is too old. Minimum supported API version is {}, please upgrade your \
             client to a newer version",
            version::MIN
        )));
    }
    if asked > version::MAX {
        return Err(ApiError::bad_request(format!(
            "client version {asked} is too new. Maximum supported API version is {}",
            version::MAX
        )));
    }
    Ok((asked, path))
}

type Params = Vec<(&'static str, String)>;

fn find(method: &Method, path: &str) -> Option<(&'static Route, Params)> {
    let routes = TABLE.iter().filter(|route| route.method == *method);
    routes.filter_map(|route| Some((route, fits(route.pattern, path)?))).next()
}

/// The parameters of `path`, when it fits `pattern`.
fn fits(pattern: &'static str, path: &str) -> Option<Params> {
    if let Some((prefix, suffix)) = pattern.split_once("{name:.*}") {
        let name = path.strip_prefix(prefix)?.strip_suffix(suffix)?;
        return (!name.is_empty()).then(|| vec![("name", name.to_owned())]);
    }
    let (mut expected, mut given) = (pattern.split('/'), path.split('/'));
    let mut params = Vec::new();
    loop {
        match (expected.next(), given.next()) {
            (None, None) => return Some(params),
            (Some(part), Some(value)) => {
                match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
                    Some(name) if !value.is_empty() => params.push((name, value.to_owned())),
                    None if part == value => {}
                    _ => return None,
                }
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> String {
        match split_version(path) {
            Err(error) => error.message,
            Ok((version, path)) => find(&method, path).map_or_else(
                || "none".to_owned(),
                |(route, params)| {
                    let params: Vec<_> = params.iter().map(|(_, value)| value.as_str()).collect();
                    format!("{version} {} {}", route.pattern, params.join(","))
                },
            ),
        }
    }

    #[test]
    fn finds_routes() {
        for (path, expected) in [
            ("/v1.44/containers/x/json", "1.44 /containers/{name}/json x"),
            ("/containers/json", "1.55 /containers/json "),
            ("/images/a/b:c/json", "1.55 /images/{name:.*}/json a/b:c"),
            ("/images/json", "1.55 /images/json "),
            ("/images/h:5000/a/b/get", "1.55 /images/{name:.*}/get h:5000/a/b"),
            ("/images/get", "1.55 /images/get "),
            ("/distribution/a/b/json", "1.55 /distribution/{name:.*}/json a/b"),
            ("/containers//json", "none"),
            ("/nope", "none"),
            (
                "/v1.24/info",
                "client version 1.24 is too old. Minimum supported API version is 1.40, please upgrade your client to a newer version",
            ),
            (
                "/v1.99/info",
                "client version 1.99 is too new. Maximum supported API version is 1.55",
            ),
        ] {
            assert_eq!(found(Method::GET, path), expected);
        }
        assert_eq!(found(Method::PATCH, "/info"), "none");
    }
}

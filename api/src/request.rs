//! One request: version, path parameters, query, body.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream::{StreamExt as _, TryStreamExt as _};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shoal_api_wire::{ApiVersion, json};
use shoal_model::image::Platform;
use shoal_model::{ErrorKind, Failure};

use crate::error::ApiError;
use crate::ports::{ByteStream, Inside, Ports};

/// Bytes of a JSON body, more is refused.
const BODY_MAX: usize = 8 << 20;

/// What a handler gets.
pub(crate) struct Context {
    pub(crate) ports: Ports,
    /// The container that the request is about; `None`: one of this host, by its name.
    pub(crate) inside: Option<Arc<dyn Inside>>,
    pub(crate) version: ApiVersion,
    pub(crate) params: Vec<(&'static str, String)>,
    pub(crate) query: Query,
    pub(crate) parts: Parts,
    pub(crate) body: Body,
}

/// What a handler gives.
pub(crate) type Answer = Result<Response, ApiError>;

impl Context {
    /// A parameter of the path. The route must have it.
    pub(crate) fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| value.as_str()).expect("the route names its parameters")
    }

    pub(crate) fn name(&self) -> &str {
        self.param("name")
    }

    /// Where what is done within a container is done.
    pub(crate) fn inside(&self) -> Arc<dyn Inside> {
        self.inside.clone().unwrap_or_else(|| self.ports.containers.clone())
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    pub(crate) fn has_body(&self) -> bool {
        let length = self.headers().get(header::CONTENT_LENGTH);
        let chunked = self.headers().contains_key(header::TRANSFER_ENCODING);
        chunked || length.is_some_and(|length| length != "0")
    }

    /// The body's bytes, at most [`BODY_MAX`].
    pub(crate) async fn bytes(&mut self) -> Result<Bytes, ApiError> {
        let body = std::mem::replace(&mut self.body, Body::empty());
        to_bytes(body, BODY_MAX).await.map_err(|error| {
            ApiError::bad_request(format!("cannot read the request body: {error}"))
        })
    }

    /// The body as JSON; `None` when there is none.
    pub(crate) async fn json_or_none<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<T>, ApiError> {
        self.check_content_type()?;
        let bytes = self.bytes().await?;
        // Old clients send `null` where newer ones send nothing.
        if bytes.is_empty() || bytes.trim_ascii() == b"null" {
            return Ok(None);
        }
        json::decode(&bytes).map(Some).map_err(invalid_json)
    }

    /// The body as JSON; without one all fields have their defaults.
    pub(crate) async fn json<T: DeserializeOwned + Default>(&mut self) -> Result<T, ApiError> {
        self.json_or_none().await.map(Option::unwrap_or_default)
    }

    pub(crate) fn check_content_type(&self) -> Result<(), ApiError> {
        let text = self
            .headers()
            .get(header::CONTENT_TYPE)
            .map_or("", |value| value.to_str().unwrap_or("?"));
        let media = text.split(';').next().unwrap_or_default().trim();
        if media.eq_ignore_ascii_case("application/json") || (text.is_empty() && !self.has_body()) {
            return Ok(());
        }
        if text.is_empty() {
            return Err(ApiError::bad_request(
                "malformed Content-Type header (): mime: no media type",
            ));
        }
        Err(ApiError::bad_request(format!(
            "unsupported Content-Type header ({text}): must be 'application/json'"
        )))
    }

    /// The body as a stream, for archives.
    pub(crate) fn stream(&mut self) -> ByteStream {
        let body = std::mem::replace(&mut self.body, Body::empty());
        let broken = |error: axum::Error| {
            Failure::new(ErrorKind::Cancelled, format!("the request body broke off: {error}"))
        };
        body.into_data_stream().map_err(broken).boxed()
    }

    /// The `platform` parameter, as text (`os/arch`) or as OCI JSON.
    pub(crate) fn platform(&self) -> Result<Option<Platform>, ApiError> {
        self.query.get("platform").filter(|text| !text.is_empty()).map(parse_platform).transpose()
    }

    /// All values of `name`, each a platform.
    pub(crate) fn platforms(&self, name: &str) -> Result<Vec<Platform>, ApiError> {
        self.query.all(name).filter(|text| !text.is_empty()).map(parse_platform).collect()
    }
}

fn parse_platform(text: &str) -> Result<Platform, ApiError> {
    let parsed = if text.starts_with('{') {
        serde_json::from_str::<Platform>(text).ok()
    } else {
        Platform::parse(text)
    };
    parsed.ok_or_else(|| {
        ApiError::bad_request(format!("\"{text}\" is an invalid OS/architecture: invalid argument"))
    })
}

pub(crate) fn invalid_json(error: json::Error) -> ApiError {
    ApiError::bad_request(error.to_string())
}

/// The query, in order.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode_plus(name), decode_plus(value))
                })
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Docker's flags: everything is true but nothing, `0`, `no`, `false`, `none`.
    pub(crate) fn flag(&self, name: &str) -> bool {
        let text = self.text(name).trim().to_ascii_lowercase();
        !matches!(text.as_str(), "" | "0" | "no" | "false" | "none")
    }

    /// A flag that is `default` when absent.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        if self.get(name).is_some() { self.flag(name) } else { default }
    }

    /// A number; absent and empty are `None`.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let text = self.text(name);
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            ApiError::bad_request(format!("invalid value for {name}: \"{text}\" is not a number"))
        })
    }
}

fn decode_plus(text: &str) -> String {
    percent_decode(&text.replace('+', " "))
}

/// Undoes `%XX`; what is no such escape stays.
pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let value = hex
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(value.unwrap_or(bytes[at]));
        at += if value.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A JSON answer.
pub(crate) fn json_answer(status: StatusCode, value: &impl Serialize) -> Answer {
    let mut body = serde_json::to_vec(value).map_err(|error| {
        ApiError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot encode the answer: {error}"),
        )
    })?;
    body.push(b'\n');
    Ok(typed(status, "application/json", Body::from(body)))
}

/// 200 with JSON.
pub(crate) fn ok(value: &impl Serialize) -> Answer {
    json_answer(StatusCode::OK, value)
}

/// A status without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    Ok(response)
}

pub(crate) fn typed(status: StatusCode, kind: &'static str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_queries_as_docker_does() {
        let query = Query::parse("all=1&a=no&b=False&c&d=x%20y+z&n=&t=a&t=b");
        let flags = ["all", "a", "b", "c", "d"].map(|name| query.flag(name));
        assert_eq!(flags, [true, false, false, false, true]);
        assert_eq!(query.text("d"), "x y z");
        assert_eq!(query.all("t").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(query.number::<i64>("n").unwrap(), None);
        assert_eq!(query.number::<i64>("d").unwrap_err().status, StatusCode::BAD_REQUEST);
        assert_eq!(percent_decode("%2Fa%zz%4"), "/a%zz%4");
    }
}

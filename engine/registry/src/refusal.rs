//! What a registry says when it refuses: code, message, and how its words are found in an answer.
//!
//! Pure. Source: OCI distribution-spec "Error Codes"; distribution `registry/client/errors.go`
//! `HandleHTTPResponseError` (challenges first, then `{"errors": […]}`, then `{"details": …}`).

use std::fmt;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use shoal_model::ErrorKind;

use crate::header::challenge;

/// Longest message kept of a registry's answer, in characters.
const MESSAGE_MAX: usize = 512;

/// Why a registry refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Code {
    /// Credentials are missing or wrong.
    Unauthorized,
    /// The credentials do not allow this.
    Denied,
    /// No such repository.
    NameUnknown,
    /// No such tag or manifest.
    ManifestUnknown,
    /// No such blob.
    BlobUnknown,
    /// The upload session is gone.
    UploadUnknown,
    /// Too many requests.
    TooManyRequests,
    /// The registry does not do this.
    Unsupported,
    /// The registry cannot do this now.
    Unavailable,
    /// A code without a meaning to us, in the registry's own capitals.
    Other(String),
}

impl Code {
    fn from_wire(code: &str) -> Self {
        match code {
            "UNAUTHORIZED" => Self::Unauthorized,
            "DENIED" => Self::Denied,
            "NAME_UNKNOWN" | "NAME_INVALID" => Self::NameUnknown,
            "MANIFEST_UNKNOWN" => Self::ManifestUnknown,
            "BLOB_UNKNOWN" => Self::BlobUnknown,
            "BLOB_UPLOAD_UNKNOWN" => Self::UploadUnknown,
            "TOOMANYREQUESTS" => Self::TooManyRequests,
            "UNSUPPORTED" => Self::Unsupported,
            "UNAVAILABLE" => Self::Unavailable,
            other => Self::Other(other.chars().take(64).collect()),
        }
    }

    /// The message that stands when the registry gives none.
    fn default_message(&self) -> &'static str {
        match self {
            Self::Unauthorized => "authentication required",
            Self::Denied => "requested access to the resource is denied",
            Self::NameUnknown => "repository name not known to registry",
            Self::ManifestUnknown => "manifest unknown",
            Self::BlobUnknown => "blob unknown to registry",
            Self::UploadUnknown => "blob upload unknown to registry",
            Self::TooManyRequests => "too many requests",
            Self::Unsupported => "the operation is unsupported",
            Self::Unavailable => "service unavailable",
            Self::Other(_) => "unknown error",
        }
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Unauthorized => ErrorKind::Unauthorized,
            Self::Denied => ErrorKind::Forbidden,
            Self::NameUnknown | Self::ManifestUnknown | Self::BlobUnknown => ErrorKind::NotFound,
            Self::TooManyRequests | Self::Unavailable => ErrorKind::Unavailable,
            Self::Unsupported => ErrorKind::NotImplemented,
            Self::UploadUnknown | Self::Other(_) => ErrorKind::Internal,
        }
    }
}

impl fmt::Display for Code {
    /// The code in lower case with blanks, as docker shows it before the message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unauthorized => f.write_str("unauthorized"),
            Self::Denied => f.write_str("denied"),
            Self::NameUnknown => f.write_str("name unknown"),
            Self::ManifestUnknown => f.write_str("manifest unknown"),
            Self::BlobUnknown => f.write_str("blob unknown"),
            Self::UploadUnknown => f.write_str("blob upload unknown"),
            Self::TooManyRequests => f.write_str("toomanyrequests"),
            Self::Unsupported => f.write_str("unsupported"),
            Self::Unavailable => f.write_str("unavailable"),
            Self::Other(code) => f.write_str(&code.to_lowercase().replace('_', " ")),
        }
    }
}

/// A registry's refusal. Displays as `code: message`, docker's form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// The registry's words, or the standard ones of the code.
    pub message: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// How long the registry asks us to wait.
    pub retry_after: Option<Duration>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
struct Details {
    details: String,
}

impl Refusal {
    /// Finds the refusal in an answer of status 400 or above; `None` when it says nothing in a known form
    /// and its status alone has no meaning.
    pub(crate) fn find(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Option<Self> {
        let (code, message) = from_challenge(status, headers)
            .or_else(|| from_errors(body))
            .or_else(|| from_details(status, body))
            .or_else(|| from_status(status))?;
        let message = if message.is_empty() {
            code.default_message().to_owned()
        } else {
            printable(&message)
        };
        let retry_after = headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        Some(Self { code, message, status: status.as_u16(), retry_after })
    }
}

/// RFC 6750 errors of a bearer challenge.
fn from_challenge(status: StatusCode, headers: &HeaderMap) -> Option<(Code, String)> {
    if !status.is_client_error() {
        return None;
    }
    challenge::of(headers).iter().filter(|challenge| challenge.scheme == "bearer").find_map(|c| {
        let code = match c.parameter("error")? {
            "invalid_token" => Code::Unauthorized,
            "insufficient_scope" => Code::Denied,
            _ => return None,
        };
        Some((code, c.parameter("error_description").unwrap_or_default().to_owned()))
    })
}

fn from_errors(body: &[u8]) -> Option<(Code, String)> {
    let errors: Errors = serde_json::from_slice(body).ok()?;
    let first = errors.errors.into_iter().next()?;
    Some((Code::from_wire(&first.code), first.message))
}

fn from_details(status: StatusCode, body: &[u8]) -> Option<(Code, String)> {
    let details: Details = serde_json::from_slice(body).ok()?;
    let code =
        from_status(status).map_or_else(|| Code::Other("UNKNOWN".to_owned()), |(code, _)| code);
    (!details.details.is_empty()).then_some((code, details.details))
}

fn from_status(status: StatusCode) -> Option<(Code, String)> {
    let code = match status {
        StatusCode::UNAUTHORIZED => Code::Unauthorized,
        StatusCode::FORBIDDEN => Code::Denied,
        StatusCode::TOO_MANY_REQUESTS => Code::TooManyRequests,
        _ => return None,
    };
    Some((code, String::new()))
}

/// Foreign text as one printable line of bounded length.
fn printable(text: &str) -> String {
    text.chars().take(MESSAGE_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use http::header::WWW_AUTHENTICATE;

    use super::*;

    fn found(status: u16, challenge: &str, body: &str) -> String {
        let mut headers = HeaderMap::new();
        if !challenge.is_empty() {
            headers.insert(WWW_AUTHENTICATE, challenge.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        Refusal::find(status, &headers, body.as_bytes())
            .map_or_else(|| "none".to_owned(), |refusal| refusal.to_string())
    }

    #[test]
    fn words_are_dockers() {
        let error = |code: &str, message: &str| {
            format!(r#"{{"errors":[{{"code":"{code}","message":"{message}","detail":{{}}}}]}}"#)
        };
        for (status, challenge, body, expected) in [
            (
                404,
                "",
                error("MANIFEST_UNKNOWN", "manifest unknown"),
                "manifest unknown: manifest unknown",
            ),
            (
                404,
                "",
                error("NAME_UNKNOWN", ""),
                "name unknown: repository name not known to registry",
            ),
            (
                401,
                "",
                error("UNAUTHORIZED", "authentication required"),
                "unauthorized: authentication required",
            ),
            (403, "", error("DENIED", "no\\nway"), "denied: no way"),
            (
                401,
                "Bearer error=\"insufficient_scope\"",
                String::new(),
                "denied: requested access to the resource is denied",
            ),
            (401, "Bearer realm=\"x\"", String::new(), "unauthorized: authentication required"),
            (
                401,
                "",
                r#"{"details":"incorrect username or password"}"#.to_owned(),
                "unauthorized: incorrect username or password",
            ),
            (429, "", "slow down".to_owned(), "toomanyrequests: too many requests"),
            (400, "", error("TAG_INVALID", "bad tag"), "tag invalid: bad tag"),
            (404, "", "<html>".to_owned(), "none"),
            (500, "", r#"{"errors":[]}"#.to_owned(), "none"),
        ] {
            assert_eq!(found(status, challenge, &body), expected, "{status} {body}");
        }
    }
}

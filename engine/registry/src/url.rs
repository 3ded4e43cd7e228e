//! The little of RFC 3986 that a registry client needs: resolve a reference, build a query, compare origins.
//!
//! Pure. `http::Uri` has no relative references; the registries' `Location` and `Link` headers do.

use http::Uri;
use http::uri::Authority;

/// A text that is not a usable http(s) URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an http or https URL")]
pub struct InvalidUrl(pub String);

/// Parses an absolute http or https URL.
pub(crate) fn absolute(text: &str) -> Result<Uri, InvalidUrl> {
    let wrong = || InvalidUrl(text.to_owned());
    let without_fragment = text.split('#').next().unwrap_or_default();
    let uri: Uri = without_fragment.parse().map_err(|_| wrong())?;
    let usable = matches!(uri.scheme_str(), Some("http" | "https"))
        && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
    if usable { Ok(uri) } else { Err(wrong()) }
}

/// Resolves `reference` as it stands in an answer to a request for `base`.
pub(crate) fn resolve(base: &Uri, reference: &str) -> Result<Uri, InvalidUrl> {
    let reference = reference.trim();
    let scheme = base.scheme_str().unwrap_or("https");
    if let Some(rest) = reference.strip_prefix("//") {
        return absolute(&format!("{scheme}://{rest}"));
    }
    if reference.split(['/', '?', '#']).next().is_some_and(|head| head.contains(':')) {
        return absolute(reference);
    }
    let origin = format!("{scheme}://{}", base.authority().map_or("", Authority::as_str));
    if reference.starts_with('/') {
        return absolute(&format!("{origin}{reference}"));
    }
    if reference.starts_with('?') {
        return absolute(&format!("{origin}{}{reference}", base.path()));
    }
    let directory = base.path().rsplit_once('/').map_or("", |(directory, _)| directory);
    absolute(&format!("{origin}{directory}/{reference}"))
}

/// Appends query parameters, percent-encoded, to a URL that may have some.
pub(crate) fn with_query(url: &str, parameters: &[(&str, &str)]) -> String {
    let mut text = url.to_owned();
    for (name, value) in parameters {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(name);
        text.push('=');
        text.push_str(&encode(value));
    }
    text
}

/// The parameters as `application/x-www-form-urlencoded`.
pub(crate) fn form(parameters: &[(&str, &str)]) -> String {
    with_query("", parameters).trim_start_matches('?').to_owned()
}

/// Percent-encodes everything but the unreserved characters.
fn encode(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Whether credentials for `a` may go to `b`: same scheme, host and port.
pub(crate) fn same_origin(a: &Uri, b: &Uri) -> bool {
    a.scheme_str() == b.scheme_str()
        && a.host().zip(b.host()).is_some_and(|(a, b)| a.eq_ignore_ascii_case(b))
        && port(a) == port(b)
}

/// The port, or the scheme's.
pub(crate) fn port(uri: &Uri) -> u16 {
    let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    uri.port_u16().unwrap_or(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolves_references() {
        let base = absolute("http://r.example:5000/v2/a/blobs/uploads/?x=1").unwrap();
        for (reference, expected) in [
            ("https://s.example/b?c=d", "https://s.example/b?c=d"),
            ("//s.example/b", "http://s.example/b"),
            ("/v2/b", "http://r.example:5000/v2/b"),
            ("c?d", "http://r.example:5000/v2/a/blobs/uploads/c?d"),
            ("?n=2", "http://r.example:5000/v2/a/blobs/uploads/?n=2"),
            ("/v2/b#f", "http://r.example:5000/v2/b"),
        ] {
            assert_eq!(resolve(&base, reference).unwrap().to_string(), expected, "{reference}");
        }
        for bad in ["ftp://x/y", "http://user:pass@x/", "http:///x", "javascript:alert(1)"] {
            assert_eq!(resolve(&base, bad), Err(InvalidUrl(bad.to_owned())));
        }
    }

    #[test]
    fn encodes_queries() {
        assert_eq!(
            with_query("http://a/?x=1", &[("scope", "repository:a/b:pull,push"), ("q", "a b&ü")]),
            "http://a/?x=1&scope=repository%3Aa%2Fb%3Apull%2Cpush&q=a%20b%26%C3%BC"
        );
        assert_eq!(form(&[("a", "?"), ("b", "2")]), "a=%3F&b=2");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |a: &str, b: &str| same_origin(&absolute(a).unwrap(), &absolute(b).unwrap());
        assert!(same("https://a.example/x", "https://A.example:443/y"));
        assert!(!same("https://a.example/", "http://a.example/"));
        assert!(!same("https://a.example/", "https://b.example/"));
        assert!(!same("https://a.example/", "https://a.example:444/"));
        assert!(!same("https://a.example/", "https://sub.a.example/"));
    }
}

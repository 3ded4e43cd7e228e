//! `Content-Range` of downloads and `Range` of upload sessions.
//!
//! Pure. Source: RFC 9110 §14.4; OCI distribution-spec "Pushing a blob in chunks" (`Range: 0-<last>`).

use http::HeaderMap;
use http::header::{CONTENT_RANGE, RANGE};

/// First byte and, where the server says it, the whole length of a partial answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ContentRange {
    pub(crate) first: u64,
    pub(crate) total: Option<u64>,
}

/// Reads `Content-Range: bytes first-last/total`.
pub(crate) fn content(headers: &HeaderMap) -> Option<ContentRange> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?.trim();
    let (span, total) = text.strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = span.split_once('-')?;
    let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
    let total = match total.trim() {
        "*" => None,
        number => Some(number.parse::<u64>().ok()?),
    };
    (first <= last && total.is_none_or(|total| last < total))
        .then_some(ContentRange { first, total })
}

/// How many bytes an upload session holds, from `Range: 0-<last>` (some say `bytes=0-<last>`).
///
/// A registry cannot express "none" in this form; `0-0` is what distribution sends for an empty
/// session, and a session of exactly one byte looks the same: both are taken as empty.
pub(crate) fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?.trim();
    let (first, last) = text.strip_prefix("bytes=").unwrap_or(text).split_once('-')?;
    match (first.trim(), last.trim().parse::<u64>().ok()?) {
        ("0", 0) => Some(0),
        ("0", last) => last.checked_add(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: http::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn reads_content_ranges() {
        let range = |first, total| Some(ContentRange { first, total });
        for (text, expected) in [
            ("bytes 5-9/10", range(5, Some(10))),
            ("bytes 0-0/*", range(0, None)),
            ("bytes 5-10/10", None),
            ("bytes 9-5/10", None),
            ("bytes */10", None),
            ("items 0-1/2", None),
            ("bytes 0-18446744073709551616/*", None),
        ] {
            assert_eq!(content(&header(CONTENT_RANGE, text)), expected, "{text}");
        }
        assert_eq!(content(&HeaderMap::new()), None);
    }

    #[test]
    fn reads_what_a_session_holds() {
        for (text, expected) in [
            ("0-0", Some(0)),
            ("0-99", Some(100)),
            ("bytes=0-99", Some(100)),
            ("5-9", None),
            ("0-18446744073709551615", None),
            ("x", None),
        ] {
            assert_eq!(received(&header(RANGE, text)), expected, "{text}");
        }
    }
}

//! `WWW-Authenticate`: what a registry wants before it answers.
//!
//! Pure. Source: RFC 9110 §11.6.1 (several challenges may share one header line), RFC 6750 §3,
//! distribution `docs/spec/auth/token.md`.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;

/// One challenge: a scheme and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// Lower case: `basic`, `bearer`.
    pub(crate) scheme: String,
    /// Names in lower case, values unquoted.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// The value of a parameter, by lower-case name.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// All challenges of an answer. What does not parse is left out: a registry that sends nothing we can
/// read is one we cannot answer, and its status says so.
pub(crate) fn of(headers: &HeaderMap) -> Vec<Challenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(parse).collect()
}

/// Parses one header line.
fn parse(line: &str) -> Vec<Challenge> {
    let mut challenges = Vec::<Challenge>::new();
    for item in split_unquoted(line) {
        // `scheme`, `scheme name=value` or `name=value` of the challenge before.
        let head_end = item.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(item.len());
        let (head, rest) = item.split_at(head_end);
        let rest_trimmed = rest.trim_start();
        let parameter = if let Some(value) = rest_trimmed.strip_prefix('=') {
            Some((head, value))
        } else {
            challenges
                .push(Challenge { scheme: head.to_ascii_lowercase(), parameters: Vec::new() });
            rest_trimmed.split_once('=')
        };
        if let (Some(challenge), Some((name, value))) = (challenges.last_mut(), parameter) {
            let name = name.trim().to_ascii_lowercase();
            challenge.parameters.push((name, unquote(value.trim())));
        }
    }
    challenges
}

/// Splits at commas outside quotes; empty items vanish.
pub(super) fn split_unquoted(line: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |c: char| {
        let separator = c == ',' && !quoted;
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        separator
    })
    .map(str::trim)
    .filter(|item| !item.is_empty())
}

/// Removes quotes and backslash escapes.
pub(super) fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let mut text = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => text.extend(chars.next()),
            _ => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(line: &str) -> String {
        let challenge = |c: Challenge| {
            let parameters: Vec<_> =
                c.parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            format!("{} [{}]", c.scheme, parameters.join("; "))
        };
        parse(line).into_iter().map(challenge).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn reads_quoted_commas_escapes_and_several_challenges() {
        for (line, expected) in [
            ("Basic realm=\"basic-realm\"", "basic [realm=basic-realm]"),
            (
                "Bearer realm=\"https://auth.example/token\",service=\"registry.example\",\
                 scope=\"repository:library/busybox:pull,push\"",
                "bearer [realm=https://auth.example/token; service=registry.example; \
                 scope=repository:library/busybox:pull,push]",
            ),
            (
                "bearer Realm = \"a\\\"b,c\" , error=invalid_token",
                "bearer [realm=a\"b,c; error=invalid_token]",
            ),
            (
                "Basic realm=\"x\", Bearer realm=\"y\", service=z",
                "basic [realm=x] | bearer [realm=y; service=z]",
            ),
            ("Negotiate", "negotiate []"),
            ("Negotiate, Basic realm=q", "negotiate [] | basic [realm=q]"),
            ("Bearer realm=\"unterminated", "bearer [realm=unterminated]"),
            (",,", ""),
            ("=x", ""),
            ("", ""),
        ] {
            assert_eq!(shown(line), expected, "{line}");
        }
    }
}

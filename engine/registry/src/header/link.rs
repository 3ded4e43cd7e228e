//! `Link`: where the next page of a list is.
//!
//! Pure. Source: RFC 8288 §3, OCI distribution-spec "Listing Tags".

use http::HeaderMap;
use http::header::LINK;

use super::challenge::unquote;

/// The target of the first link with `rel="next"`, as written (often relative).
pub(crate) fn next(headers: &HeaderMap) -> Option<String> {
    let lines = headers.get_all(LINK).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(parse).find_map(|(target, relations)| {
        relations.split_ascii_whitespace().any(|rel| rel == "next").then_some(target)
    })
}

/// The targets and relations of one header line.
fn parse(line: &str) -> Vec<(String, String)> {
    let mut links = Vec::new();
    let mut rest = line;
    while let Some((_, from_target)) = rest.split_once('<') {
        let Some((target, tail)) = from_target.split_once('>') else { break };
        // The parameters end where the next target begins; `<` cannot stand in a `rel` value.
        let end = tail.find('<').unwrap_or(tail.len());
        let parameters = tail[..end].split([';', ',']).filter_map(|text| text.split_once('='));
        let relation = parameters
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("rel"))
            .map(|(_, value)| unquote(value.trim()).to_ascii_lowercase())
            .next();
        links.push((target.trim().to_owned(), relation.unwrap_or_default()));
        rest = &tail[end..];
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next_of(line: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, line.parse().unwrap());
        next(&headers)
    }

    #[test]
    fn finds_the_next_page() {
        let page = |text: &str| Some(text.to_owned());
        for (line, expected) in [
            ("</v2/a/tags/list?last=b&n=1>; rel=\"next\"", page("/v2/a/tags/list?last=b&n=1")),
            ("<https://r.example/x,y>; title=t; rel=next", page("https://r.example/x,y")),
            ("<a>; rel=prev, <b>; rel=\"last NEXT\"", page("b")),
            ("<a>; rel=prev", None),
            ("<a>", None),
            ("<a; rel=next", None),
            ("garbage", None),
        ] {
            assert_eq!(next_of(line), expected, "{line}");
        }
    }
}

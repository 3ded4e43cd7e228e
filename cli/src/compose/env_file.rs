//! Files of variables: `NAME=value` lines with quotes, escapes, comments and variables. Pure.

use super::interpolate::{Lookup, Wrong, substitute};

/// Reads such a file; variables in its values are those before them in the file, then those of `lookup`.
///
/// # Errors
/// The line that cannot be read, and why.
pub(crate) fn read(text: &str, lookup: Lookup<'_>) -> Result<Vec<(String, String)>, String> {
    let mut all: Vec<(String, String)> = Vec::new();
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").unwrap_or(line);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let refuse = |why: &str| format!("line {}: {why}", number + 1);
        let Some((name, value)) = line.split_once('=') else { continue };
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(refuse(&format!("unexpected character in variable name {name:?}")));
        }
        let value = value.trim_start();
        let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
        let (raw, expands) = match quote {
            None => (value.split(" #").next().unwrap_or_default().trim_end().to_owned(), true),
            Some(quote) => {
                let mut body = value[1..].to_owned();
                // A quoted value may have several lines.
                while end_of(&body, quote).is_none() {
                    let (_, next) =
                        lines.next().ok_or_else(|| refuse("unterminated quoted value"))?;
                    body.push('\n');
                    body.push_str(next);
                }
                body.truncate(end_of(&body, quote).unwrap_or_default());
                if quote == '"' { (unescape(&body), true) } else { (body, false) }
            }
        };
        let known = |wanted: &str| {
            let earlier = all.iter().rev().find(|(name, _)| name == wanted);
            earlier.map(|(_, value)| value.clone()).or_else(|| lookup(wanted))
        };
        let value = if expands {
            substitute(&raw, &known).map_err(|wrong| match wrong {
                Wrong::Format => refuse(&format!("invalid variable in {raw:?}")),
                Wrong::Required(name, why) => {
                    refuse(&format!("variable {name} is required: {why}"))
                }
            })?
        } else {
            raw
        };
        all.push((name.to_owned(), value));
    }
    Ok(all)
}

/// Where the closing quote stands.
fn end_of(body: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, letter) in body.char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            letter if letter == quote => return Some(at),
            _ => {}
        }
    }
    None
}

fn unescape(body: &str) -> String {
    let mut out = String::new();
    let mut letters = body.chars();
    while let Some(letter) = letters.next() {
        match (letter, if letter == '\\' { letters.next() } else { None }) {
            ('\\', Some('n')) => out.push('\n'),
            ('\\', Some('r')) => out.push('\r'),
            ('\\', Some('t')) => out.push('\t'),
            // A dollar sign that was escaped is none of a variable.
            ('\\', Some('$')) => out.push_str("$$"),
            ('\\', Some(other)) => out.push(other),
            _ => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let lookup = |name: &str| (name == "HOST").then(|| "h".to_owned());
        read(text, &lookup).map_or_else(|why| why, |pairs| format!("{pairs:?}"))
    }

    #[test]
    fn values_have_quotes_comments_and_variables() {
        let text = "# x\nA=1 # one\nexport B=\"two\\nwords\"\nC='#$A'\nD=\nnothing\nE=$A-${HOST:-x}\nF=\"a\nb\"\nG=\"\\$A\"\n";
        assert_eq!(
            shown(text),
            r##"[("A", "1"), ("B", "two\nwords"), ("C", "#$A"), ("D", ""), ("E", "1-h"), ("F", "a\nb"), ("G", "$A")]"##
        );
    }

    #[test]
    fn faults_have_a_line() {
        assert_eq!(shown("A=1\nB=\"x"), "line 2: unterminated quoted value");
        assert_eq!(shown("A b=1"), "line 1: unexpected character in variable name \"A b\"");
        assert_eq!(shown("A=${B:?give it}"), "line 1: variable B is required: give it");
    }
}

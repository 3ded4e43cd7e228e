//! Patterns in expected lines: literal text with holes.
//!
//! `<id>` 64 hex digits, `<short>` 12 hex digits, `<digest>` `sha256:` and 64 hex digits, `<n>` a number,
//! `<time>` an RFC 3339 time, `<*>` anything. A line `...` alone stands for any number of lines.

/// Whether `line` fits `pattern`.
pub fn line_fits(pattern: &str, line: &str) -> bool {
    let Some((literal, hole, rest)) = next_hole(pattern) else { return pattern == line };
    let Some(line) = line.strip_prefix(literal) else { return false };
    lengths(hole, line).into_iter().any(|length| line_fits(rest, &line[length..]))
}

/// Whether `lines` fit `patterns`, where `...` skips lines.
pub fn lines_fit(patterns: &[String], lines: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=lines.len()).any(|skip| lines_fit(rest, &lines[skip..]))
        }
        Some((first, rest)) => lines
            .split_first()
            .is_some_and(|(line, lines)| line_fits(first, line) && lines_fit(rest, lines)),
    }
}

const HOLES: [&str; 6] = ["<id>", "<short>", "<digest>", "<n>", "<time>", "<*>"];

fn next_hole(pattern: &str) -> Option<(&str, &str, &str)> {
    let (at, hole) = HOLES.iter().filter_map(|hole| Some((pattern.find(hole)?, *hole))).min()?;
    Some((&pattern[..at], hole, &pattern[at + hole.len()..]))
}

/// How many bytes of `text` a hole may take, longest first.
fn lengths(hole: &str, text: &str) -> Vec<usize> {
    let run = |fits: fn(char) -> bool| text.find(|c| !fits(c)).unwrap_or(text.len());
    let hex = run(|c| c.is_ascii_digit() || ('a'..='f').contains(&c));
    match hole {
        "<id>" if hex >= 64 => vec![64],
        "<short>" if hex >= 12 => vec![12],
        "<digest>" if text.starts_with("sha256:") && lengths("<id>", &text[7..]) == [64] => {
            vec![71]
        }
        "<n>" => (1..=run(|c| c.is_ascii_digit())).rev().collect(),
        "<time>" => {
            let length = run(|c| c.is_ascii_digit() || "-:.TZ+".contains(c));
            if length >= 20 { vec![length] } else { vec![] }
        }
        "<*>" => (0..=text.len()).rev().filter(|at| text.is_char_boundary(*at)).collect(),
        _ => vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_take_what_they_say_and_no_more() {
        let id = "0a".repeat(32);
        assert!(line_fits("<id>", &id));
        assert!(!line_fits("<id>", &id[1..]));
        assert!(line_fits("Deleted: <digest>!", &format!("Deleted: sha256:{id}!")));
        assert!(line_fits("up <n> seconds", "up 12 seconds"));
        assert!(!line_fits("up <n> seconds", "up  seconds"));
        assert!(line_fits("at <time> end", "at 2026-11-21T04:05:06.123456789Z end"));
        assert!(line_fits("a<*>c<*>e", "abcde"));
        assert!(!line_fits("a<*>x", "abc"));
        assert!(!line_fits("abc", "abcd"));
    }

    #[test]
    fn dots_skip_lines() {
        let patterns = ["a", "...", "z"].map(str::to_owned);
        assert!(lines_fit(&patterns, &["a", "z"]));
        assert!(lines_fit(&patterns, &["a", "b", "c", "z"]));
        assert!(!lines_fit(&patterns, &["a", "b"]));
    }
}

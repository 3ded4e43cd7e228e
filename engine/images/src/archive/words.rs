//! Words of a Dockerfile line: quotes, escapes, variables. Pure.
//!
//! Source: Dockerfile reference, "Environment replacement".

/// Splits into words; quotes and backslashes are taken away, variables replaced.
pub(super) fn words(text: &str, env: &[String]) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = scan(rest, env, Until::Space)?;
        words.push(word);
        rest = after.trim_start();
    }
    Ok(words)
}

/// Takes quotes and backslashes away and replaces variables, without splitting.
pub(super) fn expand(text: &str, env: &[String]) -> Result<String, String> {
    scan(text, env, Until::End).map(|(word, _)| word)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Space,
    End,
}

fn scan<'t>(text: &'t str, env: &[String], until: Until) -> Result<(String, &'t str), String> {
    let mut word = String::new();
    let mut quote = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match (quote, c) {
            (None, c) if c.is_whitespace() && until == Until::Space => return Ok((word, rest)),
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (Some('\''), c) => word.push(c),
            (_, '\\') => {
                let Some(next) = after.chars().next() else {
                    word.push('\\');
                    break;
                };
                // In double quotes a backslash is kept but before what it can escape.
                if quote.is_some() && !matches!(next, '"' | '\\' | '$') {
                    word.push('\\');
                }
                word.push(next);
                rest = &after[next.len_utf8()..];
                continue;
            }
            (_, '$') => {
                rest = variable(after, env, &mut word)?;
                continue;
            }
            (_, c) => word.push(c),
        }
        rest = after;
    }
    if quote.is_some() {
        return Err("unterminated quote".to_owned());
    }
    Ok((word, ""))
}

/// Replaces `NAME`, `{NAME}`, `{NAME:-default}` or `{NAME:+other}` after a dollar sign.
fn variable<'t>(text: &'t str, env: &[String], word: &mut String) -> Result<&'t str, String> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let value = |name: &str| {
        env.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
    };
    let Some(braced) = text.strip_prefix('{') else {
        let end = text.find(|c| !is_name(c)).unwrap_or(text.len());
        match &text[..end] {
            "" => word.push('$'),
            name => word.push_str(value(name)),
        }
        return Ok(&text[end..]);
    };
    let end = braced.find('}').ok_or("unterminated variable")?;
    let (inside, after) = (&braced[..end], &braced[end + 1..]);
    let name_end = inside.find(|c| !is_name(c)).unwrap_or(inside.len());
    let (name, modifier) = inside.split_at(name_end);
    let current = value(name);
    match modifier {
        "" if !name.is_empty() => word.push_str(current),
        _ => match (modifier.strip_prefix(":-"), modifier.strip_prefix(":+")) {
            (Some(default), _) if current.is_empty() => word.push_str(default),
            (Some(_), _) => word.push_str(current),
            (_, Some(_)) if current.is_empty() => {}
            (_, Some(other)) => word.push_str(other),
            (None, None) => return Err(format!("unsupported modifier in ${{{inside}}}")),
        },
    }
    Ok(after)
}

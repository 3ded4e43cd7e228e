//! Template text → literal text and the tokens of actions.

/// A piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    /// The tokens of one action, its source text and its byte offset.
    Action {
        tokens: Vec<Token>,
        source: String,
        at: (usize, usize),
    },
}

/// A token of an action.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// `.A.B`; `.` alone is an empty list. True when it follows `)` or a variable directly.
    Field(Vec<String>, bool),
    Variable(String),
    Word(String),
    Text(String),
    Int(i64),
    Float(f64),
    Pipe,
    Open,
    Close,
    Comma,
    Declare,
    Assign,
}

/// Splits a template.
pub(super) fn tokens(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut left = text;
    let mut trim_start = false;
    while let Some(open) = left.find("{{") {
        let offset = text.len() - left.len() + open;
        let line = text[..offset].matches('\n').count() + 1;
        let before = &left[..open];
        let mut inside = &left[open + 2..];
        let trim_end = inside.starts_with("- ") || inside.starts_with("-\n");
        if trim_end {
            inside = &inside[1..];
        }
        push_text(&mut pieces, before, trim_start, trim_end);
        let end =
            end_of_action(inside).ok_or_else(|| format!("template: :{line}: unclosed action"))?;
        let mut action = &inside[..end];
        left = &inside[end + 2..];
        trim_start = action.ends_with(" -") || action.ends_with("\n-");
        if trim_start {
            action = &action[..action.len() - 1];
        }
        let action = action.trim();
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            let column = offset - text[..offset].rfind('\n').map_or(0, |at| at + 1);
            let tokens = lex(action).map_err(|why| format!("template: :{line}: {why}"))?;
            let at = (line, column + 2);
            pieces.push(Piece::Action { tokens, source: action.to_owned(), at });
        }
    }
    push_text(&mut pieces, left, trim_start, false);
    Ok(pieces)
}

fn push_text(pieces: &mut Vec<Piece>, text: &str, trim_start: bool, trim_end: bool) {
    let text = if trim_start { text.trim_start() } else { text };
    let text = if trim_end { text.trim_end() } else { text };
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Where `}}` is, outside of quotes and comments.
fn end_of_action(text: &str) -> Option<usize> {
    if text.trim_start().starts_with("/*") {
        let close = text.find("*/")?;
        return text[close..].find("}}").map(|at| at + close);
    }
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (Some(b'"' | b'\''), b'\\') => at += 1,
            (Some(open), byte) if open == byte => quote = None,
            (None, byte @ (b'"' | b'`' | b'\'')) => quote = Some(byte),
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

fn lex(action: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut left = action;
    let mut after_space = true;
    while let Some(first) = left.chars().next() {
        let space = first.is_whitespace();
        let take = |wanted: fn(char) -> bool, from: &str| {
            from.find(|c: char| !wanted(c)).unwrap_or(from.len())
        };
        let is_word: fn(char) -> bool = |c| c.is_alphanumeric() || c == '_';
        let mut used = first.len_utf8();
        match first {
            c if c.is_whitespace() => {}
            '|' => tokens.push(Token::Pipe),
            '(' => tokens.push(Token::Open),
            ')' => tokens.push(Token::Close),
            ',' => tokens.push(Token::Comma),
            '=' => tokens.push(Token::Assign),
            ':' if left.starts_with(":=") => {
                used = 2;
                tokens.push(Token::Declare);
            }
            '"' => {
                let (text, length) = quoted(left)?;
                used = length;
                tokens.push(Token::Text(text));
            }
            '`' => {
                let end = left[1..].find('`').ok_or("unterminated raw quoted string")?;
                used = end + 2;
                tokens.push(Token::Text(left[1..=end].to_owned()));
            }
            '\'' => {
                let letter = left[1..].chars().next().ok_or("unterminated character constant")?;
                used = 2 + letter.len_utf8();
                tokens.push(Token::Int(i64::from(u32::from(letter))));
            }
            '$' => {
                used = 1 + take(is_word, &left[1..]);
                tokens.push(Token::Variable(left[..used].to_owned()));
            }
            '.' if !left[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let mut names = Vec::new();
                used = 0;
                while left[used..].starts_with('.') {
                    let length = take(is_word, &left[used + 1..]);
                    if length == 0 {
                        used += 1;
                        break;
                    }
                    names.push(left[used + 1..used + 1 + length].to_owned());
                    used += 1 + length;
                }
                let joined = !after_space
                    && matches!(tokens.last(), Some(Token::Close | Token::Variable(_)));
                tokens.push(Token::Field(names, joined));
            }
            c if c.is_ascii_digit() || matches!(c, '-' | '+' | '.') => {
                used = 1 + take(|c| c.is_ascii_digit() || c == '.', &left[1..]);
                let number = &left[..used];
                let int = number.parse().map(Token::Int);
                let float = || number.parse().map(Token::Float);
                let bad = format!("bad number syntax: {}", crate::text::quote(number));
                tokens.push(int.or_else(|_| float()).map_err(|_| bad)?);
            }
            c if is_word(c) => {
                used = take(is_word, left);
                tokens.push(Token::Word(left[..used].to_owned()));
            }
            other => return Err(format!("unexpected {other:?} in operand")),
        }
        after_space = space;
        left = &left[used..];
    }
    Ok(tokens)
}

fn quoted(text: &str) -> Result<(String, usize), String> {
    let mut out = String::new();
    let mut letters = text.char_indices().skip(1);
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Ok((out, at + 1)),
            '\\' => match letters.next().map(|(_, letter)| letter) {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('r') => out.push('\r'),
                Some(other @ ('\\' | '"' | '\'')) => out.push(other),
                _ => return Err("invalid syntax".to_owned()),
            },
            other => out.push(other),
        }
    }
    Err("unterminated quoted string".to_owned())
}

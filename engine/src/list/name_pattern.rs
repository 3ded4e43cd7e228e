//! The `name` filter: docker matches it as a regular expression against `name` and `/name`.
//!
//! A whole engine of regular expressions would be too much for what people write: parts of names, anchors,
//! `.`, `*`, `+`, `?`, classes and alternatives at the top level are understood.

/// Whether `pattern` matches somewhere in `name` or in `/name`.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let slashed = format!("/{name}");
    pattern
        .split('|')
        .any(|branch| matches_branch(branch, name) || matches_branch(branch, &slashed))
}

fn matches_branch(pattern: &str, text: &str) -> bool {
    let (anchored, pattern) = match pattern.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, pattern),
    };
    let Some(items) = parse(pattern) else {
        // What cannot be parsed is taken literally.
        return text.contains(pattern);
    };
    let text: Vec<char> = text.chars().collect();
    if anchored {
        return matches_here(&items, &text);
    }
    (0..=text.len()).any(|start| matches_here(&items, &text[start..]))
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Atom {
    Any,
    One(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    atom: Atom,
    least: usize,
    most: usize,
}

fn parse(pattern: &str) -> Option<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        let atom = match character {
            '.' => Atom::Any,
            '\\' => Atom::One(characters.next()?),
            '$' if characters.peek().is_none() => Atom::End,
            '[' => class(&mut characters)?,
            '*' | '+' | '?' => {
                let item = items.last_mut()?;
                (item.least, item.most) = match character {
                    '*' => (0, usize::MAX),
                    '+' => (1, usize::MAX),
                    _ => (0, 1),
                };
                continue;
            }
            '(' | ')' | '{' | '}' => return None,
            other => Atom::One(other),
        };
        items.push(Item { atom, least: 1, most: 1 });
    }
    Some(items)
}

fn class(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Atom> {
    let negated = characters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = match characters.next()? {
            ']' if !ranges.is_empty() => return Some(Atom::Class { negated, ranges }),
            '\\' => characters.next()?,
            other => other,
        };
        let high = if characters.next_if_eq(&'-').is_some() { characters.next()? } else { low };
        if high == ']' {
            ranges.extend([(low, low), ('-', '-')]);
            return Some(Atom::Class { negated, ranges });
        }
        ranges.push((low, high));
    }
}

fn accepts(atom: &Atom, character: char) -> bool {
    match atom {
        Atom::Any => true,
        Atom::One(one) => *one == character,
        Atom::Class { negated, ranges } => {
            ranges.iter().any(|(low, high)| (*low..=*high).contains(&character)) != *negated
        }
        Atom::End => false,
    }
}

fn matches_here(items: &[Item], text: &[char]) -> bool {
    let Some((item, rest)) = items.split_first() else { return true };
    if item.atom == Atom::End {
        return text.is_empty();
    }
    let run = text.iter().take_while(|character| accepts(&item.atom, **character)).count();
    let most = run.min(item.most);
    (item.least..=most).rev().any(|count| matches_here(rest, &text[count..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        let names = ["web", "web-1", "web-2", "db", "my.web"];
        let found = |pattern: &str| -> Vec<&str> {
            names.into_iter().filter(|name| matches(pattern, name)).collect()
        };
        assert_eq!(found("web"), ["web", "web-1", "web-2", "my.web"]);
        assert_eq!(found("/web"), ["web", "web-1", "web-2"]);
        assert_eq!(found("^web$"), ["web"]);
        assert_eq!(found("^/web$"), ["web"]);
        assert_eq!(found("^web-[0-9]+$"), ["web-1", "web-2"]);
        assert_eq!(found("^web-[^1]$"), ["web-2"]);
        assert_eq!(found("^(web"), Vec::<&str>::new());
        assert_eq!(found("db|web$"), ["web", "db", "my.web"]);
        assert_eq!(found("y\\.w"), ["my.web"]);
        assert_eq!(found("w.*2"), ["web-2"]);
        assert_eq!(found("nothing"), Vec::<&str>::new());
    }
}

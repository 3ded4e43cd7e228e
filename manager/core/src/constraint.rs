//! Placement constraints: `node.role==manager` and the like.
//!
//! Pure. Used by the scheduler, the orchestrator of global services, the enforcer, and by the API to check
//! what was posted. The grammar, the order in which operators are looked for and the texts of the errors are
//! Docker's, because clients see them.
//!
//! Source: swarmkit `manager/constraint/constraint.go`.

use std::fmt;
use std::net::IpAddr;

use shoal_model::cluster::node::{NodeDescription, NodeRole};
use shoal_model::cluster::{IpPrefix, Node};
use shoal_model::error::ErrorKind;

use crate::prefix;

/// What `==` or `!=` asks of a node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Constraint {
    key: Key,
    operator: Operator,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Operator {
    Equal,
    NotEqual,
}

impl Operator {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "==",
            Self::NotEqual => "!=",
        }
    }
}

/// A property of a node, as constraints and spread preferences name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `node.id`
    Id,
    /// `node.hostname`
    Hostname,
    /// `node.ip`
    Ip,
    /// `node.role`
    Role,
    /// `node.platform.os`
    Os,
    /// `node.platform.arch`
    Architecture,
    /// `node.labels.…`
    NodeLabel(String),
    /// `engine.labels.…`
    EngineLabel(String),
    /// Anything else. No node has it, so that neither operator is ever satisfied, as in Docker.
    Unknown(String),
}

const NODE_LABELS: &str = "node.labels.";
const ENGINE_LABELS: &str = "engine.labels.";
/// Letters by which a known key may differ from what was written.
const NEAR: usize = 2;
/// Keys without a name of the user's.
const WORDS: [(&str, Key); 6] = [
    ("node.id", Key::Id),
    ("node.hostname", Key::Hostname),
    ("node.ip", Key::Ip),
    ("node.role", Key::Role),
    ("node.platform.os", Key::Os),
    ("node.platform.arch", Key::Architecture),
];

impl Key {
    /// Reads a key. Its words are compared regardless of case, the names of labels are not.
    pub fn parse(text: &str) -> Self {
        if let Some((_, key)) = WORDS.into_iter().find(|(word, _)| text.eq_ignore_ascii_case(word))
        {
            return key;
        }
        if let Some(label) = strip_prefix_ignoring_case(text, NODE_LABELS) {
            return Self::NodeLabel(label.to_owned());
        }
        if let Some(label) = strip_prefix_ignoring_case(text, ENGINE_LABELS) {
            return Self::EngineLabel(label.to_owned());
        }
        Self::Unknown(text.to_owned())
    }

    /// The value that a node has; empty where it has none.
    pub fn value(&self, node: &Node) -> String {
        let description = node.description.as_ref();
        match self {
            Self::Id => node.id.to_string(),
            Self::Ip => node.status.address.map(|address| address.to_string()).unwrap_or_default(),
            Self::Unknown(_) => String::new(),
            Self::Hostname
            | Self::Role
            | Self::Os
            | Self::Architecture
            | Self::NodeLabel(_)
            | Self::EngineLabel(_) => self.text(node, description).to_owned(),
        }
    }

    /// The value of the keys whose value needs no formatting.
    fn text<'a>(&self, node: &'a Node, description: Option<&'a NodeDescription>) -> &'a str {
        let value = match self {
            Self::Hostname => description.map(|description| description.hostname.as_str()),
            Self::Role => Some(role_word(node.role)),
            Self::Os => description.map(|description| description.platform.os.as_str()),
            Self::Architecture => {
                description.map(|description| description.platform.architecture.as_str())
            }
            Self::NodeLabel(label) => node.spec.annotations.labels.get(label).map(String::as_str),
            Self::EngineLabel(label) => description
                .and_then(|description| description.engine_labels.get(label))
                .map(String::as_str),
            Self::Id | Self::Ip | Self::Unknown(_) => None,
        };
        value.unwrap_or_default()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id => f.write_str("node.id"),
            Self::Hostname => f.write_str("node.hostname"),
            Self::Ip => f.write_str("node.ip"),
            Self::Role => f.write_str("node.role"),
            Self::Os => f.write_str("node.platform.os"),
            Self::Architecture => f.write_str("node.platform.arch"),
            Self::NodeLabel(label) => write!(f, "{NODE_LABELS}{label}"),
            Self::EngineLabel(label) => write!(f, "{ENGINE_LABELS}{label}"),
            Self::Unknown(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.key, self.operator.as_str(), self.value)
    }
}

/// Why a text is no constraint. The words are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither `==` nor `!=`.
    #[error("constraint expected one operator from ==, !=")]
    NoOperator,
    /// The part before the operator.
    #[error("key '{0}' is invalid")]
    Key(String),
    /// The part after the operator.
    #[error("value '{0}' is invalid")]
    Value(String),
}

impl Error {
    /// The user's input is wrong.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Reads one constraint.
///
/// # Errors
/// Docker's, where the text has no operator, or a key or value with characters that they may not have.
pub fn parse(text: &str) -> Result<Constraint, Error> {
    let (operator, (key, value)) = [Operator::Equal, Operator::NotEqual]
        .into_iter()
        .find_map(|operator| Some((operator, text.split_once(operator.as_str())?)))
        .ok_or(Error::NoOperator)?;
    let (key, value) = (key.trim(), value.trim());
    if !is_key(key) {
        return Err(Error::Key(key.to_owned()));
    }
    if value.is_empty() || !value.bytes().all(is_value_byte) {
        return Err(Error::Value(value.to_owned()));
    }
    Ok(Constraint { key: Key::parse(key), operator, value: value.to_owned() })
}

/// Reads all constraints of a placement.
///
/// # Errors
/// That of the first which is wrong.
pub fn parse_all<T: AsRef<str>>(texts: &[T]) -> Result<Vec<Constraint>, Error> {
    texts.iter().map(|text| parse(text.as_ref())).collect()
}

/// Whether a node satisfies all constraints.
pub fn matches(constraints: &[Constraint], node: &Node) -> bool {
    constraints.iter().all(|constraint| constraint.matches(node))
}

impl Constraint {
    /// Whether a node satisfies this constraint. What a node lacks is an empty value: it is equal to nothing.
    pub fn matches(&self, node: &Node) -> bool {
        let equal = match &self.key {
            Key::Unknown(_) => return false,
            Key::Ip => match self.matches_address(node.status.address) {
                Some(equal) => equal,
                None => return false,
            },
            Key::Id => self.value.eq_ignore_ascii_case(&node.id.to_string()),
            key @ (Key::Hostname
            | Key::Role
            | Key::Os
            | Key::Architecture
            | Key::NodeLabel(_)
            | Key::EngineLabel(_)) => {
                self.value.eq_ignore_ascii_case(key.text(node, node.description.as_ref()))
            }
        };
        equal == (self.operator == Operator::Equal)
    }

    /// `None`: the value is neither an address nor a subnet, which no node satisfies.
    fn matches_address(&self, address: Option<IpAddr>) -> Option<bool> {
        if let Ok(wanted) = self.value.parse::<IpAddr>() {
            return Some(
                address.is_some_and(|address| address.to_canonical() == wanted.to_canonical()),
            );
        }
        let subnet: IpPrefix = self.value.parse().ok()?;
        Some(address.is_some_and(|address| prefix::contains(subnet, address.to_canonical())))
    }
}

/// The keys of constraints that no node has, told to people with the key that was meant, perhaps. `None`: all are known.
/// Such a constraint is accepted, as with Docker, and never satisfied.
pub fn unknown_keys(constraints: &[Constraint]) -> Option<String> {
    let mut told: Vec<String> = Vec::new();
    for constraint in constraints {
        if let Key::Unknown(key) = &constraint.key {
            let line = match closest(key) {
                Some(known) => format!("no node has a `{key}`, did you mean `{known}`?"),
                None => format!("no node has a `{key}`, known keys are {}", all_keys()),
            };
            if !told.contains(&line) {
                told.push(line);
            }
        }
    }
    (!told.is_empty()).then(|| told.join("; "))
}

/// The known key that differs from a text in one place, by two letters at most, or by what stands before it.
fn closest(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let words = WORDS.into_iter().filter_map(|(word, _)| {
        // Of two letters one must be right.
        let last = word.rsplit('.').next().map_or(0, str::len);
        let far = difference(&lower, word);
        (far <= NEAR.min(last / 2)).then(|| (far, word.to_owned()))
    });
    let labels = [NODE_LABELS, ENGINE_LABELS].into_iter().filter_map(|known| {
        // Two words, then the name of a label with its dots.
        let (end, _) = text.match_indices('.').nth(1)?;
        let (head, name) = (&lower[..=end], &text[end + 1..]);
        let name = if name.is_empty() { "NAME" } else { name };
        let far = difference(head, known);
        (far <= NEAR).then(|| (far, format!("{known}{name}")))
    });
    if let Some((_, near)) = words.chain(labels).min() {
        return Some(near);
    }
    let last = strip_prefix_ignoring_case(text, "node.").unwrap_or(text);
    let completed =
        ["node.", "node.platform."].map(|before| Key::parse(&format!("{before}{last}")));
    let known = completed.into_iter().find(|key| !matches!(key, Key::Unknown(_)));
    known.map(|key| key.to_string())
}

/// Letters between what two words have in common at their beginning and at their end.
fn difference(one: &str, other: &str) -> usize {
    let alike =
        |pairs: &mut dyn Iterator<Item = (u8, u8)>| pairs.take_while(|(a, b)| a == b).count();
    let begin = alike(&mut one.bytes().zip(other.bytes()));
    let (one, other) = (&one.as_bytes()[begin..], &other.as_bytes()[begin..]);
    let end = alike(&mut one.iter().copied().rev().zip(other.iter().copied().rev()));
    one.len().max(other.len()) - end
}

fn all_keys() -> String {
    let words = WORDS.into_iter().map(|(word, _)| word.to_owned());
    let labels = [NODE_LABELS, ENGINE_LABELS].map(|prefix| format!("{prefix}NAME"));
    words.chain(labels).collect::<Vec<_>>().join(", ")
}

const fn role_word(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Worker => "worker",
        NodeRole::Manager => "manager",
    }
}

/// At least two characters, the first a letter or an underscore.
fn is_key(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    first && text.len() > 1 && bytes.all(rest)
}

/// No present or future operator, and nothing beyond ASCII.
fn is_value_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')
        || b":-_.*()?+[]\\^$|/".contains(&byte)
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, tail) = text.split_at_checked(prefix.len())?;
    (head.eq_ignore_ascii_case(prefix) && !tail.is_empty()).then_some(tail)
}

#[cfg(test)]
#[path = "constraint_tests.rs"]
mod tests;

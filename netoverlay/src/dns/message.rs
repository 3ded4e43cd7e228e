//! DNS messages, as far as a forwarding name server reads and writes them. Pure.
//!
//! Source: RFC 1035 §4; RFC 6891 §6.1 for the size that a client accepts.

use std::fmt;
use std::net::IpAddr;

/// Seconds that an answer may be remembered.
const TTL: u32 = 5;
const HEADER_LEN: usize = 12;
/// Bytes of an answer over UDP to a client that does not say more.
const PLAIN_SIZE: usize = 512;
const CLASS_INTERNET: u16 = 1;
const TYPE_OPTIONS: u16 = 41;
const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_WANTED: u16 = 0x0100;
const FLAG_RECURSION_AVAILABLE: u16 = 0x0080;
const OPCODE_MASK: u16 = 0x7800;
const CODE_MASK: u16 = 0x000f;

/// What a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// A name of an address.
    Pointer,
    /// Anything else, by its number.
    Other(u16),
}

impl From<u16> for Kind {
    fn from(number: u16) -> Self {
        match number {
            1 => Self::A,
            28 => Self::Aaaa,
            12 => Self::Pointer,
            other => Self::Other(other),
        }
    }
}

/// How a query ended; the value is the number in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the RFC's names")]
#[repr(u16)]
pub enum Code {
    NoError = 0,
    FormatError = 1,
    ServerFailure = 2,
    NotImplemented = 4,
}

/// The content of one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of type A or AAAA.
    Address(IpAddr),
    /// Of type PTR.
    Name(String),
}

/// A query with one question of class internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Chosen by the client.
    pub id: u16,
    /// Lower case, without the last dot.
    pub name: String,
    /// What is asked for.
    pub kind: Kind,
    flags: u16,
    /// The question as it came: clients compare its letters' case.
    question: Vec<u8>,
    /// Bytes that the client accepts over UDP.
    size: usize,
}

/// Why a message is no query that can be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// Too short, or an answer: says nothing.
    Ignore,
    /// Answered with a code, by id and flags.
    Refuse(u16, u16, Code),
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// When it is no query, or one of a kind that is not served.
    pub fn parse(bytes: &[u8]) -> Result<Self, Unusable> {
        let (Some(id), Some(flags)) = (number(bytes, 0), number(bytes, 2)) else {
            return Err(Unusable::Ignore);
        };
        if bytes.len() < HEADER_LEN || flags & FLAG_RESPONSE != 0 {
            return Err(Unusable::Ignore);
        }
        let refuse = |code| Unusable::Refuse(id, flags, code);
        if flags & OPCODE_MASK != 0 {
            return Err(refuse(Code::NotImplemented));
        }
        let malformed = || refuse(Code::FormatError);
        if number(bytes, 4) != Some(1) {
            return Err(malformed());
        }
        let (name, end) = read_name(bytes, HEADER_LEN).ok_or_else(malformed)?;
        let kind = number(bytes, end).ok_or_else(malformed)?;
        if number(bytes, end + 2).ok_or_else(malformed)? != CLASS_INTERNET {
            return Err(refuse(Code::NotImplemented));
        }
        let question = bytes[HEADER_LEN..end + 4].to_vec();
        let size = accepted_size(bytes, end + 4).max(PLAIN_SIZE);
        Ok(Self { id, name, kind: kind.into(), flags, question, size })
    }

    /// The message that answers; over UDP cut to what the client accepts.
    pub fn respond(&self, code: Code, answers: &[Answer], over: Over) -> Vec<u8> {
        let mut message = header(self.id, self.flags, code);
        message[5] = 1;
        message.extend(&self.question);
        let limit = if over == Over::Udp { self.size } else { usize::from(u16::MAX) };
        let mut count = 0_u16;
        for answer in answers {
            let record = record(answer);
            if message.len() + record.len() > limit {
                message[2] |= FLAG_TRUNCATED.to_be_bytes()[0];
                break;
            }
            message.extend(record);
            count += 1;
        }
        message[6..8].copy_from_slice(&count.to_be_bytes());
        message
    }

    /// Whether a message of a server answers this query.
    pub fn is_answered_by(&self, message: &[u8]) -> bool {
        let head = (number(message, 0), number(message, 2));
        let question = message.get(HEADER_LEN..HEADER_LEN + self.question.len());
        matches!(head, (Some(id), Some(flags)) if id == self.id && flags & FLAG_RESPONSE != 0)
            && question.is_some_and(|question| question.eq_ignore_ascii_case(&self.question))
    }
}

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Over {
    Udp,
    Tcp,
}

/// The answer to a message that could not be used.
pub fn refusal(id: u16, flags: u16, code: Code) -> Vec<u8> {
    header(id, flags, code)
}

/// Whether a server could not help: another may.
pub fn is_failure(message: &[u8]) -> bool {
    const SERVER_FAILURE: u16 = 2;
    const REFUSED: u16 = 5;
    number(message, 2).is_none_or(|flags| {
        let code = flags & CODE_MASK;
        code == SERVER_FAILURE || code == REFUSED
    })
}

/// The address that a name such as `2.0.18.172.in-addr.arpa` stands for.
pub fn pointer_address(name: &str) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(".in-addr.arpa") {
        let mut octets = [0; 4];
        let mut parts = labels.rsplit('.');
        for octet in &mut octets {
            *octet = parts.next()?.parse().ok()?;
        }
        return parts.next().is_none().then(|| IpAddr::from(octets));
    }
    let labels = name.strip_suffix(".ip6.arpa")?;
    let mut value = 0_u128;
    let mut count = 0;
    for digit in labels.rsplit('.') {
        let digit = u128::from_str_radix(digit, 16).ok().filter(|digit| *digit < 16)?;
        value = value << 4 | digit;
        count += 1;
    }
    (count == 32).then(|| IpAddr::from(value.to_be_bytes()))
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.name)
    }
}

fn header(id: u16, flags: u16, code: Code) -> Vec<u8> {
    let kept = flags & (OPCODE_MASK | FLAG_RECURSION_WANTED);
    let flags = kept | FLAG_RESPONSE | FLAG_RECURSION_AVAILABLE | code as u16;
    let mut message = id.to_be_bytes().to_vec();
    message.extend(flags.to_be_bytes());
    message.resize(HEADER_LEN, 0);
    message
}

fn record(answer: &Answer) -> Vec<u8> {
    let (kind, data) = match answer {
        Answer::Address(IpAddr::V4(address)) => (1_u16, address.octets().to_vec()),
        Answer::Address(IpAddr::V6(address)) => (28, address.octets().to_vec()),
        Answer::Name(name) => (12, write_name(name)),
    };
    let length = u16::try_from(data.len()).expect("names and addresses are short");
    // The name is that of the question, which stands behind the header.
    let mut record = vec![0xc0, 12];
    record.extend(kind.to_be_bytes());
    record.extend(CLASS_INTERNET.to_be_bytes());
    record.extend(TTL.to_be_bytes());
    record.extend(length.to_be_bytes());
    record.extend(data);
    record
}

fn write_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(LABEL_MAX)];
        if bytes.len() + label.len() + 2 > NAME_MAX {
            break;
        }
        bytes.push(u8::try_from(label.len()).expect("at most 63"));
        bytes.extend(label);
    }
    bytes.push(0);
    bytes
}

/// A name without compression, in lower case, and where it ends.
fn read_name(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = start;
    loop {
        let length = usize::from(*bytes.get(at)?);
        at += 1;
        if length == 0 {
            return Some((name, at));
        }
        let label = bytes.get(at..at + length).filter(|_| length <= LABEL_MAX)?;
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
        at += length;
        if at - start > NAME_MAX {
            return None;
        }
    }
}

/// The size in an options record, when that is the only record behind the question, as resolvers send it.
fn accepted_size(bytes: &[u8], at: usize) -> usize {
    let is_only = number(bytes, 6) == Some(0) && number(bytes, 8) == Some(0);
    let is_options = bytes.get(at) == Some(&0) && number(bytes, at + 1) == Some(TYPE_OPTIONS);
    if is_only && is_options { number(bytes, at + 3).map_or(0, usize::from) } else { 0 }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        bytes.extend(write_name(name));
        bytes.extend([0, kind, 0, 1]);
        bytes
    }

    #[test]
    fn a_query_is_answered_with_its_own_question() {
        let bytes = query("Web.Front", 1);
        let query = Query::parse(&bytes).unwrap();
        assert_eq!((query.id, query.name.as_str(), query.kind), (0x1234, "web.front", Kind::A));
        let answer = Answer::Address([172, 18, 0, 2].into());
        let message = query.respond(Code::NoError, &[answer], Over::Udp);
        let mut expected = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        expected.extend(&bytes[12..]);
        expected.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 172, 18, 0, 2]);
        assert_eq!(message, expected);
        assert!(query.is_answered_by(&message) && !query.is_answered_by(&bytes));
    }

    #[test]
    fn answers_that_do_not_fit_are_cut() {
        let query = Query::parse(&query("x", 28)).unwrap();
        let address = Answer::Address("fd00::1".parse().unwrap());
        let message = query.respond(Code::NoError, &vec![address; 40], Over::Udp);
        assert!(message.len() <= 512 && message[2] & 2 != 0);
        assert_eq!(u16::from_be_bytes([message[6], message[7]]), 17);
    }

    #[test]
    fn what_is_no_query_is_refused() {
        assert_eq!(Query::parse(&[1, 2, 3]), Err(Unusable::Ignore));
        let mut looped = query("x", 1);
        looped[12] = 0xc0;
        let refused = Err(Unusable::Refuse(0x1234, 0x0100, Code::FormatError));
        assert_eq!(Query::parse(&looped), refused);
        assert_eq!(Query::parse(&query("name", 1)[..20]), refused);
    }

    #[test]
    fn pointers() {
        let address = |name| pointer_address(name).map(|address| address.to_string());
        assert_eq!(address("2.0.18.172.in-addr.arpa").as_deref(), Some("172.18.0.2"));
        assert_eq!(address("0.18.172.in-addr.arpa"), None);
        let name = format!("1.{}0.0.d.f.ip6.arpa", "0.".repeat(27));
        assert_eq!(address(&name).as_deref(), Some("fd00::1"));
    }
}

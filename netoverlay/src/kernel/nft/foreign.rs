//! Tables of other programs: reading their chains, and one tagged rule of ours in a chain of theirs.

use std::collections::BTreeSet;

use super::super::socket::{self, Acknowledge, Message, flag};
use super::attributes::{self as read, Writer};
use super::names::{self, COMMENT, SUBSYSTEM, attribute, message};
use super::{Error, Table, body, encode, expression, parse_comment};
use crate::plan::foreign::{ForeignChain, Place, TableFamily};

/// The number of the forward hook.
const FORWARD: u32 = 2;
/// Any family, in requests for lists.
const ANY_FAMILY: u8 = 0;

/// A rule of ours in a foreign chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tagged {
    /// Its comment.
    pub tag: String,
    handle: Vec<u8>,
}

impl Table {
    /// The chains of all tables but this one.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn foreign_chains(&mut self) -> Result<BTreeSet<ForeignChain>, Error> {
        let request = of_family(ANY_FAMILY, message::GET_CHAIN, 0, |_| ());
        let replies = self.socket.dump(&request).map_err(|source| self.foreign("read", source))?;
        let mut chains = BTreeSet::new();
        for reply in &replies {
            let family = reply.payload.first().copied().and_then(TableFamily::from_number);
            let bytes = body(reply);
            let table = read::text(bytes, attribute::CHAIN_TABLE);
            let name = read::text(bytes, attribute::CHAIN_NAME);
            let (Some(family), Some(table), Some(name)) = (family, table, name) else { continue };
            if family == TableFamily::Inet && table == self.place.name {
                continue;
            }
            let hook = read::find(bytes, attribute::CHAIN_HOOK);
            let hook = hook.and_then(|hook| read::number(hook, attribute::HOOK_NUMBER));
            let policy = read::number(bytes, attribute::CHAIN_POLICY);
            let drops_forwarded = hook == Some(FORWARD) && policy == Some(names::DROP);
            chains.insert(ForeignChain { family, table, name, drops_forwarded });
        }
        Ok(chains)
    }

    /// Our rules in a foreign chain: those whose comment begins with `prefix`.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn tagged(&mut self, place: &Place, prefix: &str) -> Result<Vec<Tagged>, Error> {
        let request = of_family(place.family as u8, message::GET_RULE, 0, |writer| {
            writer.text(attribute::RULE_TABLE, place.table);
            writer.text(attribute::RULE_CHAIN, place.chain);
        });
        let replies = match self.socket.dump(&request) {
            Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(Vec::new()),
            other => other.map_err(|source| self.foreign("read", source))?,
        };
        let ours = replies.iter().filter_map(|reply| {
            let bytes = body(reply);
            let chain = read::text(bytes, attribute::RULE_CHAIN)?;
            let tag = parse_comment(bytes).filter(|tag| tag.starts_with(prefix))?;
            let handle = read::find(bytes, attribute::RULE_HANDLE)?.to_vec();
            (chain == place.chain).then_some(Tagged { tag, handle })
        });
        Ok(ours.collect())
    }

    /// Puts a rule that accepts packets with a mark at the beginning of a foreign chain.
    ///
    /// # Errors
    /// The kernel's refusal; EPERM when the table's owner lets nobody else change it.
    pub fn insert_accept(&mut self, place: &Place, tag: &str, mark: u32) -> Result<(), Error> {
        let length = u8::try_from(tag.len() + 1).expect("a tag is short");
        let comment = [&[COMMENT, length], tag.as_bytes(), &[0]].concat();
        let insert = of_family(place.family as u8, message::NEW_RULE, flag::CREATE, |writer| {
            writer.text(attribute::RULE_TABLE, place.table);
            writer.text(attribute::RULE_CHAIN, place.chain);
            writer.nested(attribute::RULE_EXPRESSIONS, |list| {
                // Tables of iptables must stay readable for iptables, which knows its own match only.
                if place.family == TableFamily::Inet {
                    expression::write_marked(mark, list);
                } else {
                    expression::write_marked_for_iptables(mark, list);
                }
            });
            writer.bytes(attribute::RULE_USER_DATA, &comment);
        });
        self.commit_foreign("change", insert)
    }

    /// Removes a rule of ours from a foreign chain.
    ///
    /// # Errors
    /// The kernel's refusal; one that is gone already is fine.
    pub fn remove_tagged(&mut self, place: &Place, rule: &Tagged) -> Result<(), Error> {
        let remove = of_family(place.family as u8, message::DEL_RULE, 0, |writer| {
            writer.text(attribute::RULE_TABLE, place.table);
            writer.text(attribute::RULE_CHAIN, place.chain);
            writer.bytes(attribute::RULE_HANDLE, &rule.handle);
        });
        match self.commit_foreign("change", remove) {
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(()),
            other => other,
        }
    }

    fn commit_foreign(&mut self, step: &'static str, change: Message) -> Result<(), Error> {
        let messages =
            [encode::bracket(names::BATCH_BEGIN), change, encode::bracket(names::BATCH_END)];
        let committed = self.socket.transact(&messages, Acknowledge::At(1));
        committed.map_err(|source| self.foreign(step, source))
    }

    #[expect(clippy::unused_self, reason = "reads better at the call")]
    fn foreign(&self, step: &'static str, source: socket::Error) -> Error {
        Error::Foreign { step, source }
    }
}

fn of_family(family: u8, kind: u16, flags: u16, write: impl FnOnce(&mut Writer)) -> Message {
    let mut writer = Writer::with_header([family, 0, 0, 0]);
    write(&mut writer);
    Message { kind: SUBSYSTEM << 8 | kind, flags, payload: writer.finish() }
}

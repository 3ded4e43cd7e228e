//! Changes of the table as messages of one transaction.

use super::super::socket::{Message, flag};
use super::attributes::Writer;
use super::expression;
use super::names::{
    BATCH_BEGIN, BATCH_END, COMMENT, FAMILY_INET, FAMILY_NETDEV, FLAG_MAP, JUMP, KEY_IN_HOST_ORDER,
    SUBSYSTEM, VERDICT_DATA, attribute, message,
};
use crate::plan::diff::Change;
use crate::plan::ruleset::{Base, Data, FieldType, Rule};

/// Attributes hold at most 64 kB: long lists of elements are split.
const CHUNK_BYTES: usize = 32 * 1024;

/// A table among those of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) name: String,
    /// The link by which the frames of a table of family `netdev` leave; `None`: the family is `inet`.
    pub(super) link: Option<String>,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let family = if self.link.is_some() { "netdev" } else { "inet" };
        write!(f, "{family} {}", self.name)
    }
}

impl Place {
    fn request(&self, kind: u16, flags: u16, write: impl FnOnce(&mut Writer)) -> Message {
        let family = if self.link.is_some() { FAMILY_NETDEV } else { FAMILY_INET };
        let mut writer = Writer::with_header([family, 0, 0, 0]);
        write(&mut writer);
        Message { kind: SUBSYSTEM << 8 | kind, flags, payload: writer.finish() }
    }

    /// Asks for all objects of a kind.
    pub(super) fn list(&self, kind: u16, write: impl FnOnce(&mut Writer)) -> Message {
        self.request(kind, 0, write)
    }
}

/// The messages of one transaction, begin and end included. The last but one is to be acknowledged.
pub(super) fn transaction(table: &Place, changes: &[Change]) -> Vec<Message> {
    let mut messages = vec![bracket(BATCH_BEGIN)];
    for (index, change) in changes.iter().enumerate() {
        let id = u32::try_from(index).expect("a transaction has fewer than 2^32 changes");
        encode(table, change, id, &mut messages);
    }
    messages.push(bracket(BATCH_END));
    messages
}

pub(super) fn bracket(kind: u16) -> Message {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    Message { kind, flags: 0, payload: vec![0, 0, high, low] }
}

fn encode(place: &Place, change: &Change, id: u32, out: &mut Vec<Message>) {
    match change {
        Change::CreateTable => {
            out.push(place.request(message::NEW_TABLE, flag::CREATE, |writer| {
                writer.text(attribute::TABLE_NAME, &place.name);
            }))
        }
        Change::DeleteTable => out.push(place.request(message::DEL_TABLE, 0, |writer| {
            writer.text(attribute::TABLE_NAME, &place.name);
        })),
        Change::CreateChain { chain, base } => out.push(create_chain(place, chain, *base)),
        Change::DeleteChain { chain } => out.push(place.request(message::DEL_CHAIN, 0, |writer| {
            writer.text(attribute::CHAIN_TABLE, &place.name).text(attribute::CHAIN_NAME, chain);
        })),
        Change::FlushChain { chain } => out.push(place.request(message::DEL_RULE, 0, |writer| {
            writer.text(attribute::RULE_TABLE, &place.name).text(attribute::RULE_CHAIN, chain);
        })),
        Change::AddRule { chain, rule } => out.push(add_rule(place, chain, rule)),
        Change::CreateMap { map, key, data } => out.push(create_map(place, map, key, data, id)),
        Change::DeleteMap { map } => out.push(place.request(message::DEL_SET, 0, |writer| {
            writer.text(attribute::SET_TABLE, &place.name).text(attribute::SET_NAME, map);
        })),
        Change::AddElements { map, elements } => {
            let written = elements.iter().map(|(key, data)| element(key, Some(data)));
            push_elements(message::NEW_ELEMENT, flag::CREATE, (place, map), written, out);
        }
        Change::RemoveElements { map, keys } => {
            let written = keys.iter().map(|key| element(key, None));
            push_elements(message::DEL_ELEMENT, 0, (place, map), written, out);
        }
    }
}

fn create_chain(place: &Place, chain: &str, base: Option<Base>) -> Message {
    place.request(message::NEW_CHAIN, flag::CREATE, |writer| {
        writer.text(attribute::CHAIN_TABLE, &place.name).text(attribute::CHAIN_NAME, chain);
        let Some(base) = base else { return };
        writer.nested(attribute::CHAIN_HOOK, |hook| {
            hook.number(attribute::HOOK_NUMBER, base.hook.number())
                .bytes(attribute::HOOK_PRIORITY, &base.priority.to_be_bytes());
            if let Some(link) = &place.link {
                hook.text(attribute::HOOK_LINK, link);
            }
        });
        writer
            .number(attribute::CHAIN_POLICY, super::names::ACCEPT)
            .text(attribute::CHAIN_TYPE, base.kind.as_str());
    })
}

fn add_rule(place: &Place, chain: &str, rule: &Rule) -> Message {
    let mark = rule.fingerprint();
    let length = u8::try_from(mark.len() + 1).expect("a fingerprint is short");
    let comment = [&[COMMENT, length], mark.as_bytes(), &[0]].concat();
    place.request(message::NEW_RULE, flag::CREATE | flag::APPEND, |writer| {
        writer.text(attribute::RULE_TABLE, &place.name).text(attribute::RULE_CHAIN, chain);
        writer.nested(attribute::RULE_EXPRESSIONS, |list| expression::write(rule, list));
        writer.bytes(attribute::RULE_USER_DATA, &comment);
    })
}

fn create_map(place: &Place, map: &str, key: &[FieldType], data: &[FieldType], id: u32) -> Message {
    let length = |types: &[FieldType]| {
        let bytes: usize = match types {
            [one] => one.byte_len(),
            types => types.iter().map(|kind| kind.padded_len()).sum(),
        };
        u32::try_from(bytes).expect("keys and data are short")
    };
    place.request(message::NEW_SET, flag::CREATE, |writer| {
        writer
            .text(attribute::SET_TABLE, &place.name)
            .text(attribute::SET_NAME, map)
            .number(attribute::SET_FLAGS, FLAG_MAP)
            .number(attribute::SET_KEY_TYPE, type_number(key))
            .number(attribute::SET_KEY_LEN, length(key));
        if data.is_empty() {
            writer.number(attribute::SET_DATA_TYPE, VERDICT_DATA);
        } else {
            writer
                .number(attribute::SET_DATA_TYPE, type_number(data))
                .number(attribute::SET_DATA_LEN, length(data));
        }
        writer.number(attribute::SET_ID, id + 1);
        if key == [FieldType::InterfaceName] {
            writer.bytes(attribute::SET_USER_DATA, &KEY_IN_HOST_ORDER);
        }
    })
}

/// How nft names a type, or several in sequence: six bits each.
fn type_number(types: &[FieldType]) -> u32 {
    types.iter().fold(0, |number, kind| {
        let one = match kind {
            FieldType::Ipv4 => 7,
            FieldType::Ipv6 => 8,
            FieldType::Mac => 9,
            FieldType::Protocol => 12,
            FieldType::Port => 13,
            FieldType::Slot => 19,
            FieldType::InterfaceName => 41,
        };
        number << 6 | one
    })
}

fn element(key: &[u8], data: Option<&Data>) -> Writer {
    let mut writer = Writer::default();
    writer.nested(attribute::LIST_ELEMENT, |element| {
        element.nested(attribute::ELEMENT_KEY, |wrapped| {
            wrapped.bytes(attribute::DATA_VALUE, key);
        });
        let Some(data) = data else { return };
        element.nested(attribute::ELEMENT_DATA, |wrapped| match data {
            Data::Jump(chain) => expression::write_verdict(JUMP, Some(chain), wrapped),
            Data::Bytes(bytes) => {
                wrapped.bytes(attribute::DATA_VALUE, bytes);
            }
        });
    });
    writer
}

fn push_elements(
    kind: u16,
    flags: u16,
    (place, map): (&Place, &str),
    elements: impl Iterator<Item = Writer>,
    out: &mut Vec<Message>,
) {
    let mut list = Vec::new();
    let mut push = |list: &mut Vec<u8>| {
        if list.is_empty() {
            return;
        }
        out.push(place.request(kind, flags, |writer| {
            writer.text(attribute::ELEMENTS_TABLE, &place.name).text(attribute::ELEMENTS_SET, map);
            writer.raw_nested(attribute::ELEMENTS_LIST, list);
        }));
        list.clear();
    };
    for element in elements {
        if list.len() + element.len() > CHUNK_BYTES {
            push(&mut list);
        }
        list.extend(element.finish());
    }
    push(&mut list);
}

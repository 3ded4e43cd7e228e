//! nf_tables over netlink: transactions on one table, and reading it back.
//!
//! Only the table that was named is ever touched, but for one tagged rule in tables of others ([`foreign`]). Every call is one transaction of the kernel: it takes
//! place as a whole or not at all.

pub(super) mod attributes;
mod encode;
mod expression;
pub mod foreign;
mod names;

use std::collections::BTreeMap;
use std::io;

use self::attributes as read;
use self::names::{COMMENT, attribute, message};
use super::socket::{self, Acknowledge, Protocol, Reply, Socket};
use crate::plan::diff::{Change, Current, CurrentChain, CurrentMap};
use crate::plan::ruleset::Data;

/// The table could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket.
    #[error("failed to open a netlink socket for nftables")]
    Open(#[source] io::Error),
    /// A transaction.
    #[error("failed to change the nftables table `{table}`{}", refused(.change.as_deref()))]
    Commit {
        /// Family and name.
        table: String,
        /// The change that was refused.
        change: Option<Box<Change>>,
        /// Why.
        #[source]
        source: socket::Error,
    },
    /// A table of another program.
    #[error("failed to {step} the nftables tables of other programs")]
    Foreign {
        /// What was being done.
        step: &'static str,
        /// Why.
        #[source]
        source: socket::Error,
    },
    /// A dump.
    #[error("failed to read the nftables table `{table}`")]
    Read {
        /// Family and name.
        table: String,
        /// Why.
        #[source]
        source: socket::Error,
    },
}

fn refused(change: Option<&Change>) -> String {
    change.map_or_else(String::new, |change| format!(", refused was {change:?}"))
}

impl Error {
    /// The kernel's error number, when it gave one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Commit { source, .. }
            | Self::Read { source, .. }
            | Self::Foreign { source, .. } => source.errno(),
            Self::Open(source) => source.raw_os_error(),
        }
    }
}

/// One table.
#[derive(Debug)]
pub struct Table {
    place: encode::Place,
    socket: Socket,
}

impl Table {
    /// Prepares to work on a table in the calling thread's namespace; it need not exist.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(name: impl Into<String>) -> Result<Self, Error> {
        Self::at(encode::Place { name: name.into(), link: None })
    }

    /// The same for a table of family `netdev`, whose chains are about frames that leave by a link.
    ///
    /// # Errors
    /// The operating system's.
    pub fn of_frames(name: impl Into<String>, link: impl Into<String>) -> Result<Self, Error> {
        Self::at(encode::Place { name: name.into(), link: Some(link.into()) })
    }

    fn at(place: encode::Place) -> Result<Self, Error> {
        let socket = Socket::open(Protocol::Netfilter).map_err(Error::Open)?;
        Ok(Self { place, socket })
    }

    /// Names the socket that makes this table's changes, as [`super::watch`] sees it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn port(&self) -> Result<u32, Error> {
        self.socket.port().map_err(Error::Open)
    }

    /// The socket, for other questions to netfilter in the same namespace.
    pub fn socket(&mut self) -> &mut Socket {
        &mut self.socket
    }

    /// Makes all changes in one transaction, or none.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), Error> {
        if changes.is_empty() {
            return Ok(());
        }
        let messages = encode::transaction(&self.place, changes);
        let last = messages.len() - 2;
        self.socket.transact(&messages, Acknowledge::At(last)).map_err(|source| {
            let change = source.index().and_then(|index| {
                // Long lists take several messages; then the change is not exactly known.
                let exact = messages.len() == changes.len() + 2;
                exact.then(|| changes.get(index.checked_sub(1)?).cloned().map(Box::new)).flatten()
            });
            Error::Commit { table: self.place.to_string(), change, source }
        })
    }

    /// The table as it is; `None`: there is none.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn read(&mut self) -> Result<Option<Current>, Error> {
        self.dump_all().map_err(|source| Error::Read { table: self.place.to_string(), source })
    }

    fn dump_all(&mut self) -> Result<Option<Current>, socket::Error> {
        let tables = self.dump(message::GET_TABLE, None)?;
        let table = self.place.name.clone();
        let named =
            |reply: &Reply| read::text(body(reply), attribute::TABLE_NAME).as_ref() == Some(&table);
        if !tables.iter().any(named) {
            return Ok(None);
        }
        let mut current = Current::default();
        for reply in self.dump(message::GET_CHAIN, None)?.iter().filter(|reply| named(reply)) {
            if let Some(name) = read::text(body(reply), attribute::CHAIN_NAME) {
                current.chains.insert(name, parse_chain(body(reply)));
            }
        }
        for reply in self.dump(message::GET_RULE, Some(attribute::RULE_TABLE))? {
            let chain = read::text(body(&reply), attribute::RULE_CHAIN);
            if let Some(chain) = chain.and_then(|name| current.chains.get_mut(&name)) {
                chain.rules.push(parse_comment(body(&reply)));
            }
        }
        for reply in self.dump(message::GET_SET, Some(attribute::SET_TABLE))? {
            if let Some(name) = read::text(body(&reply), attribute::SET_NAME) {
                let map = self.parse_map(&name, body(&reply))?;
                current.maps.insert(name, map);
            }
        }
        Ok(Some(current))
    }

    fn dump(&mut self, kind: u16, filter: Option<u16>) -> Result<Vec<Reply>, socket::Error> {
        let name = self.place.name.clone();
        let request = self.place.list(kind, |writer| {
            if let Some(attribute) = filter {
                writer.text(attribute, &name);
            }
        });
        self.socket.dump(&request)
    }

    fn parse_map(&mut self, name: &str, bytes: &[u8]) -> Result<CurrentMap, socket::Error> {
        let length = |kind| read::number(bytes, kind).unwrap_or_default() as usize;
        let is_verdict = read::number(bytes, attribute::SET_DATA_TYPE) == Some(names::VERDICT_DATA);
        let mut map = CurrentMap {
            key_len: length(attribute::SET_KEY_LEN).next_multiple_of(4),
            data_len: if is_verdict {
                0
            } else {
                length(attribute::SET_DATA_LEN).next_multiple_of(4)
            },
            elements: BTreeMap::new(),
        };
        let request = self.place.list(message::GET_ELEMENT, |writer| {
            writer
                .text(attribute::ELEMENTS_TABLE, &self.place.name)
                .text(attribute::ELEMENTS_SET, name);
        });
        for reply in self.socket.dump(&request)? {
            let list = read::find(body(&reply), attribute::ELEMENTS_LIST).unwrap_or_default();
            for (_, element) in read::read(list) {
                if let Some((key, data)) = parse_element(element) {
                    map.elements.insert(key, data);
                }
            }
        }
        Ok(map)
    }
}

/// What a notification is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Touched {
    /// Tables, chains or rules of other programs.
    Foreign,
    /// An object of the table, in any family.
    Own,
}

/// Whether a notification is about an object of one of `tables`, or about rules of others.
pub(super) fn touched(reply: &Reply, tables: &[String]) -> Option<Touched> {
    if reply.kind >> 8 != names::SUBSYSTEM {
        return None;
    }
    // The first attribute of all objects is the name of their table.
    if read::text(body(reply), attribute::TABLE_NAME).is_some_and(|name| tables.contains(&name)) {
        return Some(Touched::Own);
    }
    (reply.kind & 0xff <= message::DEL_RULE).then_some(Touched::Foreign)
}

/// The attributes behind the family header.
fn body(reply: &Reply) -> &[u8] {
    reply.payload.get(4..).unwrap_or_default()
}

fn parse_chain(bytes: &[u8]) -> CurrentChain {
    let base = read::find(bytes, attribute::CHAIN_HOOK).and_then(|hook| {
        let priority = read::number(hook, attribute::HOOK_PRIORITY)?;
        Some((
            read::text(bytes, attribute::CHAIN_TYPE)?,
            read::number(hook, attribute::HOOK_NUMBER)?,
            i32::from_ne_bytes(priority.to_ne_bytes()),
        ))
    });
    CurrentChain { base, rules: Vec::new() }
}

fn parse_comment(bytes: &[u8]) -> Option<String> {
    let data = read::find(bytes, attribute::RULE_USER_DATA)?;
    let [COMMENT, length, text @ ..] = data else { return None };
    let text = text.get(..usize::from(*length))?.strip_suffix(&[0])?;
    String::from_utf8(text.to_vec()).ok()
}

fn parse_element(bytes: &[u8]) -> Option<(Vec<u8>, Data)> {
    let key = read::find(read::find(bytes, attribute::ELEMENT_KEY)?, attribute::DATA_VALUE)?;
    let data = read::find(bytes, attribute::ELEMENT_DATA)?;
    let data = match read::find(data, attribute::DATA_VERDICT) {
        Some(verdict) => Data::Jump(read::text(verdict, attribute::VERDICT_CHAIN)?),
        None => Data::Bytes(read::find(data, attribute::DATA_VALUE)?.to_vec()),
    };
    Some((key.to_vec(), data))
}

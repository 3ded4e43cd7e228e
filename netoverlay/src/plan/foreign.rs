//! Other programs' firewalls that drop forwarded packets by default: where one accept of ours belongs. Pure.
//!
//! An accept in our own table cannot override a drop in theirs. So our table marks what the networks of this
//! host forward, for the length of the forward hook, and one tagged rule at the place that each program
//! documents for other people's rules accepts the mark. What our own table drops stays dropped, and packets
//! to other programs' bridges are never marked: their isolation holds.
//!
//! Sources: Docker "Packet filtering and firewalls" (DOCKER-USER); ufw-framework(8) (`ufw route`, which writes
//! `ufw-user-forward`); firewalld `src/firewall/core/nftables.py` (`filter_FORWARD` rejects what no zone took).

use std::collections::BTreeSet;
use std::fmt;

/// Family of a table; the value is the kernel's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
#[repr(u8)]
pub enum TableFamily {
    Inet = 1,
    Ipv4 = 2,
    Ipv6 = 10,
}

impl TableFamily {
    /// From the kernel's number; `None`: a family without forwarded packets of ours.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Inet),
            2 => Some(Self::Ipv4),
            10 => Some(Self::Ipv6),
            _ => None,
        }
    }
}

/// A chain of any table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignChain {
    /// Family of its table.
    pub family: TableFamily,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// It sees forwarded packets, and drops what no rule accepts.
    pub drops_forwarded: bool,
}

/// A place for our rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Family of the table.
    pub family: TableFamily,
    /// Whose rules these are.
    pub table: &'static str,
    /// The chain, at whose beginning the rule belongs.
    pub chain: &'static str,
    /// Without a base chain that drops by policy, the table still drops: its last rule does.
    drops_by_rule: bool,
}

const fn place(family: TableFamily, table: &'static str, chain: &'static str) -> Place {
    Place { family, table, chain, drops_by_rule: false }
}

/// All places that are known; within a table the first that exists is taken.
pub const PLACES: [Place; 5] = [
    place(TableFamily::Ipv4, "filter", "DOCKER-USER"),
    place(TableFamily::Ipv6, "filter", "DOCKER-USER"),
    place(TableFamily::Ipv4, "filter", "ufw-user-forward"),
    place(TableFamily::Ipv6, "filter", "ufw6-user-forward"),
    Place { drops_by_rule: true, ..place(TableFamily::Inet, "firewalld", "filter_FORWARD") },
];

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", family_name(self.family), self.table, self.chain)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Where our rule must be.
    pub wanted: Vec<Place>,
    /// Where our rule may have been left and must not be.
    pub unwanted: Vec<Place>,
    /// Chains that drop by default, in tables without a place that we know.
    pub unknown: Vec<String>,
}

/// Decides from the chains of all tables but our own.
pub fn plan(chains: &BTreeSet<ForeignChain>) -> Plan {
    let mut plan = Plan::default();
    let mut served = BTreeSet::new();
    for place in PLACES {
        let of_table = |chain: &&ForeignChain| {
            (chain.family, chain.table.as_str()) == (place.family, place.table)
        };
        if !chains.iter().filter(of_table).any(|chain| chain.name == place.chain) {
            continue;
        }
        let drops = place.drops_by_rule
            || chains.iter().filter(of_table).any(|chain| chain.drops_forwarded);
        if drops && served.insert((place.family, place.table)) {
            plan.wanted.push(place);
        } else {
            plan.unwanted.push(place);
        }
    }
    let unserved = chains.iter().filter(|chain| {
        chain.drops_forwarded && !served.contains(&(chain.family, chain.table.as_str()))
    });
    plan.unknown = unserved
        .map(|chain| format!("{} {} {}", family_name(chain.family), chain.table, chain.name))
        .collect();
    plan
}

fn family_name(family: TableFamily) -> &'static str {
    match family {
        TableFamily::Inet => "inet",
        TableFamily::Ipv4 => "ip",
        TableFamily::Ipv6 => "ip6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chains(list: &[(TableFamily, &str, &str, bool)]) -> BTreeSet<ForeignChain> {
        let chain = |&(family, table, name, drops_forwarded): &(_, &str, &str, _)| ForeignChain {
            family,
            table: table.to_owned(),
            name: name.to_owned(),
            drops_forwarded,
        };
        list.iter().map(chain).collect()
    }

    fn shown(list: &[(TableFamily, &str, &str, bool)]) -> [Vec<String>; 3] {
        let Plan { wanted, unwanted, unknown } = plan(&chains(list));
        let show = |places: Vec<Place>| places.iter().map(Place::to_string).collect();
        [show(wanted), show(unwanted), unknown]
    }

    #[test]
    fn one_accept_where_a_table_drops_by_default() {
        use TableFamily::{Inet, Ipv4, Ipv6};
        let nothing: [Vec<String>; 3] = Default::default();
        assert_eq!(shown(&[]), nothing);
        assert_eq!(shown(&[(Ipv4, "filter", "FORWARD", false)]), nothing);
        assert_eq!(
            shown(&[
                (Ipv4, "filter", "FORWARD", true),
                (Ipv4, "filter", "DOCKER-USER", false),
                (Ipv4, "filter", "ufw-user-forward", false),
                (Ipv6, "filter", "FORWARD", false),
                (Ipv6, "filter", "DOCKER-USER", false),
                (Inet, "firewalld", "filter_FORWARD", false),
                (Inet, "mine", "closed", true),
            ]),
            [
                vec![
                    "ip filter DOCKER-USER".to_owned(),
                    "inet firewalld filter_FORWARD".to_owned()
                ],
                vec!["ip6 filter DOCKER-USER".to_owned(), "ip filter ufw-user-forward".to_owned()],
                vec!["inet mine closed".to_owned()],
            ]
        );
    }
}

//! The ruleset of all bridge networks of this host.
//!
//! # What the table does
//! - `raw-prerouting`: loopback addresses never come in by another interface than `lo`; the bridges have
//!   `route_localnet`, so that `127.0.0.1:<port>` can be rewritten, and this rule keeps neighbours off.
//! - `nat-prerouting`, `nat-output` → `publish`: a packet to an address of this host whose port is in one
//!   of the four maps goes to the container. A specific address of the host comes before any address.
//! - `nat-postrouting`: traffic that leaves a network by another interface takes the host's address;
//!   a container that reaches its own network by a published port (hairpin) and loopback sources too.
//! - `forward`: into a network come answers, its own members and published ports, nothing else: that is
//!   the isolation between networks, and from neighbours with a route. Out of an internal network
//!   nothing comes.
//!
//! Where other programs drop forwarded packets by default, `admit-begin` marks what they are to accept
//! ([`super::foreign`]), and `admit-end` clears the mark.
//!
//! Networks are found by interface name in four maps, so that the cost of a packet does not grow with
//! their number, and a network comes and goes by its own chains and elements.

use std::collections::BTreeMap;

use super::ports::{self, PublishedPort};
use super::ruleset::{
    Base, Chain, ChainKind, Data, Expression, Field, Hook, Interface, Is, Map, Rule, Ruleset, Side,
    interface_key,
};
use crate::subnet::Subnet;

const PRIORITY_RAW: i32 = -300;
const PRIORITY_DESTINATION_NAT: i32 = -100;
/// Before everybody's filters.
const PRIORITY_ADMIT: i32 = -10;
const PRIORITY_FILTER: i32 = 0;
/// Behind everybody's filters; firewalld's are at 10.
const PRIORITY_FORGET: i32 = 20;
const PRIORITY_SOURCE_NAT: i32 = 100;

/// Name of the chain that rewrites published ports.
const PUBLISH: &str = "publish";
/// Name of the map of networks whose packets other programs are to accept.
const ADMIT: &str = "admit";
/// Name of the chain that marks them.
const ADMITTED: &str = "admitted";

/// How a published port of `[::1]` reaches its container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loopback6 {
    /// The kernel rewrites it, as 127.0.0.1; each bridge has a local route for `::1`.
    Rewritten,
    /// Where bridged packets pass the IPv6 filters, the answer has its loopback address back before the
    /// kernel's check that none comes in from outside, and is dropped: the daemon relays.
    Relayed,
}

/// What the rules must know of the rest of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surroundings {
    /// The way of `[::1]`.
    pub loopback: Loopback6,
    /// The mark of what other programs' tables are to accept; `None`: they drop nothing.
    pub admit: Option<u32>,
}

/// What the rules must know of a bridge network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeView {
    /// Name of the bridge.
    pub bridge: String,
    /// Subnets of both families.
    pub subnets: Vec<Subnet>,
    /// Nothing goes out or comes in.
    pub internal: bool,
    /// Members reach each other.
    pub inter_container: bool,
    /// Members take the host's address outside.
    pub masquerade: bool,
}

/// Computes the whole ruleset. The same view always gives the same ruleset.
pub fn ruleset<'a>(
    bridges: impl IntoIterator<Item = &'a BridgeView>,
    published: impl IntoIterator<Item = &'a PublishedPort>,
    surroundings: Surroundings,
) -> Ruleset {
    let mut ruleset = base(surroundings.loopback);
    if let Some(mark) = surroundings.admit {
        add_admission(&mut ruleset, mark);
    }
    for bridge in bridges {
        add_bridge(&mut ruleset, bridge);
        admit(&mut ruleset, bridge);
    }
    for (map, key, data) in published.into_iter().filter_map(ports::element) {
        if let Some(map) = ruleset.maps.get_mut(map) {
            map.elements.insert(key, data);
        }
    }
    ruleset
}

fn base(loopback6: Loopback6) -> Ruleset {
    let mut maps: BTreeMap<String, Map> = ports::maps();
    for name in ["forward-from", "forward-to", "nat-from", "nat-to"] {
        maps.insert(name.to_owned(), Map::jumps_by_interface());
    }
    let by_interface = |interface: Interface, map: &str| {
        let field = match interface {
            Interface::Input => Field::InputName,
            Interface::Output => Field::OutputName,
        };
        Rule(vec![Expression::VerdictMap(vec![field], map.to_owned())])
    };
    let loopback = |side, subnet| {
        let name = "lo".to_owned();
        Rule(vec![
            Expression::Interface(Interface::Input, Is::Not, name),
            Expression::Address(side, subnet),
            Expression::Drop,
        ])
    };
    let mut publish_rules = ports::rules();
    if loopback6 == Loopback6::Relayed {
        let own = Expression::Address(Side::Destination, self::loopback6());
        publish_rules.insert(0, Rule(vec![own, Expression::Return]));
    }
    let publish = || Rule(vec![Expression::DestinationLocal, Expression::Jump(PUBLISH.to_owned())]);
    let chain =
        |kind, hook, priority, rules| Chain { base: Some(Base { kind, hook, priority }), rules };
    let chains = [
        (
            "raw-prerouting",
            chain(
                ChainKind::Filter,
                Hook::Prerouting,
                PRIORITY_RAW,
                [loopback4(), self::loopback6()]
                    .into_iter()
                    .flat_map(|subnet| {
                        [Side::Destination, Side::Source].map(|side| loopback(side, subnet))
                    })
                    .collect(),
            ),
        ),
        (
            "nat-prerouting",
            chain(ChainKind::Nat, Hook::Prerouting, PRIORITY_DESTINATION_NAT, vec![publish()]),
        ),
        (
            "nat-output",
            chain(ChainKind::Nat, Hook::Output, PRIORITY_DESTINATION_NAT, vec![publish()]),
        ),
        (
            "nat-postrouting",
            chain(
                ChainKind::Nat,
                Hook::Postrouting,
                PRIORITY_SOURCE_NAT,
                vec![
                    by_interface(Interface::Input, "nat-from"),
                    by_interface(Interface::Output, "nat-to"),
                ],
            ),
        ),
        (
            "forward",
            chain(
                ChainKind::Filter,
                Hook::Forward,
                PRIORITY_FILTER,
                vec![
                    by_interface(Interface::Input, "forward-from"),
                    by_interface(Interface::Output, "forward-to"),
                ],
            ),
        ),
        (PUBLISH, Chain { base: None, rules: publish_rules }),
    ];
    Ruleset { chains: chains.map(|(name, chain)| (name.to_owned(), chain)).into(), maps }
}

/// Marks, for the length of the forward hook, what our networks forward: what goes into one of them (where
/// `forward` drops what must not), and what comes from one unless it leaves by a bridge of somebody else.
fn add_admission(ruleset: &mut Ruleset, mark: u32) {
    ruleset.maps.insert(ADMIT.to_owned(), Map::jumps_by_interface());
    let look_up = |field| Expression::VerdictMap(vec![field], ADMIT.to_owned());
    let at = |priority| Base { kind: ChainKind::Filter, hook: Hook::Forward, priority };
    let rule = |expressions: &[Expression]| Rule(expressions.to_vec());
    let begin = vec![
        rule(&[look_up(Field::OutputName)]),
        rule(&[Expression::LeavesByBridge, Expression::Return]),
        rule(&[look_up(Field::InputName)]),
    ];
    let chains = [
        ("admit-begin", Some(at(PRIORITY_ADMIT)), begin),
        (ADMITTED, None, vec![rule(&[Expression::SetMark(mark)])]),
        ("admit-end", Some(at(PRIORITY_FORGET)), vec![rule(&[Expression::ClearMark(mark)])]),
    ];
    for (name, base, rules) in chains {
        ruleset.chains.insert(name.to_owned(), Chain { base, rules });
    }
}

fn loopback4() -> Subnet {
    Subnet { address: std::net::Ipv4Addr::new(127, 0, 0, 0).into(), prefix: 8 }
}

fn loopback6() -> Subnet {
    Subnet { address: std::net::Ipv6Addr::LOCALHOST.into(), prefix: 128 }
}

fn add_bridge(ruleset: &mut Ruleset, bridge: &BridgeView) {
    let places = [
        ("forward-from", forward_from(bridge)),
        ("forward-to", forward_to(bridge)),
        ("nat-from", nat_from(bridge)),
        ("nat-to", nat_to(bridge)),
    ];
    for (map, rules) in places {
        let chain = format!("{map}-{}", bridge.bridge);
        ruleset.chains.insert(chain.clone(), Chain { base: None, rules });
        if let Some(map) = ruleset.maps.get_mut(map) {
            map.elements.insert(interface_key(&bridge.bridge), Data::Jump(chain));
        }
    }
}

fn admit(ruleset: &mut Ruleset, bridge: &BridgeView) {
    if let Some(map) = ruleset.maps.get_mut(ADMIT) {
        map.elements.insert(interface_key(&bridge.bridge), Data::Jump(ADMITTED.to_owned()));
    }
}

fn by(interface: Interface, is: Is, bridge: &BridgeView) -> Expression {
    Expression::Interface(interface, is, bridge.bridge.clone())
}

fn forward_from(bridge: &BridgeView) -> Vec<Rule> {
    if bridge.internal {
        vec![Rule(vec![by(Interface::Output, Is::Not, bridge), Expression::Drop])]
    } else {
        Vec::new()
    }
}

fn forward_to(bridge: &BridgeView) -> Vec<Rule> {
    let own = || by(Interface::Input, Is::Equal, bridge);
    let mut rules = Vec::new();
    if bridge.internal {
        rules.push(Rule(vec![by(Interface::Input, Is::Not, bridge), Expression::Drop]));
    }
    rules.push(Rule(vec![Expression::Established, Expression::Accept]));
    rules.push(Rule(vec![Expression::DestinationRewritten, Expression::Accept]));
    if bridge.inter_container {
        rules.push(Rule(vec![own(), Expression::Accept]));
    }
    rules.push(Rule(vec![Expression::Drop]));
    rules
}

fn nat_from(bridge: &BridgeView) -> Vec<Rule> {
    if !bridge.masquerade || bridge.internal {
        return Vec::new();
    }
    let leaves = |subnet: &Subnet| {
        Rule(vec![
            by(Interface::Output, Is::Not, bridge),
            Expression::Address(Side::Source, subnet.network()),
            Expression::Masquerade,
        ])
    };
    bridge.subnets.iter().map(leaves).collect()
}

fn nat_to(bridge: &BridgeView) -> Vec<Rule> {
    let source = |subnet| Expression::Address(Side::Source, subnet);
    let mut rules: Vec<Rule> = [loopback4(), loopback6()]
        .into_iter()
        .map(|subnet| Rule(vec![source(subnet), Expression::Masquerade]))
        .collect();
    for subnet in &bridge.subnets {
        rules.push(Rule(vec![
            source(subnet.network()),
            Expression::DestinationRewritten,
            Expression::Masquerade,
        ]));
    }
    rules
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::plan::diff::{Current, CurrentChain, CurrentMap, diff};
    use crate::plan::ports::Protocol;

    const BESIDE_FIREWALLS: Surroundings =
        Surroundings { loopback: Loopback6::Relayed, admit: Some(0x0100_0000) };
    const BESIDE_NOBODY: Surroundings =
        Surroundings { loopback: Loopback6::Rewritten, admit: None };

    fn view() -> Vec<BridgeView> {
        vec![
            BridgeView {
                bridge: "shoal0".to_owned(),
                subnets: vec!["172.17.0.1/16".parse().unwrap()],
                internal: false,
                inter_container: true,
                masquerade: true,
            },
            BridgeView {
                bridge: "br-closed".to_owned(),
                subnets: vec!["10.9.0.0/24".parse().unwrap(), "fd00:9::/64".parse().unwrap()],
                internal: true,
                inter_container: false,
                masquerade: true,
            },
        ]
    }

    fn published() -> Vec<PublishedPort> {
        let port = |host: &str, container: &str| PublishedPort {
            protocol: Protocol::Tcp,
            host: host.parse().unwrap(),
            container: container.parse().unwrap(),
        };
        vec![
            port("0.0.0.0:8080", "172.17.0.2:80"),
            port("127.0.0.1:53", "172.17.0.2:5353"),
            port("[::]:8080", "[fd00:9::2]:80"),
        ]
    }

    #[test]
    fn ruleset_of_two_networks() {
        expect![[r#"
            map admit { ifname : verdict
              br-closed : jump admitted
              shoal0 : jump admitted
            }
            map forward-from { ifname : verdict
              br-closed : jump forward-from-br-closed
              shoal0 : jump forward-from-shoal0
            }
            map forward-to { ifname : verdict
              br-closed : jump forward-to-br-closed
              shoal0 : jump forward-to-shoal0
            }
            map nat-from { ifname : verdict
              br-closed : jump nat-from-br-closed
              shoal0 : jump nat-from-shoal0
            }
            map nat-to { ifname : verdict
              br-closed : jump nat-to-br-closed
              shoal0 : jump nat-to-shoal0
            }
            map ports4 { ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
              127.0.0.1 . tcp . 53 : 172.17.0.2 . 5353
            }
            map ports4-any { inet_proto . inet_service : ipv4_addr . inet_service
              tcp . 8080 : 172.17.0.2 . 80
            }
            map ports6 { ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service
            }
            map ports6-any { inet_proto . inet_service : ipv6_addr . inet_service
              tcp . 8080 : fd00:9::2 . 80
            }
            chain admit-begin { type filter hook forward priority -10
              oifname vmap @admit
              meta oifkind "bridge" return
              iifname vmap @admit
            }
            chain admit-end { type filter hook forward priority 20
              meta mark set meta mark & 0xfeffffff
            }
            chain admitted {
              meta mark set meta mark | 0x01000000
            }
            chain forward { type filter hook forward priority 0
              iifname vmap @forward-from
              oifname vmap @forward-to
            }
            chain forward-from-br-closed {
              oifname != "br-closed" drop
            }
            chain forward-from-shoal0 {
            }
            chain forward-to-br-closed {
              iifname != "br-closed" drop
              ct state established,related accept
              ct status dnat accept
              drop
            }
            chain forward-to-shoal0 {
              ct state established,related accept
              ct status dnat accept
              iifname "shoal0" accept
              drop
            }
            chain nat-from-br-closed {
            }
            chain nat-from-shoal0 {
              oifname != "shoal0" ip saddr 172.17.0.0/16 masquerade
            }
            chain nat-output { type nat hook output priority -100
              fib daddr type local jump publish
            }
            chain nat-postrouting { type nat hook postrouting priority 100
              iifname vmap @nat-from
              oifname vmap @nat-to
            }
            chain nat-prerouting { type nat hook prerouting priority -100
              fib daddr type local jump publish
            }
            chain nat-to-br-closed {
              ip saddr 127.0.0.0/8 masquerade
              ip6 saddr ::1/128 masquerade
              ip saddr 10.9.0.0/24 ct status dnat masquerade
              ip6 saddr fd00:9::/64 ct status dnat masquerade
            }
            chain nat-to-shoal0 {
              ip saddr 127.0.0.0/8 masquerade
              ip6 saddr ::1/128 masquerade
              ip saddr 172.17.0.0/16 ct status dnat masquerade
            }
            chain publish {
              ip6 daddr ::1/128 return
              meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @ports4
              meta nfproto ipv4 dnat ip to meta l4proto . th dport map @ports4-any
              meta nfproto ipv6 dnat ip6 to ip6 daddr . meta l4proto . th dport map @ports6
              meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @ports6-any
            }
            chain raw-prerouting { type filter hook prerouting priority -300
              iifname != "lo" ip daddr 127.0.0.0/8 drop
              iifname != "lo" ip saddr 127.0.0.0/8 drop
              iifname != "lo" ip6 daddr ::1/128 drop
              iifname != "lo" ip6 saddr ::1/128 drop
            }
        "#]]
        .assert_eq(&ruleset(&view(), &published(), BESIDE_FIREWALLS).to_string());
    }

    /// What the kernel shows after `ruleset` was applied.
    fn applied(ruleset: &Ruleset) -> Current {
        let chains = ruleset.chains.iter().map(|(name, chain)| {
            let base = chain
                .base
                .map(|base| (base.kind.as_str().to_owned(), base.hook as u32, base.priority));
            let rules = chain.rules.iter().map(|rule| Some(rule.fingerprint())).collect();
            (name.clone(), CurrentChain { base, rules })
        });
        let maps = ruleset.maps.iter().map(|(name, map)| {
            let len = |types: &[super::super::ruleset::FieldType]| {
                types.iter().map(|kind| kind.padded_len()).sum()
            };
            let current = CurrentMap {
                key_len: len(&map.key),
                data_len: len(&map.data),
                elements: map.elements.clone(),
            };
            (name.clone(), current)
        });
        Current { chains: chains.collect(), maps: maps.collect() }
    }

    #[test]
    fn an_applied_ruleset_needs_no_change() {
        let ruleset = ruleset(&view(), &published(), BESIDE_FIREWALLS);
        assert_eq!(diff(Some(&applied(&ruleset)), &ruleset), []);
    }

    #[test]
    fn a_removed_network_takes_only_its_own_things_away() {
        use crate::plan::diff::Change;
        let before = applied(&ruleset(&view(), [], BESIDE_NOBODY));
        let after = ruleset(&view()[..1], [], BESIDE_NOBODY);
        let names = ["forward-from", "forward-to", "nat-from", "nat-to"];
        let remove = names.map(|map| Change::RemoveElements {
            map: map.to_owned(),
            keys: vec![interface_key("br-closed")],
        });
        let flush = names.map(|map| Change::FlushChain { chain: format!("{map}-br-closed") });
        let delete = names.map(|map| Change::DeleteChain { chain: format!("{map}-br-closed") });
        assert_eq!(
            diff(Some(&before), &after),
            remove.into_iter().chain(flush).chain(delete).collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_foreign_rule_in_a_chain_makes_it_anew() {
        use crate::plan::diff::Change;
        let ruleset = ruleset(&view(), [], BESIDE_NOBODY);
        let mut current = applied(&ruleset);
        current.chains.get_mut("nat-output").unwrap().rules.push(None);
        assert_eq!(
            diff(Some(&current), &ruleset),
            [
                Change::FlushChain { chain: "nat-output".to_owned() },
                Change::AddRule {
                    chain: "nat-output".to_owned(),
                    rule: ruleset.chains["nat-output"].rules[0].clone(),
                },
            ]
        );
    }
}

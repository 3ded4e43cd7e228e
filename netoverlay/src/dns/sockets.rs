//! Sockets of the name server in a sandbox's namespace, and the rule that leads port 53 to them.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use super::{ADDRESS, PORT};
use crate::kernel::namespace::Namespace;
use crate::kernel::nft::Table;
use crate::kernel::socket::Socket;
use crate::kernel::watch::Watch;
use crate::plan::diff::diff;
use crate::plan::ports::Protocol;
use crate::plan::ruleset::{
    Base, Chain, ChainKind, Data, Expression, Family, Field, FieldType, Hook, Map, Rule, Ruleset,
};

/// Before the kernel's own address rewriting of other tables.
const PRIORITY: i32 = -100;

/// The two sockets.
#[derive(Debug)]
pub struct Sockets {
    /// For datagrams.
    pub udp: UdpSocket,
    /// For connections.
    pub tcp: TcpListener,
}

impl Sockets {
    /// Binds free ports inside `namespace`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn bind(namespace: &Namespace) -> Result<Self, super::server::Error> {
        let bound = namespace.run(|| {
            let any = SocketAddr::from((ADDRESS, 0));
            Ok(Self { udp: UdpSocket::bind(any)?, tcp: TcpListener::bind(any)? })
        });
        bound?.map_err(super::server::Error::Bind)
    }

    /// Takes over what was kept; `None`: these are not the two sockets.
    pub fn adopt(udp: OwnedFd, tcp: OwnedFd) -> Option<Self> {
        let sockets = Self { udp: UdpSocket::from(udp), tcp: TcpListener::from(tcp) };
        let ours = |address: io::Result<SocketAddr>| {
            address.is_ok_and(|address| address.ip() == ADDRESS && address.port() != 0)
        };
        (ours(sockets.udp.local_addr()) && ours(sockets.tcp.local_addr())).then_some(sockets)
    }

    /// Copies, for whoever keeps them: UDP, then TCP.
    ///
    /// # Errors
    /// No descriptor left.
    pub fn copies(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([self.udp.try_clone()?.into(), self.tcp.try_clone()?.into()])
    }

    /// What makes port 53 lead here, by rules in `table`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn redirect(&self, table: &str) -> Result<Redirect, super::server::Error> {
        let port = |address: io::Result<SocketAddr>| {
            address.map(|address| address.port()).map_err(super::server::Error::Bind)
        };
        let (udp, tcp) = (port(self.udp.local_addr())?, port(self.tcp.local_addr())?);
        Ok(Redirect { table: table.to_owned(), udp, tcp })
    }
}

/// Leads port 53 of a sandbox to the sockets.
#[derive(Debug, Clone)]
pub struct Redirect {
    /// Where the rules are.
    pub table: String,
    udp: u16,
    tcp: u16,
}

impl Redirect {
    /// Makes the rules, and a socket to watch them. Doing it again changes nothing.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn make(&self, namespace: &Namespace) -> Result<Socket, super::server::Error> {
        let made = namespace.run(|| {
            self.apply()?;
            Watch::socket().map_err(super::server::Error::Watch)
        });
        made?
    }

    /// Makes the rules again where they are not as they must be.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn mend(&self, namespace: &Namespace) -> Result<bool, super::server::Error> {
        namespace.run(|| self.apply())?
    }

    /// In the namespace of the calling thread. Answers whether something was missing.
    fn apply(&self) -> Result<bool, super::server::Error> {
        let mut table = Table::open(&self.table)?;
        let changes = diff(table.read()?.as_ref(), &rules(self.udp, self.tcp));
        table.commit(&changes)?;
        Ok(!changes.is_empty())
    }
}

/// The table of a sandbox's namespace.
fn rules(udp: u16, tcp: u16) -> Ruleset {
    let key = [Field::Ipv4Destination, Field::Protocol, Field::DestinationPort];
    let mut map = Map {
        key: key.iter().map(|field| field.kind()).collect(),
        data: vec![FieldType::Ipv4, FieldType::Port],
        elements: BTreeMap::new(),
    };
    for (protocol, to) in [(Protocol::Udp, udp), (Protocol::Tcp, tcp)] {
        let [high, low] = PORT.to_be_bytes();
        let from = [&ADDRESS.octets()[..], &[protocol as u8, 0, 0, 0, high, low, 0, 0]].concat();
        let [high, low] = to.to_be_bytes();
        let to = [&ADDRESS.octets()[..], &[high, low, 0, 0]].concat();
        map.elements.insert(from, Data::Bytes(to));
    }
    let rule = Rule(vec![
        Expression::Family(Family::Ipv4),
        Expression::RewriteDestination(Family::Ipv4, key.to_vec(), "dns".to_owned()),
    ]);
    let base = Base { kind: ChainKind::Nat, hook: Hook::Output, priority: PRIORITY };
    Ruleset {
        chains: BTreeMap::from([(
            "dns-output".to_owned(),
            Chain { base: Some(base), rules: vec![rule] },
        )]),
        maps: BTreeMap::from([("dns".to_owned(), map)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_53_leads_to_the_sockets() {
        let shown = rules(1053, 2053).to_string();
        expect_test::expect![[r#"
            map dns { ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
              127.0.0.11 . tcp . 53 : 127.0.0.11 . 2053
              127.0.0.11 . udp . 53 : 127.0.0.11 . 1053
            }
            chain dns-output { type nat hook output priority -100
              meta nfproto ipv4 dnat ip to ip daddr . meta l4proto . th dport map @dns
            }
        "#]]
        .assert_eq(&shown);
    }
}

//! Which tracked connections must be forgotten when a published port begins or ceases to lead somewhere. Pure.
//!
//! The kernel looks at its rewriting rules once per connection. A sender of datagrams who goes on sending is
//! one connection for ever: after a container has gone, or has another address, its datagrams would still go
//! to the old address; and those that were sent before the port was published would never reach the container.
//! TCP needs no help: connections to an address that is gone are reset or time out by themselves.

use std::net::{IpAddr, SocketAddr};

use super::ports::{Protocol, PublishedPort};

/// One tracked connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Number of the transport protocol.
    pub protocol: u8,
    /// Where its first packet went, before any rewriting.
    pub destination: SocketAddr,
    /// Who answers, after rewriting.
    pub answered_by: SocketAddr,
    /// Source or destination is rewritten.
    pub is_rewritten: bool,
}

/// Whether a connection was made under another state of `ports` than the one that now begins.
pub fn is_stale(connection: &Connection, ports: &[PublishedPort]) -> bool {
    connection.protocol == Protocol::Udp as u8
        && ports.iter().filter(|port| port.protocol == Protocol::Udp).any(|port| {
            if !is_meant(connection.destination, port.host) {
                return false;
            }
            // Led to the container; or to nobody, or to a program of the host.
            connection.answered_by == port.container || !connection.is_rewritten
        })
}

fn is_meant(destination: SocketAddr, host: SocketAddr) -> bool {
    let any = match host.ip() {
        IpAddr::V4(address) => address.is_unspecified(),
        IpAddr::V6(address) => address.is_unspecified(),
    };
    destination.port() == host.port()
        && destination.is_ipv4() == host.is_ipv4()
        && (any || destination.ip() == host.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_datagrams_of_the_port_are_forgotten() {
        let port = |protocol| PublishedPort {
            protocol,
            host: "0.0.0.0:53".parse().unwrap(),
            container: "172.17.0.2:5353".parse().unwrap(),
        };
        let connection = |protocol: Protocol, destination: &str, answered_by: &str| Connection {
            protocol: protocol as u8,
            destination: destination.parse().unwrap(),
            answered_by: answered_by.parse().unwrap(),
            is_rewritten: destination != answered_by,
        };
        use Protocol::{Tcp, Udp};
        let cases = [
            ("led to it", connection(Udp, "10.0.0.1:53", "172.17.0.2:5353"), true),
            ("led to nobody", connection(Udp, "10.0.0.1:53", "10.0.0.1:53"), true),
            ("led to another", connection(Udp, "10.0.0.1:53", "172.17.0.3:5353"), false),
            ("another port", connection(Udp, "10.0.0.1:54", "172.17.0.2:5353"), false),
            ("a connection", connection(Tcp, "10.0.0.1:53", "172.17.0.2:5353"), false),
            (
                "a masqueraded query of a container to a server outside",
                Connection { is_rewritten: true, ..connection(Udp, "8.8.8.8:53", "8.8.8.8:53") },
                false,
            ),
        ];
        for (what, connection, stale) in cases {
            assert_eq!(is_stale(&connection, &[port(Tcp), port(Udp)]), stale, "{what}");
            assert!(!is_stale(&connection, &[port(Tcp)]), "{what}");
        }
    }
}

//! Which addresses a node listens on and tells others. Pure, given the host's addresses.
//!
//! Source of rules and texts: moby `daemon/cluster/listen_addr.go`.

use std::net::{IpAddr, SocketAddr};

use shoal_model::Failure;

/// Port of managers.
pub(super) const PORT: u16 = 2377;

/// One address of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct HostAddress {
    pub(super) link: String,
    pub(super) address: IpAddr,
    /// Of the link.
    pub(super) mtu: u32,
}

type Result<T> = std::result::Result<T, Failure>;

/// `address[:port]`, `interface[:port]` or empty.
pub(super) fn listen(text: &str, host: &[HostAddress]) -> Result<SocketAddr> {
    let text = if text.is_empty() { "0.0.0.0" } else { text };
    let (place, port) = split(text)?;
    let address = match place.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => of_link(place, host)?,
    };
    Ok(SocketAddr::new(address, port.unwrap_or(PORT)))
}

/// What is told to others.
pub(super) fn advertise(
    text: &str,
    listen: SocketAddr,
    host: &[HostAddress],
) -> Result<SocketAddr> {
    if !text.is_empty() {
        let (place, port) = split(text)?;
        let port = port.unwrap_or_else(|| listen.port());
        let address = match place.parse::<IpAddr>() {
            Ok(address) => address,
            Err(_) => of_link(place, host)?,
        };
        if address.is_unspecified() {
            return Err(Failure::invalid(
                "advertise address must be a non-zero IP address or network interface (with optional port \
                 number)",
            ));
        }
        return Ok(SocketAddr::new(address, port));
    }
    if !listen.ip().is_unspecified() {
        return Ok(listen);
    }
    Ok(SocketAddr::new(only(host)?, listen.port()))
}

/// Address for VXLAN; empty text: the advertised one, hence `None`.
pub(super) fn data_path(text: &str, host: &[HostAddress]) -> Result<Option<IpAddr>> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = match text.parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => of_link(text, host)?,
    };
    if address.is_unspecified() {
        return Err(Failure::invalid(
            "data path address must be a non-zero IP address or network interface",
        ));
    }
    Ok(Some(address))
}

/// A manager's address, by number or by name, with docker's port when it has none.
pub(super) fn remote(text: &str) -> Result<String> {
    let (place, port) = split(text)?;
    let port = port.unwrap_or(PORT);
    let is_v6 = place.contains(':');
    Ok(if is_v6 { format!("[{place}]:{port}") } else { format!("{place}:{port}") })
}

fn split(text: &str) -> Result<(&str, Option<u16>)> {
    let bad = || {
        Failure::invalid(format!(
            "invalid address `{text}`: write ADDRESS[:PORT] or INTERFACE[:PORT]"
        ))
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or_else(bad)?;
        let port = match rest.strip_prefix(':') {
            Some(port) => Some(port.parse().map_err(|_| bad())?),
            None if rest.is_empty() => None,
            None => return Err(bad()),
        };
        return Ok((address, port));
    }
    // A bare IPv6 address has several colons and no port.
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((place, port)) if !place.is_empty() => {
            Ok((place, Some(port.parse().map_err(|_| bad())?)))
        }
        Some(_) => Err(bad()),
        None => Ok((text, None)),
    }
}

fn of_link(name: &str, host: &[HostAddress]) -> Result<IpAddr> {
    let mut of_link = host.iter().filter(|one| one.link == name).peekable();
    if of_link.peek().is_none() {
        return Err(Failure::invalid(format!(
            "could not find `{name}` on this host: it is neither an address nor a network interface with one"
        )));
    }
    let addresses: Vec<IpAddr> = of_link.map(|one| one.address).filter(is_global).collect();
    let v4: Vec<&IpAddr> = addresses.iter().filter(|address| address.is_ipv4()).collect();
    let v6: Vec<&IpAddr> = addresses.iter().filter(|address| address.is_ipv6()).collect();
    match (v4[..].len(), v6[..].len()) {
        (1, _) => Ok(*v4[0]),
        (0, 1) => Ok(*v6[0]),
        (0, 0) => {
            Err(Failure::invalid(format!("interface {name} has no usable IPv4 or IPv6 address")))
        }
        (0, _) => Err(Failure::invalid(format!(
            "interface {name} has more than one IPv6 address ({} and {})",
            v6[0], v6[1]
        ))),
        _ => Err(Failure::invalid(format!(
            "interface {name} has more than one IPv4 address ({} and {})",
            v4[0], v4[1]
        ))),
    }
}

fn is_global(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_link_local() && !address.is_loopback(),
        IpAddr::V6(address) => !address.is_unicast_link_local() && !address.is_loopback(),
    }
}

/// Links of containers.
fn is_made_here(link: &str) -> bool {
    link == "docker0"
        || link == "docker_gwbridge"
        || link.starts_with("br-")
        || link.starts_with("shoal")
        || link.starts_with("veth")
}

/// The one address that can be meant: IPv4 first, links of containers not counted.
fn only(host: &[HostAddress]) -> Result<IpAddr> {
    let usable = |want_v4: bool| {
        host.iter()
            .filter(|one| one.address.is_ipv4() == want_v4)
            .filter(|one| is_global(&one.address) && !is_made_here(&one.link))
            .collect::<Vec<_>>()
    };
    for family in [usable(true), usable(false)] {
        match family[..] {
            [] => {}
            [one] => return Ok(one.address),
            [first, second, ..] => {
                let (place, with) = if first.link == second.link {
                    ("interface", format!("({} and {})", first.address, second.address))
                } else {
                    let (a, b) = (first, second);
                    (
                        "different interfaces",
                        format!("({} on {} and {} on {})", a.address, a.link, b.address, b.link),
                    )
                };
                let where_ = if place == "interface" {
                    format!("interface {} {with}", first.link)
                } else {
                    format!("{place} {with}")
                };
                return Err(Failure::invalid(format!(
                    "could not choose an IP address to advertise since this system has multiple addresses on \
                     {where_} - specify one with --advertise-addr"
                )));
            }
        }
    }
    Err(Failure::invalid(
        "could not find the system's IP address - specify one with --advertise-addr",
    ))
}

/// The addresses of this host, from the kernel.
pub(super) fn of_host() -> Result<Vec<HostAddress>> {
    use shoal_netoverlay::kernel::socket::{Protocol, Socket};
    use shoal_netoverlay::kernel::{link, route};
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            shoal_model::ErrorKind::Internal,
            format!("failed to list the addresses of this host: {error}"),
        )
    };
    let mut socket = Socket::open(Protocol::Route).map_err(|error| failed(&error))?;
    let links = link::list(&mut socket).map_err(|error| failed(&error))?;
    let addresses = route::addresses(&mut socket).map_err(|error| failed(&error))?;
    Ok(addresses
        .into_iter()
        .filter_map(|(index, subnet)| {
            let link = links.iter().find(|link| link.index == index)?;
            Some(HostAddress { link: link.name.clone(), address: subnet.address, mtu: link.mtu })
        })
        .collect())
}

/// MTU of the link that has an address; zero: unknown.
pub(super) fn mtu_of(address: IpAddr, host: &[HostAddress]) -> u32 {
    host.iter().find(|one| one.address == address).map_or(0, |one| one.mtu)
}

/// From where connections of the host itself may come.
pub(super) fn own(host: &[HostAddress]) -> Vec<IpAddr> {
    let own = host.iter().filter(|one| is_global(&one.address) && !is_made_here(&one.link));
    let mut own: Vec<IpAddr> = own.map(|one| one.address).collect();
    own.sort_unstable();
    own.dedup();
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(pairs: &[(&str, &str)]) -> Vec<HostAddress> {
        pairs
            .iter()
            .map(|(link, address)| HostAddress {
                link: (*link).to_owned(),
                address: address.parse().unwrap(),
                mtu: 1500,
            })
            .collect()
    }

    fn chosen(text: &str, listening: &str, host: &[HostAddress]) -> String {
        let found = listen(listening, host).and_then(|listen| advertise(text, listen, host));
        found.map_or_else(|failure| failure.chain(), |address| address.to_string())
    }

    #[test]
    fn one_address_is_chosen() {
        let one = host(&[
            ("lo", "127.0.0.1"),
            ("eth0", "10.0.0.5"),
            ("eth0", "fe80::1"),
            ("eth0", "fd00::5"),
            ("docker0", "172.17.0.1"),
        ]);
        assert_eq!(chosen("", "", &one), "10.0.0.5:2377");
        assert_eq!(chosen("", "0.0.0.0:4000", &one), "10.0.0.5:4000");
        assert_eq!(chosen("", "eth0:4000", &one), "10.0.0.5:4000");
        assert_eq!(chosen("1.2.3.4", "", &one), "1.2.3.4:2377");
        assert_eq!(chosen("1.2.3.4:9", "", &one), "1.2.3.4:9");
        assert_eq!(chosen("[fd00::5]:9", "", &one), "[fd00::5]:9");
        assert_eq!(chosen("fd00::5", "", &one), "[fd00::5]:2377");
        assert_eq!(chosen("eth0", "", &one), "10.0.0.5:2377");
    }

    #[test]
    fn managers_have_dockers_port_unless_another_is_named() {
        let seen = |text: &str| remote(text).unwrap_or_else(|failure| failure.chain());
        assert_eq!(seen("10.0.0.1"), "10.0.0.1:2377");
        assert_eq!(seen("manager:4000"), "manager:4000");
        assert_eq!(seen("fd00::1"), "[fd00::1]:2377");
        assert_eq!(seen("[fd00::1]:4000"), "[fd00::1]:4000");
        let refused = "invalid address `manager:port`: write ADDRESS[:PORT] or INTERFACE[:PORT]";
        assert_eq!(seen("manager:port"), refused);
    }

    #[test]
    fn doubt_is_refused() {
        let two = host(&[("eth0", "10.0.0.5"), ("eth1", "10.1.0.5")]);
        assert_eq!(
            chosen("", "", &two),
            "could not choose an IP address to advertise since this system has multiple addresses on different \
             interfaces (10.0.0.5 on eth0 and 10.1.0.5 on eth1) - specify one with --advertise-addr"
        );
        assert_eq!(
            chosen("", "", &host(&[("lo", "127.0.0.1")])),
            "could not find the system's IP address - specify one with --advertise-addr"
        );
        assert_eq!(
            chosen("0.0.0.0", "", &two),
            "advertise address must be a non-zero IP address or network interface (with optional port number)"
        );
        assert_eq!(
            chosen("eth7", "", &two),
            "could not find `eth7` on this host: it is neither an address nor a network interface with one"
        );
        assert_eq!(
            chosen("", ":1", &two),
            "invalid address `:1`: write ADDRESS[:PORT] or INTERFACE[:PORT]"
        );
    }
}

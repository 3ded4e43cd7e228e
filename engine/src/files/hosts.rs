//! `/etc/hosts`. Pure.
//!
//! Source: moby `libnetwork/etchosts`, `sandbox_dns_unix.go buildHostsFile`.

use std::net::IpAddr;

use super::Error;

/// A line: one address, its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The address.
    pub address: IpAddr,
    /// Names, the canonical one first.
    pub names: Vec<String>,
}

/// Whether the container has IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only: no IPv6 names.
    V4,
    /// Both.
    Both,
}

/// What `--add-host` lines say. `host-gateway` becomes each of `gateways`.
///
/// # Errors
/// When a line is malformed, or there is no gateway.
pub fn extra(lines: &[String], gateways: &[IpAddr]) -> Result<Vec<Line>, Error> {
    let mut parsed = Vec::new();
    for text in lines {
        let malformed = || Error::ExtraHost { text: text.clone() };
        let (name, address) = text.split_once([':', '=']).ok_or_else(malformed)?;
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(malformed());
        }
        if address == "host-gateway" {
            if gateways.is_empty() {
                return Err(Error::NoHostGateway);
            }
            parsed.extend(gateways.iter().map(|gateway| line(*gateway, &[name])));
            continue;
        }
        let bare = address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let address = bare.unwrap_or(address);
        let parsed_address: IpAddr =
            address.parse().map_err(|_| Error::ExtraHostAddress { address: address.to_owned() })?;
        parsed.push(line(parsed_address, &[name]));
    }
    Ok(parsed)
}

/// The lines that name the container itself: each of its addresses.
pub fn own(addresses: &[IpAddr], hostname: &str, domainname: &str) -> Vec<Line> {
    let full = format!("{hostname}.{domainname}");
    let names: &[&str] = if domainname.is_empty() { &[hostname] } else { &[&full, hostname] };
    addresses.iter().map(|address| line(*address, names)).collect()
}

fn line(address: IpAddr, names: &[&str]) -> Line {
    Line { address, names: names.iter().map(|name| (*name).to_owned()).collect() }
}

/// The file of a container with a network of its own: docker's default lines, then `lines`.
pub fn content(families: Families, lines: &[Line]) -> String {
    let mut text = String::from("127.0.0.1\tlocalhost\n");
    if families == Families::Both {
        text.push_str("::1\tlocalhost ip6-localhost ip6-loopback\n");
        text.push_str("fe00::\tip6-localnet\nff00::\tip6-mcastprefix\n");
        text.push_str("ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n");
    }
    append(text, lines)
}

/// The file of a container on the host's network: the host's own, then `lines`.
pub fn of_host(hosts: &str, lines: &[Line]) -> String {
    let mut text = hosts.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    append(text, lines)
}

fn append(mut text: String, lines: &[Line]) -> String {
    for line in lines {
        text.push_str(&format!("{}\t{}\n", line.address, line.names.join(" ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn words(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn default_lines_extra_hosts_and_own_names() {
        let gateways = addresses(&["172.17.0.1", "fd00::1"]);
        let mut lines = extra(
            &words(&["db:10.0.0.5", "six:[fd00::5]", "six2:fd00::6", "gw=host-gateway"]),
            &gateways,
        )
        .unwrap();
        lines.extend(own(&addresses(&["172.17.0.2", "fd00::2"]), "web", "example.org"));
        assert_eq!(
            content(Families::Both, &lines),
            "127.0.0.1\tlocalhost\n\
             ::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::\tip6-localnet\n\
             ff00::\tip6-mcastprefix\n\
             ff02::1\tip6-allnodes\n\
             ff02::2\tip6-allrouters\n\
             10.0.0.5\tdb\n\
             fd00::5\tsix\n\
             fd00::6\tsix2\n\
             172.17.0.1\tgw\n\
             fd00::1\tgw\n\
             172.17.0.2\tweb.example.org web\n\
             fd00::2\tweb.example.org web\n"
        );
    }

    #[test]
    fn without_ipv6_there_are_no_such_names() {
        let lines = own(&addresses(&["10.0.0.2"]), "web", "");
        assert_eq!(content(Families::V4, &lines), "127.0.0.1\tlocalhost\n10.0.0.2\tweb\n");
        assert_eq!(of_host("1.2.3.4 x", &lines), "1.2.3.4 x\n10.0.0.2\tweb\n");
    }

    #[test]
    fn malformed_extra_hosts_are_refused() {
        let refused = |text: &str| extra(&words(&[text]), &[]).unwrap_err().to_string();
        assert_eq!(refused("db"), "bad format for add-host: \"db\"");
        assert_eq!(refused(":1.2.3.4"), "bad format for add-host: \":1.2.3.4\"");
        assert_eq!(refused("db:1.2.3"), "invalid IP address in add-host: \"1.2.3\"");
        assert_eq!(refused("db:host-gateway"), "unable to derive the IP value for host-gateway");
    }
}

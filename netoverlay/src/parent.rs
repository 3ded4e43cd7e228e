//! Options of networks that lie directly on a link of the host: macvlan and ipvlan. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::network::{Driver, InvalidOption, PREFIX, is_interface_name, is_interface_prefix};

/// How members see each other and the parent's other traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Macvlan: members reach each other.
    Bridge,
    /// Macvlan: members do not reach each other.
    Private,
    /// Macvlan: members reach each other over the switch outside.
    Vepa,
    /// Macvlan: one member has the parent for itself.
    Passthru,
    /// Ipvlan: members share the parent's link and are in its subnet.
    L2,
    /// Ipvlan: the parent routes to its members.
    L3,
    /// Ipvlan: the same, and the host's connection tracking sees it.
    L3s,
}

/// Flag of an ipvlan network, of the same meaning as the modes of macvlan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum Flag {
    Bridge,
    Private,
    Vepa,
}

/// Where a link comes from that the network lies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It was there.
    Host,
    /// Made with the network: a dummy, for members that reach each other only.
    Dummy,
    /// Made with the network: a VLAN of another link.
    Vlan,
}

/// Options in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParentOptions {
    /// Name of the parent link.
    pub parent: String,
    /// Who made it.
    pub origin: Origin,
    /// The mode.
    pub mode: Mode,
    /// Of ipvlan.
    pub flag: Option<Flag>,
    /// Interfaces in sandboxes are called this and a number.
    pub interface_prefix: String,
}

impl ParentOptions {
    /// Reads docker's options. `dummy`: name of the link to make when no parent is given.
    ///
    /// # Errors
    /// The first option that is unknown or malformed.
    pub fn parse(
        driver: Driver,
        options: &BTreeMap<String, String>,
        dummy: String,
    ) -> Result<Self, InvalidOption> {
        let macvlan = driver == Driver::Macvlan;
        let mut parsed = Self {
            parent: dummy,
            origin: Origin::Dummy,
            mode: if macvlan { Mode::Bridge } else { Mode::L2 },
            flag: (!macvlan).then_some(Flag::Bridge),
            interface_prefix: "eth".to_owned(),
        };
        for (option, value) in options {
            let invalid =
                |expected| InvalidOption { option: option.clone(), value: value.clone(), expected };
            match option.as_str() {
                "parent" if value.is_empty() => {}
                "parent" if value != "lo" && is_interface_name(value) => {
                    parsed.parent.clone_from(value);
                    parsed.origin = Origin::Host;
                }
                "parent" => return Err(invalid("the name of a link of the host, not `lo`")),
                "macvlan_mode" if macvlan => {
                    parsed.mode = match value.as_str() {
                        "" | "bridge" => Mode::Bridge,
                        "private" => Mode::Private,
                        "vepa" => Mode::Vepa,
                        "passthru" => Mode::Passthru,
                        _ => return Err(invalid("bridge, private, vepa or passthru")),
                    }
                }
                "ipvlan_mode" if !macvlan => {
                    parsed.mode = match value.as_str() {
                        "" | "l2" => Mode::L2,
                        "l3" => Mode::L3,
                        "l3s" => Mode::L3s,
                        _ => return Err(invalid("l2, l3 or l3s")),
                    }
                }
                "ipvlan_flag" if !macvlan => {
                    parsed.flag = Some(match value.as_str() {
                        "" | "bridge" => Flag::Bridge,
                        "private" => Flag::Private,
                        "vepa" => Flag::Vepa,
                        _ => return Err(invalid("bridge, private or vepa")),
                    });
                }
                PREFIX if is_interface_prefix(value) => parsed.interface_prefix.clone_from(value),
                PREFIX => return Err(invalid("the beginning of the name of a link")),
                _ if macvlan => {
                    return Err(invalid("an option of macvlan: parent or macvlan_mode"));
                }
                _ => {
                    return Err(invalid("an option of ipvlan: parent, ipvlan_mode or ipvlan_flag"));
                }
            }
        }
        Ok(parsed)
    }

    /// Members have a default route over the link itself, without a gateway.
    pub fn routes_by_link(&self) -> bool {
        matches!(self.mode, Mode::L3 | Mode::L3s)
    }

    /// The link and the number that a name like `eth0.10` asks for.
    pub fn vlan(&self) -> Option<(&str, u16)> {
        let (link, number) = self.parent.rsplit_once('.')?;
        let number = number.parse().ok().filter(|number| (1..=4094).contains(number))?;
        (!link.is_empty()).then_some((link, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: Driver, options: &[(&str, &str)]) -> Result<ParentOptions, String> {
        let options =
            options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        ParentOptions::parse(driver, &options, "dm-1".to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read_as_docker_means_them() {
        let plain = parse(Driver::Macvlan, &[]).unwrap();
        assert_eq!((plain.parent.as_str(), plain.origin), ("dm-1", Origin::Dummy));
        assert_eq!((plain.mode, plain.flag), (Mode::Bridge, None));
        let vlan = parse(Driver::Macvlan, &[("parent", "up0.10"), ("macvlan_mode", "vepa")]);
        let vlan = vlan.unwrap();
        assert_eq!((vlan.vlan(), vlan.mode), (Some(("up0", 10)), Mode::Vepa));
        let l3 = parse(Driver::Ipvlan, &[("parent", "up0"), ("ipvlan_mode", "l3")]).unwrap();
        assert!(l3.routes_by_link() && l3.flag == Some(Flag::Bridge) && l3.vlan().is_none());
    }

    #[test]
    fn unknown_options_are_named() {
        for (driver, option, value) in [
            (Driver::Macvlan, "parent", "lo"),
            (Driver::Macvlan, "macvlan_mode", "l2"),
            (Driver::Macvlan, "ipvlan_mode", "l2"),
            (Driver::Ipvlan, "ipvlan_mode", "bridge"),
            (Driver::Ipvlan, "macvlan_mode", "bridge"),
            (Driver::Ipvlan, "com.docker.network.bridge.name", "x"),
        ] {
            let error = parse(driver, &[(option, value)]).unwrap_err();
            assert!(
                error.starts_with(&format!("invalid value `{value}` of network option `{option}`")),
                "{error}"
            );
        }
    }
}

//! `--network` and the options of the first endpoint. Pure.

use serde_json::{Map, Value as Json, json};

use crate::args::Args;

pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text).map(|_| ())
}

/// Parses one `--network`: name and endpoint.
pub(crate) fn parse(text: &str) -> Result<(String, Json), String> {
    if !text.contains('=') {
        return Ok((text.to_owned(), json!({})));
    }
    let (mut name, mut endpoint) = (String::new(), json!({}));
    for field in super::csv(text) {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("invalid field {field}"));
        };
        let value = value.trim();
        match key.trim().to_ascii_lowercase().as_str() {
            "name" => value.clone_into(&mut name),
            "alias" => push(&mut endpoint["Aliases"], value),
            "ip" => endpoint["IPAMConfig"]["IPv4Address"] = value.into(),
            "ip6" => endpoint["IPAMConfig"]["IPv6Address"] = value.into(),
            "mac-address" => endpoint["MacAddress"] = value.into(),
            "link-local-ip" => push(&mut endpoint["IPAMConfig"]["LinkLocalIPs"], value),
            "driver-opt" => {
                let Some((key, value)) = value.split_once('=') else {
                    return Err("invalid key value pair format in driver options".to_owned());
                };
                endpoint["DriverOpts"][key.trim().to_ascii_lowercase()] = value.trim().into();
            }
            "gw-priority" => {
                let priority: i64 =
                    value.parse().map_err(|_| format!("invalid gw-priority: {value}"))?;
                endpoint["GwPriority"] = priority.into();
            }
            other => return Err(format!("invalid field key {other}")),
        }
    }
    if name.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok((name, endpoint))
}

fn push(list: &mut Json, value: &str) {
    match list {
        Json::Array(values) => values.push(value.into()),
        other => *other = json!([value]),
    }
}

fn user_defined(name: &str) -> bool {
    !matches!(name, "bridge" | "none" | "host" | "default") && !name.starts_with("container:")
}

/// The network mode and the endpoints of a new container.
pub(crate) fn endpoints(args: &Args) -> Result<(String, Map<String, Json>), String> {
    let mut networks = Vec::new();
    for text in args.all("network") {
        networks.push(parse(text)?);
    }
    if networks.is_empty() {
        networks.push(("default".to_owned(), json!({})));
    }
    let mode = networks[0].0.clone();
    if networks.len() > 1
        && networks.iter().any(|(name, _)| !user_defined(name))
        && networks.iter().any(|(name, _)| user_defined(name))
    {
        let why = "cannot attach both user-defined and non-user-defined network-modes";
        return Err(format!("conflicting options: {why}"));
    }
    apply(args, &mode, &mut networks[0].1)?;
    let mut endpoints = Map::new();
    for (name, endpoint) in networks {
        if endpoints.contains_key(&name) {
            return Err(format!("network {name:?} is specified multiple times"));
        }
        endpoints.insert(name, endpoint);
    }
    Ok((mode, endpoints))
}

/// Options outside of `--network` belong to the first network.
fn apply(args: &Args, mode: &str, endpoint: &mut Json) -> Result<(), String> {
    if !args.all("network-alias").is_empty() {
        if !user_defined(mode) {
            return Err(
                "network-scoped aliases are only supported for user-defined networks".to_owned()
            );
        }
        if !endpoint["Aliases"].is_null() {
            let why = "cannot specify both --network-alias and per-network alias";
            return Err(format!("conflicting options: {why}"));
        }
        endpoint["Aliases"] = json!(args.all("network-alias"));
    }
    if !args.all("link").is_empty() && user_defined(mode) {
        endpoint["Links"] = json!(args.all("link"));
    }
    for (flag, field) in [("ip", "IPv4Address"), ("ip6", "IPv6Address")] {
        if let Some(address) = args.get(flag) {
            if !endpoint["IPAMConfig"][field].is_null() {
                let why = format!("cannot specify both --{flag} and per-network {flag}");
                return Err(format!("conflicting options: {why}"));
            }
            endpoint["IPAMConfig"][field] = address.into();
        }
    }
    if !args.all("link-local-ip").is_empty() {
        endpoint["IPAMConfig"]["LinkLocalIPs"] = json!(args.all("link-local-ip"));
    }
    if let Some(mac) = args.get("mac-address") {
        let parts: Vec<&str> = mac.split([':', '-']).collect();
        let byte = |part: &&str| part.len() == 2 && u8::from_str_radix(part, 16).is_ok();
        if parts.len() != 6 || !parts.iter().all(byte) {
            return Err(format!("{mac} is not a valid mac address"));
        }
        endpoint["MacAddress"] = mac.into();
    }
    // Reading absent fields above left nulls that mean nothing.
    if let Json::Object(fields) = endpoint {
        fields.retain(|_, value| !value.is_null());
        if let Some(Json::Object(ipam)) = fields.get_mut("IPAMConfig") {
            ipam.retain(|_, value| !value.is_null());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_long_form_makes_an_endpoint() {
        let (name, endpoint) = parse("name=n,alias=a,alias=b,ip=1.2.3.4,driver-opt=k=v").unwrap();
        assert_eq!(name, "n");
        assert_eq!(
            endpoint,
            json!({"Aliases": ["a", "b"], "IPAMConfig": {"IPv4Address": "1.2.3.4"}, "DriverOpts": {"k": "v"}})
        );
        assert_eq!(parse("name=a,foo=b").unwrap_err(), "invalid field key foo");
    }
}

//! Address options of `network create` → the API's `IPAM.Config`. Pure.

use std::net::IpAddr;

use serde_json::{Map, Value as Json, json};

/// A subnet: address and number of fixed bits.
fn subnet(text: &str) -> Result<(IpAddr, u8), String> {
    let refuse = || format!("invalid subnet {text}: not in the form address/bits");
    let (address, bits) = text.split_once('/').ok_or_else(refuse)?;
    let address: IpAddr = address.parse().map_err(|_| refuse())?;
    let bits: u8 = bits.parse().map_err(|_| refuse())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    if bits > most { Err(refuse()) } else { Ok((address, bits)) }
}

fn contains((network, bits): (IpAddr, u8), address: IpAddr) -> bool {
    let same = |left: u128, right: u128, width: u32| {
        let free = width - u32::from(bits);
        left.checked_shr(free).unwrap_or(0) == right.checked_shr(free).unwrap_or(0)
    };
    match (network, address) {
        (IpAddr::V4(left), IpAddr::V4(right)) => {
            same(u32::from(left).into(), u32::from(right).into(), 32)
        }
        (IpAddr::V6(left), IpAddr::V6(right)) => same(left.into(), right.into(), 128),
        _ => false,
    }
}

/// Puts ranges, gateways and taken addresses to the subnets that hold them.
///
/// # Errors
/// When one of them is malformed, subnets overlap, or an address has no subnet.
pub(crate) fn config(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    taken: &[String],
) -> Result<Vec<Json>, String> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    let mut all: Vec<((IpAddr, u8), Map<String, Json>)> = Vec::new();
    for text in subnets {
        let new = subnet(text)?;
        if all.iter().any(|(other, _)| contains(*other, new.0) || contains(new, other.0)) {
            return Err("multiple overlapping subnet configuration is not supported".to_owned());
        }
        all.push((new, Map::from_iter([("Subnet".to_owned(), json!(text))])));
    }
    let mut put = |key: &str, what: &str, address: IpAddr, text: &str| {
        let found = all.iter_mut().find(|(subnet, _)| contains(*subnet, address));
        let Some((_, entry)) = found else {
            return Err(format!("no matching subnet for {what} {text}"));
        };
        match entry.insert(key.to_owned(), json!(text)) {
            None => Ok(()),
            Some(_) => {
                Err(format!("cannot configure multiple {what}s ({text}) on the same subnet"))
            }
        }
    };
    for text in ranges {
        put("IPRange", "range", subnet(text)?.0, text)?;
    }
    for text in gateways {
        let address = text.parse().map_err(|_| format!("invalid gateway address {text}"))?;
        put("Gateway", "gateway", address, text)?;
    }
    for pair in taken {
        let (name, text) = pair.split_once('=').unwrap_or(("", pair));
        let address: IpAddr =
            text.parse().map_err(|_| format!("invalid aux-address {text} of {name}"))?;
        let found = all.iter_mut().find(|(subnet, _)| contains(*subnet, address));
        let (_, entry) =
            found.ok_or_else(|| format!("no matching subnet for aux-address {text}"))?;
        entry.entry("AuxiliaryAddresses").or_insert_with(|| json!({}))[name] = json!(text);
    }
    Ok(all.into_iter().map(|(_, entry)| Json::Object(entry)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn addresses_find_their_subnet() {
        let made = config(
            &list("10.0.0.0/16 fd00::/64"),
            &list("10.0.4.0/24"),
            &list("fd00::1 10.0.0.1"),
            &list("nas=10.0.0.5"),
        );
        assert_eq!(
            Json::Array(made.unwrap()),
            json!([
                {"Subnet": "10.0.0.0/16", "IPRange": "10.0.4.0/24", "Gateway": "10.0.0.1",
                 "AuxiliaryAddresses": {"nas": "10.0.0.5"}},
                {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
            ])
        );
    }

    #[test]
    fn bad_addresses_are_refused() {
        let refused = |subnets, ranges, gateways| {
            config(&list(subnets), &list(ranges), &list(gateways), &[]).unwrap_err()
        };
        assert!(refused("", "", "10.0.0.1").contains("must have a corresponding subnet"));
        assert_eq!(
            refused("10.0.0.0/8", "", "11.0.0.1"),
            "no matching subnet for gateway 11.0.0.1"
        );
        assert!(refused("10.0.0.0/8 10.1.0.0/16", "", "").contains("overlapping"));
        assert!(refused("10.0.0.0/33", "", "").contains("10.0.0.0/33"));
    }
}

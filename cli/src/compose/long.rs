//! Long forms of ports, mounts, devices and references. Pure.

use serde_json::{Value as Json, json};

use super::normal::{Surroundings, clean, map_of, text};
use super::place::Fault;
use crate::opts::service::parts;

/// Something done, or what is wrong.
pub(super) type Done<T = ()> = Result<T, Fault>;

fn refuse<T>(why: impl Into<String>) -> Done<T> {
    Err(Fault::at("", why))
}

/// A secret or a config that a service uses.
pub(super) fn reference(item: Json) -> Done<Vec<Json>> {
    let mut item = if item.is_object() { item } else { json!({"source": text(&item)}) };
    // Bits in octal, as a text where a variable stood.
    if let Some(given) = item["mode"].as_str() {
        let digits = given.strip_prefix("0o").unwrap_or(given);
        let why = || Fault::at("mode", format!("must be an octal number, not {given:?}"));
        item["mode"] = u32::from_str_radix(digits, 8).map_err(|_| why())?.into();
    }
    for key in ["uid", "gid"] {
        if item[key].is_number() {
            item[key] = text(&item[key]).into();
        }
    }
    clean(&mut item);
    Ok(vec![item])
}

/// A device of the host: `source[:target[:permissions]]`.
pub(super) fn device(item: Json) -> Done<Vec<Json>> {
    let mut item = match item {
        Json::Object(_) => item,
        other => {
            let given = text(&other);
            let words: Vec<&str> = given.split(':').collect();
            match words.as_slice() {
                [source] => json!({"source": source}),
                [source, permissions] if permissions.chars().all(|c| "rwm".contains(c)) => {
                    json!({"source": source, "permissions": permissions})
                }
                [source, target] => json!({"source": source, "target": target}),
                [source, target, permissions] => {
                    json!({"source": source, "target": target, "permissions": permissions})
                }
                _ => return refuse(format!("invalid device {given:?}")),
            }
        }
    };
    if item["source"].as_str().unwrap_or_default().is_empty() {
        return refuse("a device needs a source");
    }
    if item["target"].is_null() {
        item["target"] = item["source"].clone();
    }
    if item["permissions"].is_null() {
        item["permissions"] = "rwm".into();
    }
    Ok(vec![item])
}

/// A published port, or several of a range.
pub(super) fn port(item: Json) -> Done<Vec<Json>> {
    if let Json::Object(_) = item {
        return long_port(item);
    }
    let given = text(&item);
    // What `parts::port` does not take: an address of the host, which may have colons in brackets.
    let (address, plain) = match given.rsplit_once(':') {
        Some((before, target)) => match before.rsplit_once(':') {
            Some((address, "")) => (address, target.to_owned()),
            Some((address, published)) => (address, format!("{published}:{target}")),
            None if before.parse::<std::net::Ipv4Addr>().is_ok() => (before, target.to_owned()),
            None => ("", given.clone()),
        },
        None => ("", given.clone()),
    };
    let ports = match parts::port(&plain) {
        Ok(ports) => ports,
        Err(why) => return refuse(format!("invalid port {given:?}: {why}")),
    };
    let long = |port: &Json| {
        let mut long = json!({"mode": "ingress", "target": port["TargetPort"],
                              "protocol": port["Protocol"]});
        if !port["PublishedPort"].is_null() {
            long["published"] = port["PublishedPort"].clone();
        }
        if !address.is_empty() {
            long["host_ip"] = address.trim_matches(['[', ']']).into();
        }
        long
    };
    Ok(ports.iter().map(long).collect())
}

fn long_port(mut item: Json) -> Done<Vec<Json>> {
    for (key, default, words) in [
        ("mode", "ingress", ["ingress", "host", "ingress"]),
        ("protocol", "tcp", ["tcp", "udp", "sctp"]),
    ] {
        match item[key].as_str() {
            None => item[key] = default.into(),
            Some(given) if words.contains(&given) => {}
            Some(given) => {
                let why = format!("{given:?} is none of {}", words.join(", "));
                return Err(Fault::at(key, why));
            }
        }
    }
    if !item["target"].as_u64().is_some_and(|target| (1..=65_535).contains(&target)) {
        return Err(Fault::at("target", "must be a port from 1 to 65535"));
    }
    let published = text(&item["published"]);
    clean(&mut item);
    if published.is_empty() || published == "0" {
        if let Json::Object(fields) = &mut item {
            fields.remove("published");
        }
        return Ok(vec![item]);
    }
    let why = || Fault::at("published", format!("{published:?} is neither a port nor a range"));
    let (first, last) = published.split_once('-').unwrap_or((&published, &published));
    let first: u16 = first.parse().map_err(|_| why())?;
    let last: u16 = last.parse().map_err(|_| why())?;
    if first > last || first == 0 {
        return Err(why());
    }
    let one = |published: u16| {
        let mut port = item.clone();
        port["published"] = published.into();
        port
    };
    Ok((first..=last).map(one).collect())
}

/// A mount.
pub(super) fn volume(item: Json, around: &Surroundings<'_>) -> Done<Json> {
    let mut mount = match item {
        Json::Object(_) => item,
        other => short_volume(&text(&other))?,
    };
    if mount["type"].is_null() {
        return Err(Fault::at("type", "is required"));
    }
    if mount["target"].as_str().unwrap_or_default().is_empty() {
        return Err(Fault::at("target", "is required"));
    }
    if mount["type"] == "bind" {
        let source = mount["source"].as_str().unwrap_or_default();
        if source.is_empty() {
            return Err(Fault::at("source", "is required for a bind mount"));
        }
        mount["source"] = around.absolute(source).into();
    }
    if mount["volume"].is_object() {
        map_of(&mut mount["volume"]["labels"]);
        clean(&mut mount["volume"]);
    }
    clean(&mut mount);
    Ok(mount)
}

/// Parses `[source:]target[:options]`.
fn short_volume(spec: &str) -> Done<Json> {
    if spec.is_empty() {
        return refuse("an empty volume");
    }
    let invalid = |why: &str| refuse(format!("invalid volume {spec:?}: {why}"));
    let sections: Vec<&str> = spec.split(':').collect();
    if sections.iter().any(|section| section.is_empty()) {
        return invalid("empty section between colons");
    }
    let (source, target, options) = match sections.as_slice() {
        [target] => ("", *target, ""),
        [source, target] => (*source, *target, ""),
        [source, target, options] => (*source, *target, *options),
        _ => return invalid("too many colons"),
    };
    if !target.starts_with('/') {
        return invalid(&format!("{target:?} is no absolute path in the container"));
    }
    let is_path = source.starts_with(['.', '/', '~']);
    let kind = if is_path { "bind" } else { "volume" };
    let mut mount = json!({"type": kind, "target": target});
    if !source.is_empty() {
        mount["source"] = source.into();
    }
    for option in options.split(',') {
        match option {
            "ro" => mount["read_only"] = true.into(),
            "nocopy" => mount["volume"] = json!({"nocopy": true}),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                mount["bind"]["propagation"] = option.into();
            }
            // Others are for SELinux and for other platforms.
            _ => {}
        }
    }
    Ok(mount)
}

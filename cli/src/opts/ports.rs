//! Published and exposed ports. Pure.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

/// Bindings by `port/proto`.
pub(crate) type Bindings = BTreeMap<String, Vec<Json>>;

/// A range of ports `a` or `a-b`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let (from, to) = (from.parse().ok()?, to.parse().ok()?);
    (from <= to).then_some((from, to))
}

/// The long form `target=80,published=8080` in the short one.
fn standard(text: &str) -> Result<String, String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let (mut target, mut published, mut protocol) =
        (String::new(), String::new(), "tcp".to_owned());
    for field in super::csv(text) {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!(
                "invalid publish opts format (should be name=value but got '{text}')"
            ));
        };
        match key {
            "target" => value.clone_into(&mut target),
            "published" => value.clone_into(&mut published),
            "protocol" => value.clone_into(&mut protocol),
            "mode" => {}
            _ => return Err(format!("invalid publish opts format (unknown key {key:?})")),
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// Parses one `--publish`.
pub(crate) fn publish(text: &str, bindings: &mut Bindings) -> Result<(), String> {
    let text = standard(text)?;
    let (address, proto) = text.rsplit_once('/').unwrap_or((&text, "tcp"));
    let proto = proto.to_ascii_lowercase();
    let (rest, container) = match address.rsplit_once(':') {
        Some((rest, container)) => (rest, container),
        None => ("", address),
    };
    let (ip, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    if !bare.is_empty() && bare.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let (from, to) =
        range(container).ok_or_else(|| format!("invalid containerPort: {container}"))?;
    let hosts = match host {
        "" => None,
        host => Some(range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?),
    };
    if !matches!(proto.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {proto}"));
    }
    let mismatch = hosts.is_some_and(|(first, last)| last - first != to - from);
    // Several host ports for one container port: the daemon picks a free one.
    if mismatch && from != to {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        ));
    }
    for port in from..=to {
        let host = match hosts {
            Some((first, last)) if mismatch => format!("{first}-{last}"),
            Some((first, _)) => (first + (port - from)).to_string(),
            None => String::new(),
        };
        let binding = json!({"HostIp": bare, "HostPort": host});
        bindings.entry(format!("{port}/{proto}")).or_default().push(binding);
    }
    Ok(())
}

/// Parses one `--expose`.
pub(crate) fn expose(text: &str) -> Result<Vec<String>, String> {
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let (ports, proto) = text.split_once('/').unwrap_or((text, "tcp"));
    let (from, to) = ports.split_once('-').unwrap_or((ports, ports));
    let number = |part: &str| {
        part.parse::<u16>().map_err(|_| {
            let part = crate::args::parse::quote(part);
            let why = format!("strconv.ParseUint: parsing {part}: invalid syntax");
            format!("invalid range format for --expose: {text}, error: {why}")
        })
    };
    let (from, to) = (number(from)?, number(to)?);
    if from > to {
        let why = format!("invalid range specified for port: {ports}");
        return Err(format!("invalid range format for --expose: {text}, error: {why}"));
    }
    Ok((from..=to).map(|port| format!("{port}/{proto}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let mut bindings = Bindings::new();
        let shown = match publish(text, &mut bindings) {
            Ok(()) => json!(bindings)
                .to_string()
                .replace("\"HostIp\"", "ip")
                .replace("\"HostPort\"", "port"),
            Err(error) => error,
        };
        assert_eq!(shown, expected, "{text}");
    }

    #[test]
    fn publish_has_all_of_dockers_forms() {
        check("80", r#"{"80/tcp":[{ip:"",port:""}]}"#);
        check("8080:80/udp", r#"{"80/udp":[{ip:"",port:"8080"}]}"#);
        check("127.0.0.1::80", r#"{"80/tcp":[{ip:"127.0.0.1",port:""}]}"#);
        check("[::1]:8080:80", r#"{"80/tcp":[{ip:"::1",port:"8080"}]}"#);
        check(
            "8000-8001:80-81",
            r#"{"80/tcp":[{ip:"",port:"8000"}],"81/tcp":[{ip:"",port:"8001"}]}"#,
        );
        check("8000-8010:80", r#"{"80/tcp":[{ip:"",port:"8000-8010"}]}"#);
        check("published=8080,target=80", r#"{"80/tcp":[{ip:"",port:"8080"}]}"#);
    }

    #[test]
    fn bad_ports_are_refused_in_dockers_words() {
        check("99999", "invalid containerPort: 99999");
        check("a", "invalid containerPort: a");
        check("1.2.3.4:foo:5", "invalid hostPort: foo");
        check("80/foo", "invalid proto: foo");
        check(
            "80-81:90-95",
            "invalid ranges specified for container and host Ports: 90-95 and 80-81",
        );
        assert_eq!(expose("80-82/udp").unwrap(), ["80/udp", "81/udp", "82/udp"]);
        assert_eq!(
            expose("a").unwrap_err(),
            r#"invalid range format for --expose: a, error: strconv.ParseUint: parsing "a": invalid syntax"#
        );
    }
}

//! Single options of services: ports, secrets, networks, preferences, command words. Pure.

use std::collections::BTreeSet;

use serde_json::{Value as Json, json};

use super::super::{check, csv, network, ports};

type Parsed<T> = Result<T, String>;

pub(super) fn port_check(text: &str) -> Parsed<()> {
    port(text).map(|_| ())
}

pub(super) fn secret_check(text: &str) -> Parsed<()> {
    file_reference("secret", text).map(|_| ())
}

pub(super) fn config_check(text: &str) -> Parsed<()> {
    file_reference("config", text).map(|_| ())
}

pub(super) fn network_check(text: &str) -> Parsed<()> {
    attachment(text).map(|_| ())
}

pub(super) fn preference_check(text: &str) -> Parsed<()> {
    preference(text).map(|_| ())
}

pub(super) fn words_check(text: &str) -> Parsed<()> {
    words(text).map(|_| ())
}

pub(super) fn sysctl_check(text: &str) -> Parsed<()> {
    check::sysctl(text)
}

fn is_long(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split_once('=').is_some_and(|(key, value)| key.ends_with(word) && value.starts_with(word))
}

/// Parses one published port: the short form may name several.
pub(crate) fn port(text: &str) -> Parsed<Vec<Json>> {
    if is_long(text) {
        return long_port(text).map(|port| vec![port]);
    }
    let mut bindings = ports::Bindings::new();
    ports::publish(text, &mut bindings)?;
    let mut all = Vec::new();
    for (target, bindings) in bindings {
        let (number, protocol) = target.split_once('/').unwrap_or((&target, "tcp"));
        let number: u16 = number.parse().map_err(|_| format!("invalid containerPort: {number}"))?;
        for binding in bindings {
            if binding["HostIp"].as_str().is_some_and(|ip| !ip.is_empty()) {
                return Err("hostip is not supported".to_owned());
            }
            let published = binding["HostPort"].as_str().unwrap_or_default();
            let (from, to) = published.split_once('-').unwrap_or((published, published));
            let parse = |text: &str| match text {
                "" => Ok(0u16),
                text => text.parse().map_err(|_| {
                    format!("invalid hostport binding ({published}) for port ({number})")
                }),
            };
            for published in parse(from)?..=parse(to)? {
                all.push(port_config(number, published, protocol, "ingress"));
            }
        }
    }
    Ok(all)
}

fn port_config(target: u16, published: u16, protocol: &str, mode: &str) -> Json {
    let mut port = json!({"Protocol": protocol, "TargetPort": target, "PublishMode": mode});
    if published > 0 {
        port["PublishedPort"] = published.into();
    }
    port
}

fn long_port(text: &str) -> Parsed<Json> {
    let (mut target, mut published) = (0, 0);
    let (mut protocol, mut mode) = ("tcp".to_owned(), "ingress".to_owned());
    let number = |what: &str, value: &str| {
        value.parse::<u16>().map_err(|_| {
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            let why = if digits { "value out of range" } else { "invalid syntax" };
            format!("invalid {what} port ({value}): value must be an integer: {why}")
        })
    };
    for field in csv(text) {
        let field = field.to_lowercase();
        let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid field {field}"));
        };
        match key {
            "protocol" if !matches!(value, "tcp" | "udp" | "sctp") => {
                return Err(format!("invalid protocol value '{value}'"));
            }
            "protocol" => value.clone_into(&mut protocol),
            "mode" if !matches!(value, "ingress" | "host") => {
                return Err(format!(
                    "invalid publish mode value ({value}): must be either 'ingress' or 'host'"
                ));
            }
            "mode" => value.clone_into(&mut mode),
            "target" => target = number("target", value)?,
            "published" => published = number("published", value)?,
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    if target == 0 {
        return Err("missing mandatory field 'target'".to_owned());
    }
    Ok(port_config(target, published, &protocol, &mode))
}

/// A secret or config as an option names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileReference {
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) uid: String,
    pub(crate) gid: String,
    pub(crate) mode: u32,
}

/// Parses one `--secret` or `--config`.
pub(crate) fn file_reference(kind: &str, text: &str) -> Parsed<FileReference> {
    let fields = csv(text);
    let mut wanted = FileReference {
        source: String::new(),
        target: String::new(),
        uid: "0".into(),
        gid: "0".into(),
        mode: 0o444,
    };
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        (wanted.source, wanted.target) = (only.clone(), only.clone());
        return Ok(wanted);
    }
    for field in &fields {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        };
        match key.to_ascii_lowercase().as_str() {
            "source" | "src" => value.clone_into(&mut wanted.source),
            "target" => value.clone_into(&mut wanted.target),
            "uid" => value.clone_into(&mut wanted.uid),
            "gid" => value.clone_into(&mut wanted.gid),
            "mode" => {
                let mode = crate::args::check::parse_int(value).map_err(|why| {
                    format!("invalid mode specified: {}", why.replace("Int", "Uint"))
                })?;
                wanted.mode = u32::try_from(mode)
                    .map_err(|_| format!("invalid mode specified: {value} is out of range"))?;
            }
            other => return Err(format!("invalid field in {kind} request: {other}")),
        }
    }
    if wanted.source.is_empty() {
        return Err("source is required".to_owned());
    }
    if wanted.target.is_empty() {
        wanted.target.clone_from(&wanted.source);
    }
    Ok(wanted)
}

impl FileReference {
    /// The reference of a task, now that the object's id is known.
    pub(crate) fn json(&self, kind: &str, id: &str) -> Json {
        json!({
            "File": {"Name": self.target, "UID": self.uid, "GID": self.gid, "Mode": self.mode},
            format!("{kind}ID"): id,
            format!("{kind}Name"): self.source,
        })
    }
}

/// A network of a service: its name, and the attachment without its target.
pub(crate) fn attachment(text: &str) -> Parsed<(String, Json)> {
    let (name, endpoint) = network::parse(text)?;
    let mut attachment = json!({});
    for key in ["Aliases", "DriverOpts"] {
        if let Some(value) = endpoint.get(key).filter(|value| !value.is_null()) {
            attachment[key] = value.clone();
        }
    }
    Ok((name, attachment))
}

/// Parses `spread=…`.
pub(crate) fn preference(text: &str) -> Parsed<Json> {
    let mut parts = text.split('=');
    let (Some(strategy), Some(argument), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(r#"placement preference must be of the format "<strategy>=<arg>""#.to_owned());
    };
    if strategy != "spread" {
        return Err(format!(
            "unsupported placement preference {strategy} (only spread is supported)"
        ));
    }
    Ok(json!({"Spread": {"SpreadDescriptor": argument}}))
}

/// A generic resource `kind=number`; a value that is no number is a name.
pub(crate) fn generic(text: &str) -> Parsed<Json> {
    let refuse = || format!("invalid generic-resource request `{text}`, expected kind=number");
    let (kind, value) = text.split_once('=').ok_or_else(refuse)?;
    match value.parse::<i64>() {
        Ok(value) if !kind.is_empty() => {
            Ok(json!({"DiscreteResourceSpec": {"Kind": kind, "Value": value}}))
        }
        Ok(_) => Err(refuse()),
        Err(_) => {
            Err("invalid generic-resource request: Named Generic Resources is not supported \
                       for service create or update"
                .to_owned())
        }
    }
}

/// The kind of a generic resource of a specification.
pub(crate) fn generic_kind(resource: &Json) -> &str {
    let kind = |spec: &str| resource[spec]["Kind"].as_str();
    kind("DiscreteResourceSpec").or_else(|| kind("NamedResourceSpec")).unwrap_or_default()
}

/// Hosts `name:ip` as lines of /etc/hosts.
pub(crate) fn host_line(text: &str) -> String {
    let (name, ip) = text.split_once(['=', ':']).unwrap_or((text, ""));
    format!("{ip} {name}")
}

/// Splits a command line into words as a shell does: quotes, escapes, comments.
pub(crate) fn words(text: &str) -> Parsed<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match letters.next() {
                        Some(end) if end == letter => break,
                        Some('\\') if letter == '"' => {
                            word.push(letters.next().ok_or("EOF found after escape character")?);
                        }
                        Some(other) => word.push(other),
                        None => return Err("EOF found when expecting closing quote".to_owned()),
                    }
                }
            }
            '\\' => {
                let next = letters.next().ok_or("EOF found after escape character")?;
                word.get_or_insert_default().push(next);
            }
            '#' if word.is_none() => {
                for skipped in letters.by_ref() {
                    if skipped == '\n' {
                        break;
                    }
                }
            }
            blank if blank.is_whitespace() => words.extend(word.take()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Capabilities with their full names.
pub(crate) fn capabilities(given: &[String]) -> BTreeSet<String> {
    let name = |text: &String| {
        let upper = text.trim().to_ascii_uppercase();
        if upper == "ALL" || upper == "RESET" || upper.starts_with("CAP_") {
            upper
        } else {
            format!("CAP_{upper}")
        }
    };
    given.iter().filter(|text| !text.trim().is_empty()).map(name).collect()
}

/// What to add and to drop: `ALL` stands for every other, and adding wins.
pub(crate) fn effective(
    mut add: BTreeSet<String>,
    mut drop: BTreeSet<String>,
) -> (Vec<String>, Vec<String>) {
    for set in [&mut add, &mut drop] {
        if set.contains("ALL") {
            *set = BTreeSet::from(["ALL".to_owned()]);
        }
    }
    let drop = drop.into_iter().filter(|name| !add.contains(name)).collect();
    (add.into_iter().collect(), drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_a_short_and_a_long_form() {
        let tcp = |target: u16, published: u16| json!({"Protocol": "tcp", "TargetPort": target, "PublishedPort": published, "PublishMode": "ingress"});
        assert_eq!(port("8080:80").unwrap(), [tcp(80, 8080)]);
        assert_eq!(port("8080-8081:80").unwrap(), [tcp(80, 8080), tcp(80, 8081)]);
        assert_eq!(
            port("target=53,protocol=udp,mode=host").unwrap(),
            [json!({"Protocol": "udp", "TargetPort": 53, "PublishMode": "host"})]
        );
        let refused = |text: &str| port(text).unwrap_err();
        assert_eq!(refused("127.0.0.1:80:80"), "hostip is not supported");
        assert_eq!(refused("published=80"), "missing mandatory field 'target'");
        assert_eq!(refused("target=80,foo=1"), "invalid field key: foo");
        assert_eq!(
            refused("target=x"),
            "invalid target port (x): value must be an integer: invalid syntax"
        );
    }

    #[test]
    fn secrets_have_a_target_an_owner_and_a_mode() {
        let short = file_reference("secret", "a").unwrap();
        assert_eq!(
            short.json("Secret", "id"),
            json!({"File": {"Name": "a", "UID": "0", "GID": "0", "Mode": 292},
                   "SecretID": "id", "SecretName": "a"})
        );
        let long = file_reference("config", "source=a,target=/x,uid=5,mode=0400").unwrap();
        assert_eq!((long.target.as_str(), long.uid.as_str(), long.mode), ("/x", "5", 0o400));
        assert_eq!(file_reference("secret", "target=x").unwrap_err(), "source is required");
        assert_eq!(
            file_reference("secret", "source=a,foo=x").unwrap_err(),
            "invalid field in secret request: foo"
        );
    }

    #[test]
    fn words_are_split_as_in_a_shell() {
        assert_eq!(
            words(r#"sh -c 'a b' "c \" d" e\ f # x"#).unwrap(),
            ["sh", "-c", "a b", "c \" d", "e f"]
        );
        assert_eq!(words("").unwrap(), Vec::<String>::new());
        assert_eq!(words("'").unwrap_err(), "EOF found when expecting closing quote");
    }

    #[test]
    fn capabilities_are_normal_and_adding_wins() {
        let set = |names: &[&str]| {
            capabilities(&names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            effective(set(&["net_admin", "CAP_CHOWN"]), set(&["chown", "all"])),
            (vec!["CAP_CHOWN".to_owned(), "CAP_NET_ADMIN".to_owned()], vec!["ALL".to_owned()])
        );
        assert_eq!(
            preference("a=b").unwrap_err(),
            "unsupported placement preference a (only spread is supported)"
        );
        assert_eq!(host_line("a:1.2.3.4"), "1.2.3.4 a");
    }
}

//! Options of the cluster → its specification. Pure, but for certificates that options name.

use serde_json::{Value as Json, json};

use crate::args::Args;
use crate::args::check::parse_duration;
use crate::args::parse::quote;
use crate::error::{Failure, Result, io};
use crate::opts::csv;

/// The port on which managers listen.
const PORT: u16 = 2377;

/// Applies the options that were given.
pub(super) fn apply(args: &Args, spec: &mut Json) -> Result {
    let time = |name: &str| parse_duration(args.text(name)).unwrap_or(0);
    if args.given("task-history-limit") {
        spec["Orchestration"]["TaskHistoryRetentionLimit"] = args.int("task-history-limit").into();
    }
    if args.given("dispatcher-heartbeat") {
        spec["Dispatcher"]["HeartbeatPeriod"] = time("dispatcher-heartbeat").into();
    }
    if args.given("drain-wait") {
        // The label by which Shoal's API takes what docker's specification has no place for.
        if !spec["Labels"].is_object() {
            spec["Labels"] = json!({});
        }
        spec["Labels"]["io.shoal.drain-wait"] = args.text("drain-wait").into();
    }
    if args.given("snapshot-interval") {
        spec["Raft"]["SnapshotInterval"] = args.int("snapshot-interval").into();
    }
    if args.given("max-snapshots") {
        spec["Raft"]["KeepOldSnapshots"] = args.int("max-snapshots").into();
    }
    if args.given("autolock") {
        spec["EncryptionConfig"]["AutoLockManagers"] = args.on("autolock").into();
    }
    authority(args, spec)
}

/// Applies the options of the authority.
pub(super) fn authority(args: &Args, spec: &mut Json) -> Result {
    if args.given("cert-expiry") {
        let expiry = parse_duration(args.text("cert-expiry")).unwrap_or(0);
        spec["CAConfig"]["NodeCertExpiry"] = expiry.into();
    }
    if args.given("external-ca") {
        let parse = |text: &String| external(text, &|path| std::fs::read_to_string(path));
        let all: std::result::Result<Vec<Json>, Failure> =
            args.all("external-ca").iter().map(parse).collect();
        spec["CAConfig"]["ExternalCAs"] = all?.into();
    }
    Ok(())
}

/// What `init` and `join` say of this node.
pub(super) fn addresses(args: &Args) -> Result<Json> {
    let availability = args.text("availability");
    if !matches!(availability, "active" | "pause" | "drain") {
        return Err(format!(
            "invalid availability {}, only active, pause and drain are supported",
            quote(availability)
        )
        .into());
    }
    let mut body = json!({
        "ListenAddr": listen(args.text("listen-addr")).map_err(Failure::new)?,
        "AdvertiseAddr": args.text("advertise-addr"),
        "DataPathAddr": args.text("data-path-addr"),
    });
    if args.given("availability") {
        body["Availability"] = availability.into();
    }
    Ok(body)
}

/// An address with its port, which has a default.
fn listen(text: &str) -> std::result::Result<String, String> {
    if text.is_empty() {
        return Err("invalid address, cannot be empty".to_owned());
    }
    let text = text.strip_prefix("tcp://").unwrap_or(text);
    if text.starts_with('[') || text.matches(':').count() == 1 {
        let host = text.rsplit_once(':').map_or("", |(host, _)| host);
        let has_port = !text.ends_with(']');
        if has_port && host.is_empty() {
            return Ok(format!("0.0.0.0{text}"));
        }
        return Ok(if has_port { text.to_owned() } else { format!("{text}:{PORT}") });
    }
    Ok(if text.contains(':') { format!("[{text}]:{PORT}") } else { format!("{text}:{PORT}") })
}

pub(super) fn external_check(text: &str) -> std::result::Result<(), String> {
    external(text, &|_| Ok(String::new())).map(|_| ()).map_err(|failure| failure.message)
}

/// Parses one `--external-ca`.
fn external(text: &str, read: &dyn Fn(&str) -> std::io::Result<String>) -> Result<Json> {
    let mut authority = json!({});
    for field in csv(text) {
        let Some((key, value)) = field.split_once('=') else {
            return Err(format!("invalid field '{field}' must be a key=value pair").into());
        };
        match key.to_ascii_lowercase().as_str() {
            "protocol" if value.eq_ignore_ascii_case("cfssl") => {
                authority["Protocol"] = "cfssl".into();
            }
            "protocol" => return Err(format!("unrecognized external CA protocol {value}").into()),
            "url" => authority["URL"] = value.into(),
            "cacert" => {
                let pem = read(value).map_err(io("unable to read CA cert for external CA"))?;
                authority["CACert"] = pem.into();
            }
            _ => authority["Options"][key] = value.into(),
        }
    }
    for (key, name) in [("Protocol", "protocol"), ("URL", "url")] {
        if authority[key].is_null() {
            return Err(format!("the external-ca option needs a {name}= parameter").into());
        }
    }
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port() {
        for (given, expected) in [
            ("0.0.0.0", "0.0.0.0:2377"),
            ("eth0:5", "eth0:5"),
            ("::1", "[::1]:2377"),
            ("[::1]:9", "[::1]:9"),
            (":9", "0.0.0.0:9"),
        ] {
            assert_eq!(listen(given).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn authorities_have_a_protocol_and_an_address() {
        let parsed =
            external("protocol=cfssl,url=https://x,cacert=f,a=b", &|path| Ok(format!("<{path}>")));
        assert_eq!(
            parsed.unwrap(),
            json!({"Protocol": "cfssl", "URL": "https://x", "CACert": "<f>", "Options": {"a": "b"}})
        );
        let refused = |text: &str| external_check(text).unwrap_err();
        assert_eq!(refused("url=x"), "the external-ca option needs a protocol= parameter");
        assert_eq!(refused("protocol=x"), "unrecognized external CA protocol x");
        assert_eq!(refused("x"), "invalid field 'x' must be a key=value pair");
    }
}

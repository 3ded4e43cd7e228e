//! `swarm status`, `swarm backup` and `swarm restore`: what docker has not.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use shoal_gotemplate::value::Value;

use crate::args::{Args, BOOL, Command, Count, Flag, STR, action, flag, short};
use crate::client::{Payload, Request};
use crate::context::Context;
use crate::error::{Failure, Result, io};
use crate::table::align;
use crate::{sys, units};

const STATUS: &[Flag] = &[short('f', "format", STR, "json, or nothing for tables")];
const KEY: &[Flag] = &[
    flag("passphrase-file", STR, "File with the passphrase (first line); - reads standard input"),
    flag("key-file", STR, "File whose whole content is the passphrase"),
];
const BACKUP: &[Flag] = &[flag("force", BOOL, "Replace the file if there is one")];
const RESTORE: &[Flag] = &[
    flag("advertise-addr", STR, "Address told to others: IP or interface, with or without a port"),
    flag("data-path-addr", STR, "Address or interface for traffic of containers"),
    flag("listen-addr", STR, "Where to listen: IP or interface, with or without a port")
        .or("0.0.0.0:2377"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["swarm status"],
        "[OPTIONS]",
        "Show who leads, who lags, which certificates end, and what would break the cluster",
        Count::None,
        &[STATUS],
        action!(status),
    ),
    Command::new(
        &["swarm backup"],
        "[OPTIONS] FILE",
        "Write all objects of the cluster, sealed with a passphrase, to a file",
        Count::Exactly(1),
        &[KEY, BACKUP],
        action!(backup),
    )
    .examples("shoal swarm backup --key-file key cluster.backup   # a sealed backup, while the cluster runs"),
    Command::new(
        &["swarm restore"],
        "[OPTIONS] FILE",
        "Make a cluster of one manager, this host, from a backup",
        Count::Exactly(1),
        &[KEY, RESTORE],
        action!(restore),
    ),
];

async fn status(context: &mut Context, args: &Args) -> Result {
    let found = context.client()?.value(Request::get("/shoal/swarm/status")).await?;
    match args.text("format") {
        "json" => sys::line(found.json(false)),
        "" | "table" => sys::out(plain(&found, units::seconds(sys::now_nanos()))),
        other => return Err(format!("--format must be json or table, not `{other}`").into()),
    }
    Ok(())
}

fn text_or<'a>(value: &'a Value, other: &'a str) -> &'a str {
    if value.text().is_empty() { other } else { value.text() }
}

/// Three tables and what is to be said. Pure.
fn plain(status: &Value, now: i64) -> String {
    let quorum = status.at("Quorum");
    let managers = status.at("Managers").list();
    let leader = managers.iter().find(|manager| manager.at("Leader").is_true());
    let leader =
        leader.map_or("none", |leader| text_or(leader.at("Hostname"), leader.at("NodeID").text()));
    let head = [
        ("Cluster", status.at("ClusterID").text().to_owned()),
        ("Leader", leader.to_owned()),
        ("Term", status.at("Term").int().to_string()),
        ("Committed entry", status.at("CommittedIndex").int().to_string()),
        (
            "Quorum",
            format!(
                "{} of {} managers answer, {} must (margin {})",
                quorum.at("Reachable").int(),
                quorum.at("Voters").int(),
                quorum.at("Needed").int(),
                quorum.at("Margin").int()
            ),
        ),
        ("Feature level", status.at("FeatureLevel").int().to_string()),
        ("Autolock", status.at("AutoLock").is_true().to_string()),
        ("Root ends", until(status.at("RootExpires").text(), now)),
    ];
    let mut text = String::new();
    for (name, value) in head {
        text.push_str(&format!("{:<17}{value}\n", format!("{name}:")));
    }
    let mut table = "MANAGER\tADDRESS\tPART\tREACHABLE\tLAG\tRELEASE\n".to_owned();
    for manager in managers {
        let part = match (manager.at("Leader").is_true(), manager.at("Voter").is_true()) {
            (true, _) => "leader",
            (false, true) => "follower",
            (false, false) => "learner",
        };
        table.push_str(&format!(
            "{}\t{}\t{part}\t{}\t{}\t{}\n",
            text_or(manager.at("Hostname"), manager.at("NodeID").text()),
            manager.at("Addr").text(),
            if manager.at("Reachable").is_true() { "yes" } else { "no" },
            manager.at("Lag").int(),
            manager.at("Release").text(),
        ));
    }
    text.push('\n');
    text.push_str(&align(&table, 10));
    let mut table = "CERTIFICATE OF\tROLE\tSTATE\tENDS\n".to_owned();
    for certificate in status.at("Certificates").list() {
        table.push_str(&format!(
            "{}\t{}\t{}\t{}\n",
            text_or(certificate.at("Hostname"), certificate.at("NodeID").text()),
            certificate.at("Role").text(),
            certificate.at("State").text(),
            until(certificate.at("Expires").text(), now),
        ));
    }
    text.push('\n');
    text.push_str(&align(&table, 10));
    text.push('\n');
    for line in status.at("Breaks").texts() {
        text.push_str(&format!("What would break it: {line}\n"));
    }
    for line in status.at("Warnings").texts() {
        text.push_str(&format!("WARNING: {line}\n"));
    }
    text
}

/// A moment in the future, as people say it.
fn until(text: &str, now: i64) -> String {
    let Some(moment) = units::parse_time(text).map(units::seconds).filter(|moment| *moment > 0)
    else {
        return "unknown".to_owned();
    };
    let span = |seconds: i64| units::human_duration(seconds).to_lowercase();
    if moment <= now {
        format!("{} ago", span(now - moment))
    } else {
        format!("in {}", span(moment - now))
    }
}

/// The passphrase: from a file, from the environment, or from standard input.
async fn passphrase(args: &Args) -> Result<String> {
    let (file, key) = (args.text("passphrase-file"), args.text("key-file"));
    let text = match (file, key) {
        ("", "") => sys::env("SHOAL_PASSPHRASE").ok_or_else(|| {
            Failure::new(
                "a passphrase is needed: --passphrase-file, --key-file or SHOAL_PASSPHRASE",
            )
        })?,
        ("-", "") => {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map_err(io("reading the passphrase"))?;
            line.trim_end_matches(['\r', '\n']).to_owned()
        }
        (file, "") => {
            let text = std::fs::read_to_string(file).map_err(io(format!("reading {file}")))?;
            text.lines().next().unwrap_or_default().to_owned()
        }
        // Any bytes will do; the daemon takes text.
        ("", key) => STANDARD.encode(std::fs::read(key).map_err(io(format!("reading {key}")))?),
        _ => return Err("--passphrase-file and --key-file exclude each other".into()),
    };
    Ok(text)
}

async fn backup(context: &mut Context, args: &Args) -> Result {
    let target = args.arg(0);
    if !args.on("force") && std::path::Path::new(target).exists() {
        return Err(format!("{target} exists: name another file, or use --force").into());
    }
    let body = serde_json::json!({ "Passphrase": passphrase(args).await? });
    let request = Request::post("/shoal/swarm/backup").json(body);
    let mut response = context.client()?.send(request).await?;
    let partial = format!("{target}.partial");
    let written = async {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut file = std::fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)
            .map_err(io(format!("creating {partial}")))?;
        while let Some(bytes) = response.chunk().await? {
            file.write_all(&bytes).map_err(io(format!("writing {partial}")))?;
        }
        file.sync_all().map_err(io(format!("writing {partial}")))?;
        std::fs::rename(&partial, target).map_err(io(format!("naming {target}")))
    };
    let written: Result = written.await;
    if written.is_err() {
        // What is left is of no use; the error that counts is the first one.
        let _ = std::fs::remove_file(&partial);
    }
    written
}

async fn restore(context: &mut Context, args: &Args) -> Result {
    let source = args.arg(0);
    let passphrase = STANDARD.encode(passphrase(args).await?);
    let file = tokio::fs::File::open(source).await.map_err(io(format!("opening {source}")))?;
    let bytes = tokio_util::io::ReaderStream::with_capacity(file, 256 * 1024);
    let request = Request::post("/shoal/swarm/restore")
        .maybe("listenAddr", args.text("listen-addr"))
        .maybe("advertiseAddr", args.text("advertise-addr"))
        .maybe("dataPathAddr", args.text("data-path-addr"))
        .header("x-shoal-passphrase", passphrase)
        .payload(Payload::stream(bytes));
    let answer = context.client()?.value(request).await?;
    sys::line(format_args!(
        "Swarm restored: current node ({}) is now its only manager.\n\nNodes of the cluster come back by themselves \
         if this host has the address of a former manager; others leave and join again.",
        answer.at("NodeID").text()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_three_tables_and_words() {
        let status = serde_json::json!({
            "ClusterID": "c1", "Term": 3, "CommittedIndex": 42, "FeatureLevel": 1, "AutoLock": false,
            "RootExpires": "2046-11-16T00:00:00Z",
            "Quorum": {"Voters": 2, "Reachable": 1, "Needed": 2, "Margin": -1},
            "Managers": [
                {"NodeID": "n1", "Hostname": "h1", "Addr": "10.0.0.1:2377", "Leader": true, "Voter": true,
                 "Reachable": true, "Lag": 0, "Release": "0.1.0"},
                {"NodeID": "n2", "Hostname": "", "Addr": "10.0.0.2:2377", "Leader": false, "Voter": true,
                 "Reachable": false, "Lag": 7, "Release": ""},
            ],
            "Certificates": [
                {"NodeID": "n1", "Hostname": "h1", "Role": "manager", "State": "ready",
                 "Expires": "2026-11-20T00:00:00Z"},
                {"NodeID": "n2", "Hostname": "", "Role": "manager", "State": "down",
                 "Expires": "0001-01-01T00:00:00Z"},
            ],
            "Breaks": ["no quorum"],
            "Warnings": ["manager n2 does not answer"],
        });
        let status: Value = serde_json::from_str(&status.to_string()).unwrap();
        let now = units::seconds(units::parse_time("2026-11-21T00:00:00Z").unwrap());
        assert_eq!(
            plain(&status, now),
            "\
Cluster:         c1
Leader:          h1
Term:            3
Committed entry: 42
Quorum:          1 of 2 managers answer, 2 must (margin -1)
Feature level:   1
Autolock:        false
Root ends:       in 20 years

MANAGER   ADDRESS         PART       REACHABLE   LAG       RELEASE
h1        10.0.0.1:2377   leader     yes         0         0.1.0
n2        10.0.0.2:2377   follower   no          7         \n
CERTIFICATE OF   ROLE      STATE     ENDS
h1               manager   ready     24 hours ago
n2               manager   down      unknown

What would break it: no quorum
WARNING: manager n2 does not answer
"
        );
    }
}

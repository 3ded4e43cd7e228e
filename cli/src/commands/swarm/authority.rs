//! `swarm ca`.

use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::super::cluster::json_of;
use super::{send, settings};
use crate::args::Args;
use crate::client::{Client, Request};
use crate::context::Context;
use crate::error::{Result, io};
use crate::stream::live::{Line, Live};
use crate::stream::progress::To;
use crate::sys;
use shoal_gotemplate::value::Value;

/// How often the daemon is asked.
const ROUND: Duration = Duration::from_millis(200);

pub(super) async fn ca(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    if !args.on("rotate") {
        for name in ["ca-cert", "ca-key", "cert-expiry", "external-ca"] {
            if args.given(name) {
                return Err(format!(
                    "`--{name}` flag requires the `--rotate` flag to update the CA"
                )
                .into());
            }
        }
        return show_root(client).await;
    }
    if args.given("external-ca") && !args.given("ca-cert") {
        return Err("rotating to an external CA requires the `--ca-cert` flag to specify the \
                    external CA's cert - to add an external CA with the current root CA \
                    certificate, use the `update` command instead"
            .into());
    }
    if args.given("ca-cert") && !args.given("ca-key") && !args.given("external-ca") {
        return Err("the --ca-cert flag requires that a --ca-key flag and/or --external-ca flag \
                    be provided as well"
            .into());
    }
    let swarm = json_of(client, Request::get("/swarm")).await?;
    let mut spec = swarm["Spec"].clone();
    settings::authority(args, &mut spec)?;
    let read = |name: &str| match args.get(name) {
        Some(path) => std::fs::read_to_string(path).map_err(io(format!("reading {path}"))),
        None => Ok(String::new()),
    };
    spec["CAConfig"]["SigningCACert"] = read("ca-cert")?.into();
    spec["CAConfig"]["SigningCAKey"] = read("ca-key")?.into();
    let rotations = spec["CAConfig"]["ForceRotate"].as_u64().unwrap_or(0);
    spec["CAConfig"]["ForceRotate"] = (rotations + 1).into();
    send(client, &swarm, spec, None).await?;
    if args.on("detach") {
        return Ok(());
    }
    wait(client, if args.on("quiet") { To::Nowhere } else { To::Out }).await?;
    show_root(client).await
}

async fn show_root(client: &Client) -> Result {
    let swarm = client.value(Request::get("/swarm")).await?;
    match swarm.path("TLSInfo.TrustRoot").text().trim() {
        "" => Err("No CA information available".into()),
        root => {
            sys::line(root);
            Ok(())
        }
    }
}

async fn wait(client: &Client, to: To) -> Result {
    let mut live = Live::new(to);
    let interrupt = tokio::signal::ctrl_c();
    tokio::pin!(interrupt);
    loop {
        let swarm = client.value(Request::get("/swarm")).await?;
        let nodes = client.value(Request::get("/nodes")).await?;
        let (lines, done) = progress(&swarm, nodes.list());
        live.show(&lines);
        if done {
            return Ok(());
        }
        tokio::select! {
            () = sys::sleep(ROUND) => {}
            _ = &mut interrupt => {
                live.show(&[
                    Line::new("", "Operation continuing in background."),
                    Line::new("", "Use `shoal node ls` to check progress."),
                ]);
                return Ok(());
            }
        }
    }
}

/// How many nodes have the new root, and certificates that it signed. Pure.
fn progress(swarm: &Value, nodes: &[Value]) -> ([Line; 3], bool) {
    let wanted = swarm.at("TLSInfo");
    let rotating = swarm.at("RootRotationInProgress").is_true();
    let count = |same: &dyn Fn(&Value) -> bool| {
        let right = nodes.iter().filter(|node| same(node.path("Description.TLSInfo"))).count();
        i64::try_from(right).unwrap_or(i64::MAX)
    };
    let issuer = ["CertIssuerPublicKey", "CertIssuerSubject"];
    let certificates = count(&|tls| issuer.iter().all(|key| tls.at(key) == wanted.at(key)));
    let roots = count(&|tls| tls.at("TrustRoot") == wanted.at("TrustRoot"));
    let total = i64::try_from(nodes.len()).unwrap_or(i64::MAX);
    let digest = Sha256::digest(wanted.at("TrustRoot").text().as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    // New roots are trusted beside the old one until every certificate is new.
    let trusted = if certificates == total && !rotating { roots } else { 0 };
    let lines = [
        Line::new("desired root digest", format!("sha256:{hex}")),
        Line::new("  rotated TLS certificates", "").with_steps(certificates, total).of("nodes"),
        Line::new("  rotated CA certificates", " ").with_steps(trusted, total).of("nodes"),
    ];
    (lines, certificates == total && roots == total && !rotating)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nodes_must_have_the_new_root() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let tls = |root: &str| {
            format!(r#"{{"TrustRoot":"{root}","CertIssuerSubject":"s","CertIssuerPublicKey":"k"}}"#)
        };
        let swarm = |rotating: bool| {
            json(&format!(r#"{{"TLSInfo":{},"RootRotationInProgress":{rotating}}}"#, tls("new")))
        };
        let nodes = json(&format!(
            r#"[{{"Description":{{"TLSInfo":{}}}}},{{"Description":{{"TLSInfo":{}}}}}]"#,
            tls("new"),
            tls("old")
        ));
        let (lines, done) = progress(&swarm(true), nodes.list());
        let steps: Vec<_> = lines.iter().map(|line| line.steps).collect();
        assert_eq!((steps, done), (vec![None, Some((2, 2)), Some((0, 2))], false));
        let (lines, done) = progress(&swarm(false), nodes.list());
        assert_eq!((lines[2].steps, done), (Some((1, 2)), false));
        assert!(progress(&swarm(false), &nodes.list()[..1]).1);
    }
}

//! `node inspect --pretty`. Pure.

use std::collections::BTreeMap;

use super::super::cluster::capital;
use crate::units;
use shoal_gotemplate::value::Value;

/// The description of a node.
pub(super) fn text(node: &Value) -> String {
    let (spec, description) = (node.at("Spec"), node.at("Description"));
    let mut out = format!("ID:\t\t\t{}\n", node.at("ID").text());
    if !spec.at("Name").text().is_empty() {
        out.push_str(&format!("Name:\t\t\t{}\n", spec.at("Name").text()));
    }
    labels(&mut out, "Labels", spec.at("Labels"));
    let joined = node.at("CreatedAt").text();
    let joined = units::go_time(joined).unwrap_or_else(|| joined.to_owned());
    out.push_str(&format!(
        "Hostname:              \t{}\nJoined at:             \t{joined}\nStatus:\n State:\t\t\t{}\n",
        description.at("Hostname").text(),
        capital(node.path("Status.State").text())
    ));
    let message = node.path("Status.Message").text();
    if !message.is_empty() {
        out.push_str(&format!(" Message:              \t{}\n", capital(message)));
    }
    out.push_str(&format!(
        " Availability:         \t{}\n",
        capital(spec.at("Availability").text())
    ));
    let address = node.path("Status.Addr").text();
    if !address.is_empty() {
        out.push_str(&format!(" Address:\t\t{address}\n"));
    }
    if let manager @ Value::Map(_) = node.at("ManagerStatus") {
        let leader = if manager.at("Leader").is_true() { "Yes" } else { "No" };
        out.push_str(&format!(
            "Manager Status:\n Address:\t\t{}\n Raft Status:\t\t{}\n Leader:\t\t{leader}\n",
            manager.at("Addr").text(),
            capital(manager.at("Reachability").text())
        ));
    }
    let memory = match description.path("Resources.MemoryBytes").float() {
        0.0 => String::new(),
        bytes => units::binary_size(bytes),
    };
    out.push_str(&format!(
        "Platform:\n Operating System:\t{}\n Architecture:\t\t{}\nResources:\n CPUs:\t\t\t{}\n \
         Memory:\t\t{memory}\n",
        description.path("Platform.OS").text(),
        description.path("Platform.Architecture").text(),
        description.path("Resources.NanoCPUs").int() / 1_000_000_000
    ));
    engine(&mut out, description.at("Engine"));
    let tls = description.at("TLSInfo");
    if !tls.at("TrustRoot").text().is_empty() {
        out.push_str(&format!(
            "TLS Info:\n TrustRoot:\n{}\n Issuer Subject:\t{}\n Issuer Public Key:\t{}\n",
            tls.at("TrustRoot").text(),
            tls.at("CertIssuerSubject").text(),
            tls.at("CertIssuerPublicKey").text()
        ));
    }
    out
}

fn labels(out: &mut String, heading: &str, labels: &Value) {
    let all: BTreeMap<&str, &str> =
        labels.fields().iter().map(|(key, value)| (key.as_str(), value.text())).collect();
    if !all.is_empty() {
        out.push_str(&format!("{heading}:\n"));
    }
    for (key, value) in all {
        let between = if value.is_empty() { "" } else { "=" };
        out.push_str(&format!(" - {key}{between}{value}\n"));
    }
}

fn engine(out: &mut String, engine: &Value) {
    let mut plugins: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for plugin in engine.at("Plugins").list() {
        plugins.entry(plugin.at("Type").text()).or_default().push(plugin.at("Name").text());
    }
    if !plugins.is_empty() {
        out.push_str("Plugins:\n");
    }
    for (kind, names) in plugins {
        out.push_str(&format!(" {kind}:\t\t{}\n", names.join(", ")));
    }
    out.push_str(&format!("Engine Version:\t\t{}\n", engine.at("EngineVersion").text()));
    labels(out, "Engine Labels", engine.at("Labels"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_described_as_docker_does() {
        let node: Value = serde_json::from_str(
            r#"{"ID":"abc","CreatedAt":"2026-01-02T03:04:05.5Z","Spec":{"Labels":{"a":"1"},"Availability":"active"},
                "Status":{"State":"ready","Addr":"10.0.0.1"},
                "ManagerStatus":{"Addr":"10.0.0.1:2377","Reachability":"reachable","Leader":true},
                "Description":{"Hostname":"n1","Platform":{"OS":"linux","Architecture":"x86_64"},
                  "Resources":{"NanoCPUs":2000000000,"MemoryBytes":2062790656},
                  "Engine":{"EngineVersion":"1","Plugins":[{"Type":"Network","Name":"bridge"},{"Type":"Network","Name":"host"}]},
                  "TLSInfo":{"TrustRoot":"PEM","CertIssuerSubject":"s","CertIssuerPublicKey":"k"}}}"#,
        )
        .unwrap();
        expect_test::expect_file!["testdata/pretty.txt"].assert_eq(&text(&node));
    }
}

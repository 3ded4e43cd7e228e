//! `service inspect --pretty`.

use std::fmt::Write as _;

use crate::client::{Client, Request, url::segment};
use crate::error::{Failure, Result};
use crate::{sys, units};
use shoal_gotemplate::value::Value;

pub(super) async fn print(
    client: &Client,
    names: &[String],
    request: impl Fn(&str) -> Request,
) -> Result {
    for name in names {
        let service = match client.value(request(name)).await {
            Err(error) if error.status() == 404 => {
                return Err(Failure::new(format!("Error: no such service: {name}")));
            }
            other => other?,
        };
        let mut networks = Vec::new();
        for network in service.path("Spec.TaskTemplate.Networks").list() {
            let id = network.at("Target").text();
            let found = client.value(Request::get(format!("/networks/{}", segment(id)))).await;
            networks.push(
                found.map_or_else(|_| id.to_owned(), |found| found.at("Name").text().to_owned()),
            );
        }
        sys::out(text(&service, &networks, units::seconds(sys::now_nanos())));
    }
    Ok(())
}

/// The description of a service. Pure.
fn text(service: &Value, networks: &[String], now: i64) -> String {
    let mut out = String::new();
    let spec = service.at("Spec");
    out.push_str(&format!(
        "\nID:\t\t{}\nName:\t\t{}",
        service.at("ID").text(),
        spec.at("Name").text()
    ));
    map(&mut out, "Labels", spec.at("Labels"), " ", "=");
    out.push_str("\nService Mode:");
    mode(&mut out, spec.at("Mode"));
    update_status(&mut out, service.at("UpdateStatus"), now);
    placement(&mut out, spec.path("TaskTemplate.Placement"));
    policy(&mut out, "Update", spec.at("UpdateConfig"));
    policy(&mut out, "Rollback", spec.at("RollbackConfig"));
    container(&mut out, spec.path("TaskTemplate.ContainerSpec"));
    log_driver(&mut out, spec.path("TaskTemplate.LogDriver"));
    resources(&mut out, spec.path("TaskTemplate.Resources"));
    if !networks.is_empty() {
        out.push_str("\nNetworks:");
        networks.iter().for_each(|name| out.push_str(&format!(" {name}")));
        out.push(' ');
    }
    out.push_str(&format!("\nEndpoint Mode:\t{}", spec.path("EndpointSpec.Mode").text()));
    let ports = service.path("Endpoint.Ports").list();
    if !ports.is_empty() {
        out.push_str("\nPorts:");
        for port in ports {
            out.push_str(&format!(
                "\n PublishedPort = {}\n  Protocol = {}\n  TargetPort = {}\n  PublishMode = {}",
                port.at("PublishedPort").int(),
                port.at("Protocol").text(),
                port.at("TargetPort").int(),
                port.at("PublishMode").text()
            ));
        }
        out.push(' ');
    }
    health(&mut out, spec.path("TaskTemplate.ContainerSpec.Healthcheck"));
    out.push_str("\n\n");
    out
}

/// A heading and `key=value` lines; nothing for no entries.
fn map(out: &mut String, heading: &str, values: &Value, indent: &str, between: &str) {
    let mut entries: Vec<(&str, &str)> =
        values.fields().iter().map(|(key, value)| (key.as_str(), value.text())).collect();
    if entries.is_empty() {
        return;
    }
    entries.sort_unstable();
    out.push_str(&format!("\n{heading}:"));
    for (key, value) in entries {
        let between = if value.is_empty() { "" } else { between };
        out.push_str(&format!("\n{indent}{key}{between}{value}"));
    }
}

fn mode(out: &mut String, mode: &Value) {
    let is = |key: &str| matches!(mode.at(key), Value::Map(_));
    if is("Global") {
        out.push_str("\tGlobal");
    } else if is("Replicated") {
        out.push_str("\tReplicated");
        if let Value::Int(replicas) = mode.path("Replicated.Replicas") {
            out.push_str(&format!("\n Replicas:\t{replicas}"));
        }
    } else if is("ReplicatedJob") {
        out.push_str("\tReplicated Job");
    } else if is("GlobalJob") {
        out.push_str("\tGlobal Job");
    }
}

fn update_status(out: &mut String, status: &Value, now: i64) {
    let state = status.at("State").text();
    if state.is_empty() {
        return;
    }
    let ago = |key: &str| {
        units::parse_time(status.at(key).text()).map(|time| units::ago(now, units::seconds(time)))
    };
    out.push_str(&format!("\nUpdateStatus:\n State:\t\t{state}"));
    if let Some(started) = ago("StartedAt") {
        out.push_str(&format!("\n Started:\t{started}"));
    }
    if let Some(completed) = ago("CompletedAt").filter(|_| state == "completed") {
        out.push_str(&format!("\n Completed:\t{completed}"));
    }
    out.push_str(&format!("\n Message:\t{}", status.at("Message").text()));
}

/// Texts as Go prints a list.
fn list(texts: &[String]) -> String {
    format!("[{}]", texts.join(" "))
}

fn placement(out: &mut String, placement: &Value) {
    out.push_str("\nPlacement:");
    let constraints = placement.at("Constraints").texts();
    if !constraints.is_empty() {
        out.push_str(&format!("\n Constraints:\t{}", list(&constraints)));
    }
    let preferences: Vec<String> = placement
        .at("Preferences")
        .list()
        .iter()
        .map(|preference| format!("spread={}", preference.path("Spread.SpreadDescriptor").text()))
        .collect();
    if !preferences.is_empty() {
        out.push_str(&format!("\n Preferences:   {}", list(&preferences)));
    }
    let most = placement.at("MaxReplicas").int();
    if most > 0 {
        out.push_str(&format!("\n Max Replicas Per Node:   {most}"));
    }
}

fn policy(out: &mut String, which: &str, config: &Value) {
    if !matches!(config, Value::Map(_)) {
        return;
    }
    out.push_str(&format!("\n{which}Config:\n Parallelism:\t{}", config.at("Parallelism").int()));
    let delay = config.at("Delay").int();
    if delay > 0 {
        out.push_str(&format!("\n Delay:\t\t{}", units::go_duration(delay)));
    }
    out.push_str(&format!("\n On failure:\t{}", config.at("FailureAction").text()));
    let monitor = config.at("Monitor").int();
    if monitor > 0 {
        out.push_str(&format!("\n Monitoring Period: {}", units::go_duration(monitor)));
    }
    let order = if which == "Update" { " Update order:      " } else { " Rollback order:    " };
    out.push_str(&format!(
        "\n Max failure ratio: {}\n{order}{}",
        config.at("MaxFailureRatio").float(),
        config.at("Order").text()
    ));
}

fn container(out: &mut String, spec: &Value) {
    out.push_str(&format!("\nContainerSpec:\n Image:\t\t{}", spec.at("Image").text()));
    for (name, key) in [("Args", "Args"), ("Env", "Env")] {
        let words = spec.at(key).texts();
        if !words.is_empty() {
            out.push_str(&format!("\n {name}:\t\t{} ", words.join(" ")));
        }
    }
    if !spec.at("Dir").text().is_empty() {
        out.push_str(&format!("\n Dir:\t\t{}", spec.at("Dir").text()));
    }
    if let Value::Bool(init) = spec.at("Init") {
        out.push_str(&format!("\n Init:\t\t{init}"));
    }
    if !spec.at("User").text().is_empty() {
        out.push_str(&format!("\n User: {}", spec.at("User").text()));
    }
    let (add, drop) = (spec.at("CapabilityAdd").texts(), spec.at("CapabilityDrop").texts());
    if !add.is_empty() || !drop.is_empty() {
        out.push_str("\nCapabilities:");
    }
    for (name, names) in [("Add", add), ("Drop", drop)] {
        if !names.is_empty() {
            out.push_str(&format!("\n {name}: {}", names.join(", ")));
        }
    }
    map(out, "SysCtls", spec.at("Sysctls"), " ", ": ");
    let ulimits = spec.at("Ulimits").list();
    if !ulimits.is_empty() {
        out.push_str("\nUlimits:");
    }
    for limit in ulimits {
        let (soft, hard) = (limit.at("Soft").int(), limit.at("Hard").int());
        out.push_str(&format!("\n {}: {soft}:{hard}", limit.at("Name").text()));
    }
    files(out, spec);
}

fn files(out: &mut String, spec: &Value) {
    let mounts = spec.at("Mounts").list();
    if !mounts.is_empty() {
        out.push_str("\nMounts:");
    }
    for mount in mounts {
        out.push_str(&format!(
            "\n Target:\t{}\n  Source:\t{}\n  ReadOnly:\t{}\n  Type:\t\t{}",
            mount.at("Target").text(),
            mount.at("Source").text(),
            mount.at("ReadOnly").is_true(),
            mount.at("Type").text()
        ));
    }
    for (heading, kind) in [("Configs", "Config"), ("Secrets", "Secret")] {
        let references = spec.at(heading).list();
        if !references.is_empty() {
            out.push_str(&format!("\n{heading}:"));
        }
        for reference in references {
            let (target, source) =
                (reference.path("File.Name").text(), reference.at(&format!("{kind}Name")).text());
            out.push_str(&format!("\n Target:\t{target}\n  Source:\t{source}"));
        }
    }
}

fn log_driver(out: &mut String, driver: &Value) {
    if !matches!(driver, Value::Map(_)) {
        return;
    }
    out.push_str("\nLog Driver:");
    if !driver.at("Name").text().is_empty() {
        out.push_str(&format!("\n Name:\t\t{}", driver.at("Name").text()));
    }
    map(out, " LogOpts", driver.at("Options"), "  ", ":       ");
    out.push('\n');
}

fn resources(out: &mut String, resources: &Value) {
    if !matches!(resources, Value::Map(_)) {
        return;
    }
    out.push_str("\nResources:");
    for (heading, key) in [("Reservations", "Reservations"), ("Limits", "Limits")] {
        let part = resources.at(key);
        let (cpus, memory) = (part.at("NanoCPUs").float() / 1e9, part.at("MemoryBytes").float());
        let pids = part.at("Pids").int();
        if cpus <= 0.0 && memory <= 0.0 && pids <= 0 {
            continue;
        }
        out.push_str(&format!("\n {heading}:"));
        if cpus > 0.0 {
            out.push_str(&format!("\n  CPU:\t\t{cpus}"));
        }
        if memory > 0.0 {
            out.push_str(&format!("\n  Memory:\t{}", units::binary_size(memory)));
        }
        if pids > 0 {
            out.push_str(&format!("\n  PIDs:\t\t{pids}"));
        }
    }
}

fn health(out: &mut String, health: &Value) {
    if !matches!(health, Value::Map(_)) {
        return;
    }
    let time = |key: &str| units::go_duration(health.at(key).int());
    // Writing to a text cannot fail.
    let _infallible = write!(
        out,
        "\n Healthcheck:\n  Interval = {}\n  Retries = {}\n  StartPeriod =\t{}\n  Timeout =\t{}",
        time("Interval"),
        health.at("Retries").int(),
        time("StartPeriod"),
        time("Timeout")
    );
    let test = health.at("Test").texts();
    if !test.is_empty() {
        out.push_str("\n  Tests:");
        test.iter().for_each(|word| out.push_str(&format!("\n\t Test = {word}")));
        out.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_described_as_docker_does() {
        let service: Value = serde_json::from_str(
            r#"{"ID":"abc","Spec":{"Name":"web","Labels":{"b":"","a":"1"},
                "Mode":{"Replicated":{"Replicas":5}},
                "UpdateConfig":{"Parallelism":2,"Delay":90000000000,"FailureAction":"pause","Monitor":5000000000,
                                "MaxFailureRatio":0.5,"Order":"stop-first"},
                "TaskTemplate":{"ContainerSpec":{"Image":"redis:7","Args":["a","b"],"Init":false,"User":"u",
                    "Mounts":[{"Type":"volume","Source":"v","Target":"/v"}],
                    "Secrets":[{"SecretName":"s","File":{"Name":"t"}}]},
                  "Resources":{"Limits":{"NanoCPUs":500000000,"MemoryBytes":67108864}},
                  "Placement":{"Constraints":["node.role==worker"]}},
                "EndpointSpec":{"Mode":"vip"}},
                "UpdateStatus":{"State":"completed","StartedAt":"1970-01-01T00:00:10Z",
                  "CompletedAt":"1970-01-01T00:00:20Z","Message":"update completed"},
                "Endpoint":{"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"}]}}"#,
        )
        .unwrap();
        expect_test::expect_file!["testdata/pretty.txt"].assert_eq(&text(
            &service,
            &["net".to_owned()],
            30,
        ));
    }
}

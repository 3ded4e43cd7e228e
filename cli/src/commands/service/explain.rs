//! `service explain`: why tasks are not where they should be; and the same in a few words for `service ps`.

use std::collections::BTreeMap;

use super::at;
use crate::args::Args;
use crate::client::{Client, Request};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;
use shoal_gotemplate::value::Value;

pub(super) async fn explain(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let json = match args.text("format") {
        "" => false,
        "json" => true,
        other => return Err(format!("--format must be json, not `{other}`").into()),
    };
    let mut errors = Vec::new();
    for name in &args.rest {
        match client.value(request(name)).await {
            Ok(report) if json => sys::line(report.json(false)),
            Ok(report) => sys::out(text(&report)),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Failure::new(errors.join("\n"))) }
}

fn request(name: &str) -> Request {
    Request::get(format!("/shoal{}/explain", at(name)))
}

/// Reasons of a service's tasks by their ids. None where the daemon is not Shoal's.
pub(super) async fn reasons(client: &Client, service: &str) -> Result<BTreeMap<String, String>> {
    match client.value(request(service)).await {
        Ok(report) => {
            let findings = report.at("Findings").list().iter();
            let pair = |finding: &Value| {
                (finding.at("TaskID").text().to_owned(), finding.at("Reason").text().to_owned())
            };
            Ok(findings.map(pair).collect())
        }
        // dockerd has no such path; a service that was removed meanwhile has no reasons.
        Err(error) if error.status() == 404 => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

/// A report for people. Pure.
fn text(report: &Value) -> String {
    let findings = report.at("Findings").list();
    let settled = report.at("Settled").int();
    let are = |count: i64| if count == 1 { "task is" } else { "tasks are" };
    let mut text =
        format!("{}: {settled} {} where they should be", report.at("Service").text(), are(settled));
    if settled == 1 {
        text = text.replace("where they should be", "where it should be");
    }
    match findings.len() {
        0 => text.push_str(".\n"),
        1 => text.push_str(", 1 is not.\n"),
        count => text.push_str(&format!(", {count} are not.\n")),
    }
    for (what, key) in
        [("endpoint", "EndpointError"), ("placement", "Placement"), ("update", "Update")]
    {
        if !report.at(key).text().is_empty() {
            text.push_str(&format!("{what}: {}\n", report.at(key).text()));
        }
    }
    findings.iter().for_each(|finding| text.push_str(&told(finding)));
    text
}

/// One task that is not where it should be. Pure.
fn told(finding: &Value) -> String {
    let said = |key: &str| finding.at(key).text();
    let node = match said("Node") {
        "" => String::new(),
        node => format!(" on {node}"),
    };
    let mut text = format!(
        "{} ({}): {} instead of {}{node} for {}: {}\n",
        said("Name"),
        said("TaskID"),
        said("State"),
        said("DesiredState"),
        seconds(finding.at("Seconds").int()),
        said("Reason"),
    );
    for verdict in finding.at("Verdict").list() {
        let nodes = verdict.at("Nodes").int();
        let nodes = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
        text.push_str(&format!("    {}: {nodes} turned away\n", verdict.at("Filter").text()));
    }
    for advice in finding.at("Advice").texts() {
        text.push_str(&format!("    try: {advice}\n"));
    }
    text
}

fn seconds(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_told_task_by_task() {
        let report: Value = serde_json::from_str(
            r#"{"Service":"web","EndpointError":"","Placement":"no node has a `node.rol`, did you mean `node.role`?","Update":"update paused due to failure of task x","Settled":1,
            "Findings":[
              {"TaskID":"t2","Name":"web.2","State":"pending","DesiredState":"running","Seconds":60,"Node":"",
               "Reason":"no suitable node (insufficient resources on 2 nodes)",
               "Verdict":[{"Filter":"resources","Nodes":2},{"Filter":"constraints","Nodes":1}],
               "Advice":["reserve less, end other tasks, or add nodes"]},
              {"TaskID":"t3","Name":"web.3","State":"ready","DesiredState":"running","Seconds":7300,"Node":"n1",
               "Reason":"ready, waits for its start","Verdict":[],"Advice":[]}]}"#,
        )
        .unwrap();
        expect_test::expect![[r#"
            web: 1 task is where it should be, 2 are not.
            placement: no node has a `node.rol`, did you mean `node.role`?
            update: update paused due to failure of task x
            web.2 (t2): pending instead of running for 60 s: no suitable node (insufficient resources on 2 nodes)
                resources: 2 nodes turned away
                constraints: 1 node turned away
                try: reserve less, end other tasks, or add nodes
            web.3 (t3): ready instead of running on n1 for 2 h: ready, waits for its start
        "#]]
        .assert_eq(&text(&report));
        let well = r#"{"Service":"web","Settled":3,"Findings":[]}"#;
        assert_eq!(
            text(&serde_json::from_str(well).unwrap()),
            "web: 3 tasks are where they should be.\n"
        );
    }
}

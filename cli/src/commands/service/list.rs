//! `service ls`.

use super::super::cluster::shown_image;
use super::super::format::{Listing, Row, filters};
use crate::args::Args;
use crate::client::Request;
use crate::context::Context;
use crate::error::Result;
use crate::table::{natural, short_id};
use shoal_gotemplate::value::Value;

pub(crate) const LISTING: Listing<'static> = Listing {
    table: "{{.ID}}\t{{.Name}}\t{{.Mode}}\t{{.Replicas}}\t{{.Image}}\t{{.Ports}}",
    quiet: "{{.ID}}",
    headers: &[
        ("ID", "ID"),
        ("Name", "NAME"),
        ("Mode", "MODE"),
        ("Replicas", "REPLICAS"),
        ("Image", "IMAGE"),
        ("Ports", "PORTS"),
    ],
};

pub(super) async fn ls(context: &mut Context, args: &Args) -> Result {
    let request = Request::get("/services")
        .maybe("filters", &filters(args.all("filter")))
        .query("status", "true");
    let services = context.client()?.value(request).await?;
    let rows = sorted(&services).into_iter().map(row).collect();
    LISTING.print(context, "servicesFormat", args.text("format"), args.on("quiet"), rows)
}

/// Services in the order of their names.
pub(crate) fn sorted(services: &Value) -> Vec<&Value> {
    let mut all: Vec<&Value> = services.list().iter().collect();
    all.sort_by(|one, other| natural(one.path("Spec.Name").text(), other.path("Spec.Name").text()));
    all
}

/// The columns of a service.
pub(crate) fn row(service: &Value) -> Row {
    Row::default()
        .put("ID", short_id(service.at("ID").text()))
        .put("Name", service.path("Spec.Name").text())
        .put("Mode", mode(service))
        .put("Replicas", replicas(service))
        .put("Image", shown_image(service.path("Spec.TaskTemplate.ContainerSpec.Image").text()))
        .put("Ports", ports(service.path("Endpoint.Ports")))
}

/// The mode of a service, whose specification has one member for each.
fn mode(service: &Value) -> &'static str {
    let modes = [
        ("Global", "global"),
        ("Replicated", "replicated"),
        ("ReplicatedJob", "replicated job"),
        ("GlobalJob", "global job"),
    ];
    let mode = service.path("Spec.Mode");
    let found = modes.iter().find(|(key, _)| matches!(mode.at(key), Value::Map(_)));
    found.map_or("", |(_, name)| name)
}

fn replicas(service: &Value) -> String {
    let count = |key: &str| service.at("ServiceStatus").at(key).int();
    let (running, desired, completed) =
        (count("RunningTasks"), count("DesiredTasks"), count("CompletedTasks"));
    let most = service.path("Spec.TaskTemplate.Placement.MaxReplicas").int();
    match mode(service) {
        "replicated job" => {
            let total = service.path("Spec.Mode.ReplicatedJob.TotalCompletions").int();
            format!("{running}/{desired} ({completed}/{total} completed)")
        }
        "global job" => {
            format!("{running}/{desired} ({completed}/{} completed)", desired + completed)
        }
        "replicated" if most > 0 => format!("{running}/{desired} (max {most} per node)"),
        _ => format!("{running}/{desired}"),
    }
}

/// Published ports of the routing mesh, neighbours joined to ranges: `*:80-81->80-81/tcp`.
fn ports(ports: &Value) -> String {
    struct Range<'a> {
        protocol: &'a str,
        published: (i64, i64),
        target: (i64, i64),
    }
    let mut all: Vec<&Value> =
        ports.list().iter().filter(|port| port.at("PublishMode").text() == "ingress").collect();
    all.sort_by_key(|port| (port.at("Protocol").text(), port.at("PublishedPort").int()));
    let mut ranges: Vec<Range<'_>> = Vec::new();
    for port in all {
        let protocol = port.at("Protocol").text();
        let (published, target) = (port.at("PublishedPort").int(), port.at("TargetPort").int());
        if let Some(last) = ranges.last_mut() {
            let next = |range: (i64, i64), port: i64| (0..=1).contains(&(port - range.1));
            let grows = last.target.0 != last.target.1;
            let overlaps = grows && target <= last.target.1;
            if last.protocol == protocol
                && next(last.published, published)
                && next(last.target, target)
                && !overlaps
            {
                (last.published.1, last.target.1) = (published, target);
                continue;
            }
        }
        let (published, target) = ((published, published), (target, target));
        ranges.push(Range { protocol, published, target });
    }
    let text =
        |(from, to): (i64, i64)| if to > from { format!("{from}-{to}") } else { from.to_string() };
    let shown = ranges.iter().filter(|range| range.published.0 > 0).map(|range| {
        format!("*:{}->{}/{}", text(range.published), text(range.target), range.protocol)
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_dockers() {
        let services: Value = serde_json::from_str(
            r#"[{"ID":"0123456789abcdefghijklmno","Spec":{"Name":"web10","Mode":{"Replicated":{"Replicas":3}},
                 "TaskTemplate":{"ContainerSpec":{"Image":"nginx:1@sha256:0000000000000000000000000000000000000000000000000000000000000000"},
                 "Placement":{"MaxReplicas":2}}},"ServiceStatus":{"RunningTasks":2,"DesiredTasks":3,"CompletedTasks":0},
                 "Endpoint":{"Ports":[{"Protocol":"tcp","TargetPort":80,"PublishedPort":8080,"PublishMode":"ingress"},
                 {"Protocol":"tcp","TargetPort":81,"PublishedPort":8081,"PublishMode":"ingress"},
                 {"Protocol":"udp","TargetPort":53,"PublishedPort":53,"PublishMode":"host"}]}},
                {"ID":"b","Spec":{"Name":"web9","Mode":{"Global":{}},"TaskTemplate":{"ContainerSpec":{"Image":"x"}}},
                 "Endpoint":{}},
                {"ID":"c","Spec":{"Name":"job","Mode":{"ReplicatedJob":{"TotalCompletions":5}},
                 "TaskTemplate":{"ContainerSpec":{"Image":"x"}}},"ServiceStatus":{"RunningTasks":1,"DesiredTasks":2,"CompletedTasks":3}}]"#,
        )
        .unwrap();
        let rows = sorted(&services).into_iter().map(row).collect();
        expect_test::expect![[r#"
            ID             NAME      MODE             REPLICAS               IMAGE     PORTS
            c              job       replicated job   1/2 (3/5 completed)    x         
            b              web9      global           0/0                    x         
            0123456789ab   web10     replicated       2/3 (max 2 per node)   nginx:1   *:8080-8081->80-81/tcp
        "#]]
        .assert_eq(&LISTING.render("", false, rows).unwrap());
    }

    #[test]
    fn several_ports_to_one_target_are_a_range_of_their_own() {
        let port = |published: u16, target: u16| {
            format!(
                r#"{{"Protocol":"tcp","TargetPort":{target},"PublishedPort":{published},"PublishMode":"ingress"}}"#
            )
        };
        let shown = |all: &[(u16, u16)]| {
            let list: Vec<String> = all.iter().map(|(p, t)| port(*p, *t)).collect();
            ports(&serde_json::from_str(&format!("[{}]", list.join(","))).unwrap())
        };
        assert_eq!(shown(&[(80, 80), (81, 80)]), "*:80-81->80/tcp");
        assert_eq!(shown(&[(80, 80), (81, 81), (82, 80)]), "*:80-81->80-81/tcp, *:82->80/tcp");
    }
}

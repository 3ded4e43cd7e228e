//! `service revisions`: the specifications that a service had.

use super::super::cluster::shown_image;
use super::super::format::{Listing, Row};
use super::at;
use crate::args::Args;
use crate::client::Request;
use crate::context::Context;
use crate::error::Result;
use crate::units;
use shoal_gotemplate::value::Value;

const LISTING: Listing<'static> = Listing {
    table: "{{.Revision}}\t{{.Since}}\t{{.Image}}\t{{.Replicas}}\t{{.Command}}",
    quiet: "{{.Revision}}",
    headers: &[
        ("Revision", "REVISION"),
        ("Since", "SINCE"),
        ("Image", "IMAGE"),
        ("Replicas", "REPLICAS"),
        ("Command", "COMMAND"),
        ("Present", "PRESENT"),
    ],
};

pub(super) async fn revisions(context: &mut Context, args: &Args) -> Result {
    let request = Request::get(format!("/shoal{}/revisions", at(args.arg(0))));
    let found = context.client()?.value(request).await?;
    let now = units::seconds(crate::sys::now_nanos());
    // In the usual table a star marks the present one.
    let marked = args.text("format").is_empty() && !args.on("quiet");
    let rows = found.list().iter().map(|revision| row(revision, now, marked)).collect();
    LISTING.print(context, "revisionsFormat", args.text("format"), args.on("quiet"), rows)
}

fn row(revision: &Value, now: i64, marked: bool) -> Row {
    let spec = revision.at("Spec");
    let container = spec.path("TaskTemplate.ContainerSpec");
    let number = revision.at("Number").int();
    let present = revision.at("Present").is_true();
    let since = units::parse_time(revision.at("Since").text()).map_or(0, units::seconds);
    let command: Vec<_> =
        ["Command", "Args"].iter().flat_map(|key| container.at(key).texts()).collect();
    Row::default()
        .put("Revision", if marked && present { format!("{number} *") } else { number.to_string() })
        .put("Present", Value::Bool(present))
        .put("Since", units::ago(now, since).to_lowercase())
        .put("Image", shown_image(container.at("Image").text()))
        .put("Replicas", replicas(spec.at("Mode")))
        .put("Command", command.join(" "))
}

/// How many tasks, or where.
fn replicas(mode: &Value) -> String {
    for (name, key) in [("Replicated", "Replicas"), ("ReplicatedJob", "TotalCompletions")] {
        if let Some(of_mode) = mode.find(name) {
            return of_mode.at(key).int().to_string();
        }
    }
    "global".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_one_is_marked() {
        let found: Value = serde_json::from_str(
            r#"[{"Number":3,"Present":true,"Since":"2026-01-01T00:00:30Z","Spec":{"Mode":{"Replicated":{"Replicas":2}},
                 "TaskTemplate":{"ContainerSpec":{"Image":"x:2","Args":["sleep","9"]}}}},
                {"Number":2,"Present":false,"Since":"2026-01-01T00:00:00Z","Spec":{"Mode":{"Global":{}},
                 "TaskTemplate":{"ContainerSpec":{"Image":"x:1"}}}}]"#,
        )
        .unwrap();
        let now = units::seconds(units::parse_time("2026-01-01T00:01:00Z").unwrap());
        let rows = |marked| found.list().iter().map(|one| row(one, now, marked)).collect();
        expect_test::expect![[r#"
            REVISION   SINCE                IMAGE     REPLICAS   COMMAND
            3 *        30 seconds ago       x:2       2          sleep 9
            2          about a minute ago   x:1       global     
        "#]]
        .assert_eq(&LISTING.render("", false, rows(true)).unwrap());
        assert_eq!(LISTING.render("{{.Revision}}", false, rows(false)).unwrap(), "3\n2\n");
    }
}

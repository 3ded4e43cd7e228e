//! `container prune` and `system prune`.

use super::format::filters;
use super::objects::{confirm, deleted, reclaimed};
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, action, flag, short};
use crate::client::{Client, Request};
use crate::context::Context;
use crate::error::Result;
use crate::sys;
use shoal_gotemplate::value::Value;

const CONTAINERS: &[Flag] = &[
    flag("filter", FILTER, "Remove what fits a condition (until=timestamp)"),
    short('f', "force", BOOL, "Do not ask"),
];
const SYSTEM: &[Flag] = &[
    short('a', "all", BOOL, "Remove all unused images, not only those without a name"),
    flag("filter", FILTER, "Remove what fits a condition (label=key)"),
    short('f', "force", BOOL, "Do not ask"),
    flag("volumes", BOOL, "Remove anonymous volumes too"),
];

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["container prune"],
        "[OPTIONS]",
        "Remove all stopped containers",
        Count::None,
        &[CONTAINERS],
        action!(containers),
    ),
    Command::new(
        &["system prune"],
        "[OPTIONS]",
        "Remove what is not used",
        Count::None,
        &[SYSTEM],
        action!(system),
    ),
];

async fn run(client: &Client, what: &str, given: &[String]) -> Result<Value> {
    let request = Request::post(format!("/{what}/prune")).maybe("filters", &filters(given));
    Ok(client.value(request).await?)
}

async fn containers(context: &mut Context, args: &Args) -> Result {
    if !args.on("force") {
        confirm(
            "WARNING! This will remove all stopped containers.\n\
             Are you sure you want to continue?",
        )?;
    }
    let report = run(context.client()?, "containers", args.all("filter")).await?;
    let text = deleted("Deleted Containers", report.at("ContainersDeleted").texts());
    if !text.is_empty() {
        sys::line(text);
    }
    reclaimed(report.at("SpaceReclaimed").float());
    Ok(())
}

fn warning(all: bool, volumes: bool, given: &[String]) -> String {
    let mut lines =
        vec!["all stopped containers", "all networks not used by at least one container"];
    if volumes {
        lines.push("all anonymous volumes not used by at least one container");
    }
    lines.extend(if all {
        ["all images without at least one container associated to them", "all build cache"]
    } else {
        ["all dangling images", "unused build cache"]
    });
    let mut text = "WARNING! This will remove:\n".to_owned();
    lines.iter().for_each(|line| text.push_str(&format!("  - {line}\n")));
    if !given.is_empty() {
        let mut given: Vec<&String> = given.iter().collect();
        given.sort_unstable();
        text.push_str("\n  Items to be pruned will be filtered with:\n");
        given.iter().for_each(|filter| text.push_str(&format!("  - {filter}\n")));
    }
    text + "\nAre you sure you want to continue?"
}

async fn system(context: &mut Context, args: &Args) -> Result {
    let given = args.all("filter");
    let volumes = args.on("volumes");
    if volumes && given.iter().any(|filter| filter.starts_with("until=")) {
        return Err(r#"ERROR: The "until" filter is not supported with "--volumes""#.into());
    }
    if !args.on("force") {
        confirm(&warning(args.on("all"), volumes, given))?;
    }
    let client = context.client()?;
    let mut total = 0.0;
    let mut show = |text: String, report: &Value| {
        total += report.at("SpaceReclaimed").float();
        if !text.is_empty() {
            sys::line(text);
        }
    };
    let report = run(client, "containers", given).await?;
    show(deleted("Deleted Containers", report.at("ContainersDeleted").texts()), &report);
    let report = run(client, "networks", given).await?;
    show(deleted("Deleted Networks", report.at("NetworksDeleted").texts()), &report);
    if volumes {
        let report = run(client, "volumes", given).await?;
        show(deleted("Deleted Volumes", report.at("VolumesDeleted").texts()), &report);
    }
    let mut images = given.to_vec();
    images.push(format!("dangling={}", !args.on("all")));
    let report = run(client, "images", &images).await?;
    show(deleted("Deleted Images", report.at("ImagesDeleted").list().iter().map(image)), &report);
    let request = Request::post("/build/prune")
        .switch("all", args.on("all"))
        .maybe("filters", &filters(given));
    let report = client.value(request).await?;
    show(deleted("Deleted build cache objects", report.at("CachesDeleted").texts()), &report);
    reclaimed(total);
    Ok(())
}

fn image(item: &Value) -> String {
    match item.at("Untagged").text() {
        "" => format!("deleted: {}", item.at("Deleted").text()),
        name => format!("untagged: {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_names_all_that_goes() {
        expect_test::expect![[r#"
            WARNING! This will remove:
              - all stopped containers
              - all networks not used by at least one container
              - all anonymous volumes not used by at least one container
              - all images without at least one container associated to them
              - all build cache

              Items to be pruned will be filtered with:
              - label=x

            Are you sure you want to continue?"#]]
        .assert_eq(&warning(true, true, &["label=x".to_owned()]));
        assert!(
            warning(false, false, &[])
                .ends_with("images\n  - unused build cache\n\nAre you sure you want to continue?")
        );
    }
}

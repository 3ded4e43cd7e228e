//! `service`.

mod change;
mod converge;
mod explain;
mod list;
mod logs;
mod pretty;
mod revisions;
mod tasks;

pub(super) use converge::wait;
pub(super) use list::{LISTING as SERVICES, row as service_row, sorted as sorted_services};
pub(super) use tasks::print as print_tasks;

use super::cluster;
use super::container::each;
use crate::args::{Args, BOOL, Command, Count, FILTER, Flag, STR, UINT, action, flag, short};
use crate::client::{Request, url::segment};
use crate::context::Context;
use crate::error::Result;
use crate::opts::flags as shared;
use crate::opts::service::flags;

const LS: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (mode=global)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    short('q', "quiet", BOOL, "Show ids only"),
];
const PS: &[Flag] = &[
    short('f', "filter", FILTER, "Show what fits a condition (desired-state=running)"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    flag("no-resolve", BOOL, "Show ids instead of names"),
    flag("no-trunc", BOOL, "Do not shorten"),
    short('q', "quiet", BOOL, "Show ids only"),
];
const INSPECT: &[Flag] = &[
    short('f', "format", STR, "json, or a template"),
    flag("pretty", BOOL, "Show what matters, for people"),
];
const LOGS: &[Flag] = &[
    flag("details", BOOL, "Show labels and variables that the logging driver adds"),
    short('f', "follow", BOOL, "Go on with new lines"),
    flag("no-resolve", BOOL, "Show ids instead of names"),
    flag("no-task-ids", BOOL, "Leave ids of tasks out"),
    flag("no-trunc", BOOL, "Do not shorten"),
    flag("raw", BOOL, "Show lines as they are"),
    flag("since", STR, "Show lines since a time (2013-01-02T13:23:37Z) or duration (42m)"),
    short('n', "tail", STR, "Show so many last lines, or all").or("all"),
    short('t', "timestamps", BOOL, "Show when each line was written"),
];
const DETACH: Flag = short('d', "detach", BOOL, "Do not wait until the service has converged");
const SCALE: &[Flag] = &[DETACH];
const ROLLBACK: &[Flag] = &[
    DETACH,
    short('q', "quiet", BOOL, "Show no progress"),
    flag("to", UINT, "Go back to this revision (see service revisions)"),
];
const EXPLAIN: &[Flag] = &[short('f', "format", STR, "json, or nothing for words")];
const REVISIONS: &[Flag] = &[
    flag("format", STR, "table, json, or a template, on the table's columns"),
    short('q', "quiet", BOOL, "Show numbers only"),
];
const MANY: Count = Count::AtLeast(1);

pub(super) const COMMANDS: &[Command] = &[
    Command::new(
        &["service create"],
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Create a service",
        MANY,
        &[shared::SHARED, shared::SHARED_AT_FIRST, flags::COMMON, flags::CREATE],
        action!(change::create),
    )
    .passes_the_rest()
    .examples("shoal service create --name web --replicas 3 -p 8080:80 nginx"),
    Command::new(
        &["service explain"],
        "[OPTIONS] SERVICE [SERVICE...]",
        "Say why tasks are not where they should be, since when, and what would help",
        MANY,
        &[EXPLAIN],
        action!(explain::explain),
    ),
    Command::new(
        &["service inspect"],
        "[OPTIONS] SERVICE [SERVICE...]",
        "Show all that is known about services",
        MANY,
        &[INSPECT],
        action!(inspect),
    ),
    Command::new(
        &["service logs"],
        "[OPTIONS] SERVICE|TASK",
        "Show the output of a service or task",
        Count::Exactly(1),
        &[LOGS],
        action!(logs::logs),
    ),
    Command::new(
        &["service ls", "service list"],
        "[OPTIONS]",
        "List services",
        Count::None,
        &[LS],
        action!(list::ls),
    ),
    Command::new(
        &["service ps"],
        "[OPTIONS] SERVICE [SERVICE...]",
        "List the tasks of services",
        MANY,
        &[PS],
        action!(tasks::ps),
    ),
    Command::new(
        &["service revisions"],
        "[OPTIONS] SERVICE",
        "List the specifications that a service had, the present one first",
        Count::Exactly(1),
        &[REVISIONS],
        action!(revisions::revisions),
    ),
    Command::new(
        &["service rm", "service remove"],
        "SERVICE [SERVICE...]",
        "Remove one or more services",
        MANY,
        &[],
        action!(rm),
    ),
    Command::new(
        &["service rollback"],
        "[OPTIONS] SERVICE",
        "Go back to the previous specification of a service, or to an earlier one",
        Count::Exactly(1),
        &[ROLLBACK],
        action!(change::rollback),
    )
    .examples("shoal service rollback --to 3 web    # as it was at revision 3"),
    Command::new(
        &["service scale"],
        "[OPTIONS] SERVICE=REPLICAS [SERVICE=REPLICAS...]",
        "Change the number of tasks of services",
        MANY,
        &[SCALE],
        action!(change::scale),
    ),
    Command::new(
        &["service update"],
        "[OPTIONS] SERVICE",
        "Change a service",
        Count::Exactly(1),
        &[shared::SHARED, flags::COMMON, flags::UPDATE],
        action!(change::update),
    ),
];

pub(super) fn at(name: &str) -> String {
    format!("/services/{}", segment(name))
}

async fn rm(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    each(&args.rest, async |name: &str| Ok(client.done(Request::delete(at(name))).await?)).await
}

async fn inspect(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let request = |name: &str| Request::get(at(name)).query("insertDefaults", "true");
    if !args.on("pretty") {
        return cluster::inspect(client, args.text("format"), &args.rest, "service", request).await;
    }
    if args.given("format") {
        return Err("--format is incompatible with human friendly format".into());
    }
    pretty::print(client, &args.rest, request).await
}

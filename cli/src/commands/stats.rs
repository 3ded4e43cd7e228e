//! `stats`.

use std::collections::BTreeMap;
use std::time::Duration;

use super::format::{Listing, Row};
use super::reach;
use crate::args::{Args, BOOL, Command, Count, Flag, STR, action, flag, short};
use crate::client::{Client, Request};
use crate::context::Context;
use crate::error::{Failure, Result};
use crate::sys;
use crate::table::short_id;
use crate::units::{binary_size, human_size_3};
use shoal_gotemplate::value::Value;

const FLAGS: &[Flag] = &[
    short('a', "all", BOOL, "Show all containers, not only running ones"),
    flag("format", STR, "table, json, or a template, on the table's columns"),
    flag("no-stream", BOOL, "Show one sample and end"),
    flag("no-trunc", BOOL, "Do not shorten"),
];

pub(super) const COMMANDS: &[Command] = &[Command::new(
    &["container stats", "stats"],
    "[OPTIONS] [CONTAINER|TASK...]",
    "Show what containers use",
    Count::AtLeast(0),
    &[FLAGS],
    action!(stats),
)];

const LISTING: Listing<'_> = Listing {
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
    headers: &[
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("ID", "CONTAINER ID"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
};

async fn stats(context: &mut Context, args: &Args) -> Result {
    let client = context.client()?;
    let full = args.on("no-trunc");
    let once = args.on("no-stream");
    let format = match args.text("format") {
        "" => context.setting("statsFormat").unwrap_or_default(),
        text => text,
    };
    let mut before = BTreeMap::new();
    let bases = args.rest.iter().map(|name| reach::base(client, name));
    let bases = futures_util::future::join_all(bases).await;
    let given: Vec<_> = args.rest.iter().cloned().zip(bases).collect();
    loop {
        let wanted = match given.as_slice() {
            [] => running(client, args.on("all")).await?,
            given => given.to_vec(),
        };
        let mut rows = Vec::new();
        let mut errors = Vec::new();
        let samples = wanted.iter().map(|(_, base)| sample(client, base, once));
        for ((name, _), read) in wanted.iter().zip(futures_util::future::join_all(samples).await) {
            match read {
                Ok(sample) => {
                    let id = sample.at("id").text().to_owned();
                    let last = before.get(&id).unwrap_or_else(|| sample.at("precpu_stats"));
                    rows.push(row(name, &sample, last, full));
                    before.insert(id, sample.at("cpu_stats").clone());
                }
                Err(failure) => errors.push(failure.message),
            }
        }
        if !errors.is_empty() && (once || rows.is_empty() || !args.rest.is_empty()) {
            return Err(Failure::new(errors.join("\n")));
        }
        let text = LISTING.render(format, false, rows).map_err(Failure::new)?;
        if once {
            sys::out(text);
            return Ok(());
        }
        // Cursor to the corner, each line cleared behind its end, the rest of the screen cleared.
        sys::out(format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")));
        sys::sleep(Duration::from_millis(500)).await;
    }
}

/// Names and paths of the containers of this host.
async fn running(client: &Client, all: bool) -> Result<Vec<(String, String)>> {
    let list = client.value(Request::get("/containers/json").switch("all", all)).await?;
    let ids = list.list().iter().map(|container| container.at("Id").text());
    Ok(ids.map(|id| (id.to_owned(), reach::container(id))).collect())
}

async fn sample(client: &Client, base: &str, wait: bool) -> Result<Value> {
    // Without `one-shot` the daemon waits for a second sample, from which it computes the use of the CPUs.
    let request =
        Request::get(format!("{base}/stats")).query("stream", "0").switch("one-shot", !wait);
    Ok(client.value(request).await?)
}

fn cpu(now: &Value, last: &Value) -> f64 {
    let used = |value: &Value| value.path("cpu_usage.total_usage").float();
    let delta = used(now) - used(last);
    let system = now.at("system_cpu_usage").float() - last.at("system_cpu_usage").float();
    let online = now.at("online_cpus").float();
    if system > 0.0 && delta > 0.0 { delta / system * online * 100.0 } else { 0.0 }
}

/// Memory in use without what the page cache can give back.
fn memory(stats: &Value) -> f64 {
    let usage = stats.at("usage").float();
    let inactive = ["total_inactive_file", "inactive_file"]
        .iter()
        .find_map(|key| stats.at("stats").find(key))
        .map_or(0.0, Value::float);
    if inactive < usage { usage - inactive } else { usage }
}

fn row(asked: &str, sample: &Value, last: &Value, full: bool) -> Row {
    let id = sample.at("id").text();
    let name = sample.at("name").text().trim_start_matches('/');
    let base = Row::default()
        .put("Container", asked)
        .put("Name", if name.is_empty() { "--" } else { name })
        .put("ID", if full { id.to_owned() } else { short_id(id) });
    let limit = sample.path("memory_stats.limit").float();
    let used = memory(sample.at("memory_stats"));
    let percent = if limit > 0.0 { used / limit * 100.0 } else { 0.0 };
    let (mut received, mut sent) = (0.0, 0.0);
    for (_, network) in sample.at("networks").fields() {
        received += network.at("rx_bytes").float();
        sent += network.at("tx_bytes").float();
    }
    let block = |wanted: &str| {
        let all = sample.path("blkio_stats.io_service_bytes_recursive").list();
        let of_kind = all.iter().filter(|entry| entry.at("op").text().eq_ignore_ascii_case(wanted));
        human_size_3(of_kind.map(|entry| entry.at("value").float()).sum())
    };
    base.put("CPUPerc", format!("{:.2}%", cpu(sample.at("cpu_stats"), last)))
        .put("MemUsage", format!("{} / {}", binary_size(used), binary_size(limit)))
        .put("MemPerc", format!("{percent:.2}%"))
        .put("NetIO", format!("{} / {}", human_size_3(received), human_size_3(sent)))
        .put("BlockIO", format!("{} / {}", block("read"), block("write")))
        .put("PIDs", sample.path("pids_stats.current").int().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_row() {
        let sample: Value = serde_json::from_str(
            r#"{"id":"0123456789abcdef","name":"/web","pids_stats":{"current":3},
            "cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
            "memory_stats":{"usage":3072,"limit":4096,"stats":{"total_inactive_file":1024}},
            "networks":{"eth0":{"rx_bytes":1000,"tx_bytes":20}},
            "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":5},{"op":"write","value":6}]}}"#,
        )
        .unwrap();
        let row = row("web", &sample, sample.at("precpu_stats"), false);
        assert_eq!(
            LISTING.render("", false, vec![row]).unwrap(),
            "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O     BLOCK I/O   PIDS\n\
             0123456789ab   web       40.00%    2KiB / 4KiB         50.00%    1kB / 20B   5B / 6B     3\n"
        );
    }
}

//! The budgets of one host: Shoal's figures, and Docker's in the same run where its daemon was unpacked.
//!
//! Run by `cargo xtask bench host`, which unpacks Debian's dockerd (20.10). The other figures of Docker are those of 29.7 on
//! a quiet machine of the same kind.

mod measure;

use anyhow::{Context, ensure};
use serde_json::Value;
use shoal_chaos_tests::host::{self, Host};
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::image;
use shoal_report::{Row, Sheet, floor};

use measure::{Amount, Figures, measure};

/// The release that the column is named after.
const DOCKER: &str = "20.10";

fn main() -> anyhow::Result<()> {
    let shoal = of_host(Host::start(&["--log-level", "warn"])?, &Amount::MANY)?;
    // Whatever happens there, what was measured is told.
    let docker = host::dockerd().map(of_docker).transpose();
    let mut sheet = Sheet::begin()?;
    for row in rows(&shoal, docker.as_ref().ok().and_then(Option::as_ref)) {
        sheet.add(row)?;
    }
    let floor = floor()?;
    let how =
        "`unshare` with new namespaces of all kinds but users, and one exec; the minimum of 50";
    sheet.add(Row::told("the least a container can cost here", "ms", &[floor]).how(how))?;
    sheet.finish();
    docker.context("Docker's daemon was not measured").map(drop)
}

/// Measures a daemon, and ends it.
fn of_host(host: Host, amount: &Amount) -> anyhow::Result<Figures> {
    let rootfs = host.path().join("rootfs.tar");
    image::busybox_rootfs(&rootfs)?;
    host.docker(&["import", &rootfs.display().to_string(), "busybox:latest"])?;
    let figures = measure(&host, amount)?;
    host.finish()?;
    Ok(figures)
}

/// Measures Docker's daemon, and ends it.
fn of_docker(directories: Vec<std::path::PathBuf>) -> anyhow::Result<Figures> {
    let host = Host::start_dockerd(directories)?;
    let answer = Connection::open(&host.socket())?.call("GET", "/version", b"")?;
    let answer: Value = serde_json::from_slice(&answer)?;
    let version = answer["Version"].as_str().context("no Version")?;
    ensure!(version.starts_with(DOCKER), "Docker's daemon is {version}, not {DOCKER}");
    of_host(host, &Amount::FEW)
}

/// A row: name of the budget in the design, words, unit, budget, Docker 29.7, the figures of a daemon, how measured.
type Plan = (
    Option<&'static str>,
    &'static str,
    &'static str,
    f64,
    f64,
    fn(&Figures) -> &Vec<f64>,
    &'static str,
);

/// Budgets are those of DESIGN section 8.
const PLAN: [Plan; 14] = [
    (
        Some("create-start"),
        "create + start over the API",
        "ms",
        14.0,
        170.0,
        |figures| &figures.starts,
        "in turn, one connection",
    ),
    (
        Some("exec"),
        "exec of `true`, attached",
        "ms",
        6.0,
        70.0,
        |figures| &figures.execs,
        "create and start to end of stream",
    ),
    (
        Some("remove"),
        "remove an exited container",
        "ms",
        5.0,
        35.0,
        |figures| &figures.removes,
        "directly after `wait`",
    ),
    (
        Some("run-shoal"),
        "`shoal run --rm busybox true`",
        "ms",
        28.0,
        341.0,
        |figures| &figures.shoal_runs,
        "whole processes",
    ),
    (
        Some("run-docker"),
        "`docker run --rm busybox true`",
        "ms",
        68.0,
        341.0,
        |figures| &figures.docker_runs,
        "whole processes",
    ),
    (
        Some("parallel"),
        "50 created and started in parallel",
        "s",
        0.45,
        5.6,
        |figures| &figures.parallel,
        "50 connections",
    ),
    (
        Some("memory-idle"),
        "daemon memory after an import (PSS)",
        "MB",
        20.0,
        126.0,
        |figures| &figures.idle,
        "directly after it; of Docker with containerd",
    ),
    (
        None,
        "daemon memory at rest (PSS)",
        "MB",
        20.0,
        126.0,
        |figures| &figures.idle_at_rest,
        "17 s later",
    ),
    (
        Some("memory-50"),
        "daemon memory with 50 containers (PSS)",
        "MB",
        24.0,
        154.0,
        |figures| &figures.busy,
        "directly after each round of 50",
    ),
    (
        None,
        "daemon memory with 50 containers at rest (PSS)",
        "MB",
        24.0,
        154.0,
        |figures| &figures.busy_at_rest,
        "17 s after the last round",
    ),
    (
        Some("memory-shim"),
        "memory of one shim of 50 (PSS)",
        "MB",
        0.3,
        4.5,
        |figures| &figures.shims,
        "mean of all",
    ),
    (
        Some("list"),
        "list of 50 containers over the API",
        "ms",
        3.0,
        117.0,
        |figures| &figures.lists,
        "kept-alive connections",
    ),
    (
        Some("load"),
        "load of a 200 MB image",
        "s",
        0.8,
        1.8,
        |figures| &figures.loads,
        "whole answer",
    ),
    (
        Some("save"),
        "save of a 200 MB image",
        "s",
        0.8,
        4.9,
        |figures| &figures.saves,
        "into a file",
    ),
];

fn rows(shoal: &Figures, docker: Option<&Figures>) -> Vec<Row> {
    let row = |(design, what, unit, budget, docker_29, figures, how): Plan| {
        let here = docker.map(|docker| Row::told(what, unit, figures(docker)).figure);
        let row = Row::at_most(what, unit, figures(shoal), budget);
        let row = row.docker(docker_29).docker_here(here).how(how);
        match design {
            Some(design) => row.design(design),
            None => row,
        }
    };
    PLAN.into_iter().map(row).collect()
}

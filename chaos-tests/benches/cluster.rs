//! The budgets of managers, measured from outside: three daemons in a lab, their API, kills.
//!
//! Run by `cargo xtask bench cluster`. `SHOAL_IDLE_SECONDS=600` makes the idle time without elections the long one,
//! `SHOAL_IDLE_THREADS=0` leaves the load to what else the machine does.

#![allow(clippy::print_stdout, reason = "a report for people")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde_json::json;
use shoal_chaos_tests::cluster::Cluster;
use shoal_chaos_tests::command::{eventually, monotonic};
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::memory::pss;
use shoal_chaos_tests::service_lab::call;
use shoal_report::{Row, Sheet, Sorted};

const CLIENTS: usize = 16;
const WRITING: Duration = Duration::from_secs(10);
/// Kills of a leader, and stops in good order.
const ROUNDS: usize = 20;
/// Nothing takes longer.
const LIMIT: Duration = Duration::from_secs(60);
/// Until a daemon has given back what its start took.
const SETTLED: Duration = Duration::from_secs(35);
const IDLE_SECONDS: u64 = 60;
/// The time that the budget of the design means.
const DESIGNED_IDLE_SECONDS: u64 = 600;

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let mut sheet = Sheet::begin()?;
    if runs("memory") {
        memory(&mut sheet)?;
    }
    let lab = Cluster::up("bcl", 3, 0)?;
    if runs("writes") {
        writes(&lab, &mut sheet)?;
    }
    if runs("handover") {
        hand_over(&lab, &mut sheet)?;
    }
    if runs("kills") {
        kills(&lab, &mut sheet)?;
    }
    if runs("idle") {
        idle(&lab, &mut sheet)?;
    }
    sheet.finish();
    Ok(())
}

/// A daemon that is the only manager of an empty cluster.
fn memory(sheet: &mut Sheet) -> anyhow::Result<()> {
    let lab = Cluster::up("bcm", 1, 0)?;
    // Not a wait for something that could be seen: what is measured is a manager that was left alone.
    std::thread::sleep(SETTLED);
    let size = pss(lab.pid(1).context("no daemon")?)?;
    sheet.at_most("manager with an empty cluster (PSS)", size, 25.0, "MB")?;
    Ok(())
}

fn create_config(api: &mut Connection, name: &str) -> anyhow::Result<()> {
    // 200 bytes of `x`.
    let data = "eHh4".repeat(66) + "eHg=";
    let body = json!({ "Name": name, "Data": data }).to_string();
    call(api, "POST", "/configs/create", &body).map(drop)
}

/// Runs `job` on so many threads; gives what they gave.
fn threads<T: Send>(
    count: usize,
    job: impl Fn(usize) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    std::thread::scope(|scope| {
        let job = &job;
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || job(number))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, anyhow::Result<T>>| {
            thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?
        };
        threads.into_iter().map(join).collect()
    })
}

/// `config create` over the API of the leader, one after another, by 16 clients.
fn writes(lab: &Cluster, sheet: &mut Sheet) -> anyhow::Result<()> {
    let socket = lab.socket(lab.leader(1)?);
    let term = term(lab, 1)?;
    let begun = monotonic();
    let times = threads(CLIENTS, |client| {
        let mut api = Connection::open(&socket)?;
        let mut times = Vec::new();
        while monotonic() - begun < WRITING {
            let start = monotonic();
            create_config(&mut api, &format!("w{client}-{}", times.len()))?;
            times.push(monotonic() - start);
        }
        Ok(times)
    })?;
    let took = (monotonic() - begun).as_secs_f64();
    let times = Sorted::new(times.concat());
    let count = u32::try_from(times.count())?;
    sheet.at_least(
        "single writes over the API, 16 clients",
        f64::from(count) / took,
        5000.0,
        "/s",
    )?;
    sheet.at_most("single write over the API, median", times.median(), 10.0, "ms")?;
    sheet.at_most("single write over the API, p99", times.permille(990), 10.0, "ms")?;
    anyhow::ensure!(self::term(lab, 1)? == term, "there was an election under load");
    Ok(())
}

fn other(host: u8) -> u8 {
    host % 3 + 1
}

/// Writes until one is acknowledged; a call that is refused or hangs is made again on a new connection.
fn write(socket: &Path, name: &str) -> anyhow::Result<()> {
    let mut number = 0;
    eventually("a write", LIMIT, || {
        number += 1;
        let Ok(mut api) = Connection::open(socket) else { return false };
        create_config(&mut api, &format!("{name}-{number}")).is_ok()
    })
}

fn await_all(lab: &Cluster, asked: u8) -> anyhow::Result<()> {
    eventually("all managers to be reachable", LIMIT, || {
        let ready = |line: &String| line.ends_with(" Leader") || line.ends_with(" Reachable");
        lab.nodes(asked).is_ok_and(|nodes| {
            nodes.iter().filter(|line| ready(line) && line.contains(" Ready ")).count() == 3
        })
    })
}

/// Leaders are killed one after the other; the time until another manager has written.
fn kills(lab: &Cluster, sheet: &mut Sheet) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let leader = lab.leader(1)?;
        let socket = lab.socket(other(leader));
        lab.kill(leader)?;
        let start = monotonic();
        write(&socket, &format!("kill{round}"))?;
        times.push(monotonic() - start);
        lab.start(leader)?;
        await_all(lab, other(leader))?;
    }
    let times = Sorted::new(times);
    let how =
        "kill -9 of the leader, then `config create` asked of another manager until it succeeds";
    let median =
        Row::at_most("leader killed to next write, median of 20", "ms", &[times.median()], 1500.0);
    sheet.add(median.docker(13_000.0).how(how).design("failover"))?;
    let worst =
        Row::at_most("leader killed to next write, worst of 20", "ms", &[times.worst()], 3000.0);
    sheet.add(worst.docker(20_000.0).design("failover-worst"))?;
    Ok(())
}

/// Leaders are stopped in good order while a client writes to another manager; the longest of its writes.
fn hand_over(lab: &Cluster, sheet: &mut Sheet) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let leader = lab.leader(1)?;
        let socket = lab.socket(other(leader));
        let stopped = AtomicBool::new(false);
        let longest = std::thread::scope(|scope| {
            let writer = scope.spawn(|| -> anyhow::Result<Duration> {
                let (mut longest, mut number) = (Duration::ZERO, 0);
                let mut last = monotonic();
                while !stopped.load(Ordering::Relaxed) {
                    number += 1;
                    write(&socket, &format!("hand{round}-{number}"))?;
                    longest = longest.max(monotonic() - last);
                    last = monotonic();
                }
                Ok(longest)
            });
            let ended = lab.stop(leader);
            stopped.store(true, Ordering::Relaxed);
            let longest = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))?;
            ended.and(longest)
        })?;
        times.push(longest);
        lab.start(leader)?;
        await_all(lab, other(leader))?;
    }
    let times = Sorted::new(times);
    sheet.at_most(
        "leader stopped in good order, longest gap, median",
        times.median(),
        200.0,
        "ms",
    )?;
    sheet.at_most(
        "leader stopped in good order, longest gap, worst",
        times.worst(),
        200.0,
        "ms",
    )?;
    Ok(())
}

fn term(lab: &Cluster, host: u8) -> anyhow::Result<u64> {
    let status = call(&mut Connection::open(&lab.socket(host))?, "GET", "/shoal/swarm/status", "")?;
    status["Term"].as_u64().with_context(|| format!("no term in {status}"))
}

/// Elections while other programs want both cores, twice over.
fn idle(lab: &Cluster, sheet: &mut Sheet) -> anyhow::Result<()> {
    let number = |name: &'static str, default: u64| match std::env::var(name) {
        Ok(text) => text.parse().context(name),
        Err(_) => Ok(default),
    };
    let seconds = number("SHOAL_IDLE_SECONDS", IDLE_SECONDS)?;
    let spinning = usize::try_from(number("SHOAL_IDLE_THREADS", 4)?)?;
    let before = term(lab, 1)?;
    let until = monotonic() + Duration::from_secs(seconds);
    threads(spinning, |_| {
        while monotonic() < until {
            for _ in 0..10_000 {
                std::hint::spin_loop();
            }
        }
        Ok(())
    })?;
    std::thread::sleep(until.saturating_sub(monotonic()));
    let load = std::fs::read_to_string("/proc/loadavg")?;
    let load = load.split(' ').next().unwrap_or_default();
    let elections = u32::try_from(term(lab, 1)? - before)?;
    let what = format!("elections in {seconds} s, load {load}");
    let row = Row::at_most(what, "", &[f64::from(elections)], 0.0);
    sheet.add(if seconds >= DESIGNED_IDLE_SECONDS { row.design("elections") } else { row })?;
    Ok(())
}

//! The budgets of one host: Shoal's figure, the budget, the ratio to what was measured of Docker.
//!
//! Run by `cargo xtask bench`. Docker's figures are those of Docker Engine 29.7 on a quiet machine of the same kind;
//! this machine's load is printed with the figures, because medians mean little on a busy machine and minima more.

#![allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "a report for people")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use shoal_chaos_tests::command::{command, monotonic, run, stdout};
use shoal_chaos_tests::host::{Host, bin_dir};
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::image;
use shoal_chaos_tests::memory::pss;

/// One row of the report. Figures in the row's unit.
struct Row {
    what: &'static str,
    unit: &'static str,
    /// Every measurement.
    shoal: Vec<f64>,
    budget: f64,
    docker: f64,
}

type Runs = Vec<Duration>;

/// Rounds of what takes long.
const ROUNDS: usize = 5;
/// Idle time before memory is read at rest: a second longer than the daemon takes to give back what it does not use.
const REST: Duration = Duration::from_secs(17);
/// Containers of one round of many.
const MANY: usize = 50;

fn main() -> anyhow::Result<()> {
    let host = Host::start(&["--log-level", "warn"])?;
    let rootfs = host.path().join("rootfs.tar");
    image::busybox_rootfs(&rootfs)?;
    host.docker(&["import", &rootfs.display().to_string(), "busybox:latest"])?;
    let socket = host.socket();
    let busy = vec![daemon_pss(&host)?];
    std::thread::sleep(REST);
    let idle = vec![daemon_pss(&host)?];
    let mut rows = vec![
        memory_row("daemon memory after an import (PSS)", busy, (20.0, 126.0)),
        memory_row("the same at rest", idle, (20.0, 126.0)),
    ];
    single(&socket, &mut rows)?;
    processes(&host, &mut rows)?;
    many(&host, &socket, &mut rows)?;
    archives(&host, &socket, &mut rows)?;
    let floor = floor()?;
    print(&rows, floor)?;
    host.finish()
}

fn timed<T>(job: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Duration, T)> {
    let start = monotonic();
    let value = job()?;
    Ok((monotonic() - start, value))
}

fn milliseconds(runs: &Runs) -> Vec<f64> {
    runs.iter().map(|run| run.as_secs_f64() * 1e3).collect()
}

fn seconds(runs: &Runs) -> Vec<f64> {
    runs.iter().map(Duration::as_secs_f64).collect()
}

/// Median and minimum.
fn summary(figures: &[f64]) -> (f64, f64) {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    (sorted[sorted.len() / 2], sorted[0])
}

fn create(api: &mut Connection, command: &[&str]) -> anyhow::Result<String> {
    let body = json!({ "Image": "busybox", "Cmd": command }).to_string();
    let answer: Value =
        serde_json::from_slice(&api.call("POST", "/containers/create", body.as_bytes())?)?;
    Ok(answer["Id"].as_str().context("no Id")?.to_owned())
}

/// Create + start, exec and remove, one after the other.
fn single(socket: &Path, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let mut api = Connection::open(socket)?;
    let (mut starts, mut execs, mut removes) = (Runs::new(), Runs::new(), Runs::new());
    for _ in 0..30 {
        let (took, id) = timed(|| {
            let id = create(&mut api, &["sleep", "1000"])?;
            api.call("POST", &format!("/containers/{id}/start"), b"")?;
            Ok(id)
        })?;
        starts.push(took);
        execs.push(exec(&mut api, socket, &id)?);
        api.call("POST", &format!("/containers/{id}/kill"), b"")?;
        api.call("POST", &format!("/containers/{id}/wait"), b"")?;
        removes.push(timed(|| api.call("DELETE", &format!("/containers/{id}"), b""))?.0);
    }
    rows.push(Row {
        what: "create + start over the API",
        unit: "ms",
        shoal: milliseconds(&starts),
        budget: 14.0,
        docker: 170.0,
    });
    rows.push(Row {
        what: "exec of `true`, attached",
        unit: "ms",
        shoal: milliseconds(&execs),
        budget: 6.0,
        docker: 70.0,
    });
    rows.push(Row {
        what: "remove an exited container",
        unit: "ms",
        shoal: milliseconds(&removes),
        budget: 5.0,
        docker: 35.0,
    });
    Ok(())
}

fn exec(api: &mut Connection, socket: &Path, id: &str) -> anyhow::Result<Duration> {
    let body = json!({ "Cmd": ["true"], "AttachStdout": true, "AttachStderr": true }).to_string();
    let start = monotonic();
    let answer: Value = serde_json::from_slice(&api.call(
        "POST",
        &format!("/containers/{id}/exec"),
        body.as_bytes(),
    )?)?;
    let exec = answer["Id"].as_str().context("no exec id")?;
    Connection::open(socket)?
        .hijack(&format!("/exec/{exec}/start"), br#"{"Detach":false,"Tty":false}"#)?;
    Ok(monotonic() - start)
}

/// Whole client processes.
fn processes(host: &Host, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let shoal = bin_dir()?.join("shoal");
    let clients: [(&str, PathBuf, f64); 2] = [
        ("`shoal run --rm busybox true`", shoal, 28.0),
        ("`docker run --rm busybox true`", "docker".into(), 68.0),
    ];
    for (what, program, budget) in clients {
        let client = host.client("bench", &program);
        let mut runs = Runs::new();
        for _ in 0..20 {
            let mut process = command(&program);
            process.envs(client.env.clone()).args(["run", "--rm", "busybox", "true"]);
            runs.push(timed(|| stdout(&mut process))?.0);
        }
        rows.push(Row { what, unit: "ms", shoal: milliseconds(&runs), budget, docker: 341.0 });
    }
    Ok(())
}

/// Fifty containers at once: time, memory, listing.
fn many(host: &Host, socket: &Path, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let (mut rounds, mut lists) = (Runs::new(), Runs::new());
    let (mut daemon, mut resting, mut shims) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let (took, ids) = timed(|| start_many(socket))?;
        rounds.push(took);
        daemon.push(daemon_pss(host)?);
        shims.push(shim_pss(host.path())?);
        let mut api = Connection::open(socket)?;
        for _ in 0..10 {
            lists.push(timed(|| api.call("GET", "/containers/json", b""))?.0);
        }
        if round + 1 == ROUNDS {
            std::thread::sleep(REST);
            resting.push(daemon_pss(host)?);
        }
        for id in ids {
            api.call("DELETE", &format!("/containers/{id}?force=1"), b"")?;
        }
    }
    rows.push(Row {
        what: "50 created and started in parallel",
        unit: "s",
        shoal: seconds(&rounds),
        budget: 0.45,
        docker: 5.6,
    });
    rows.push(memory_row("daemon memory with 50 containers (PSS)", daemon, (24.0, 154.0)));
    rows.push(memory_row("the same at rest", resting, (24.0, 154.0)));
    rows.push(memory_row("memory of one shim of fifty (PSS)", shims, (0.3, 4.5)));
    rows.push(Row {
        what: "list of 50 containers over the API",
        unit: "ms",
        shoal: milliseconds(&lists),
        budget: 3.0,
        docker: 117.0,
    });
    Ok(())
}

fn start_many(socket: &Path) -> anyhow::Result<Vec<String>> {
    let workers: Vec<_> = (0..MANY)
        .map(|_| {
            let socket = socket.to_owned();
            std::thread::spawn(move || -> anyhow::Result<String> {
                let mut api = Connection::open(&socket)?;
                let id = create(&mut api, &["sleep", "1000"])?;
                api.call("POST", &format!("/containers/{id}/start"), b"")?;
                Ok(id)
            })
        })
        .collect();
    workers
        .into_iter()
        .map(|worker| worker.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?)
        .collect()
}

/// Load and save of an image of 200 MB.
fn archives(host: &Host, socket: &Path, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let directory = host.path().join("big");
    std::fs::create_dir(&directory)?;
    // Half compressible, as file systems are; the content does not repeat.
    let mut number = 1u64;
    for file in 0..20 {
        let bytes: Vec<u8> = (0..10_000_000u32)
            .map(|at| {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if at % 2 == 0 { number.to_be_bytes()[0] } else { b'a' }
            })
            .collect();
        std::fs::write(directory.join(format!("file{file}")), bytes)?;
    }
    let tar = host.path().join("big.tar");
    stdout(command("tar").arg("-C").arg(&directory).arg("-cf").arg(&tar).arg("."))?;
    host.docker(&["import", &tar.display().to_string(), "big:latest"])?;
    let archive = host.path().join("saved.tar");
    let (mut saves, mut loads) = (Runs::new(), Runs::new());
    for _ in 0..ROUNDS {
        let save = timed(|| {
            let file = std::fs::File::create(&archive)?;
            let mut file = std::io::BufWriter::with_capacity(1 << 20, file);
            Connection::open(socket)?.download("/images/big/get", &mut file)
        });
        saves.push(save?.0);
        host.docker(&["rmi", "big"])?;
        let bytes = std::fs::read(&archive)?;
        let load = timed(|| Connection::open(socket)?.call("POST", "/images/load?quiet=1", &bytes));
        loads.push(load?.0);
    }
    host.docker(&["rmi", "big"])?;
    rows.push(Row {
        what: "load of a 200 MB image",
        unit: "s",
        shoal: seconds(&loads),
        budget: 0.8,
        docker: 1.8,
    });
    rows.push(Row {
        what: "save of a 200 MB image",
        unit: "s",
        shoal: seconds(&saves),
        budget: 0.8,
        docker: 4.9,
    });
    Ok(())
}

/// The least a container can cost: new namespaces and one exec, by util-linux's `unshare` (whose own start is
/// part of it). In milliseconds.
fn floor() -> anyhow::Result<f64> {
    let runs = (0..50)
        .map(|_| {
            let mut unshare = command("unshare");
            unshare.args([
                "--fork", "--pid", "--mount", "--net", "--ipc", "--uts", "--cgroup", "busybox",
                "true",
            ]);
            Ok(timed(|| run(&mut unshare))?.0)
        })
        .collect::<anyhow::Result<Runs>>()?;
    Ok(summary(&milliseconds(&runs)).0)
}

fn memory_row(what: &'static str, shoal: Vec<f64>, (budget, docker): (f64, f64)) -> Row {
    Row { what, unit: "MB", shoal, budget, docker }
}

fn daemon_pss(host: &Host) -> anyhow::Result<f64> {
    pss(host.pid().context("no daemon")?)
}

fn shim_pss(root: &Path) -> anyhow::Result<f64> {
    let needle = root.display().to_string();
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains("shoal-shim") && line.contains(&needle) {
            sizes.push(pss(entry.file_name().to_string_lossy().parse()?)?);
        }
    }
    anyhow::ensure!(!sizes.is_empty(), "no shim is running");
    Ok(sizes.iter().sum::<f64>() / sizes.len() as f64)
}

fn print(rows: &[Row], floor: f64) -> anyhow::Result<()> {
    println!(
        "{:<42} {:>10} {:>10} {:>10} {:>10} {:>8}  verdict",
        "what", "median", "min", "budget", "docker", "ratio"
    );
    for row in rows {
        let Row { what, unit, shoal, budget, docker } = row;
        let (median, least) = summary(shoal);
        let verdict = match (median <= *budget, least <= *budget) {
            (true, _) => "met",
            (false, true) => "met by the minimum",
            (false, false) => "MISSED",
        };
        println!(
            "{what:<42} {median:>7.2} {unit:<2} {least:>7.2} {unit:<2} {budget:>7.2} {unit:<2} {docker:>7.1} {unit:<2} 1/{:<6.1}  {verdict}",
            docker / median
        );
    }
    let load = std::fs::read_to_string("/proc/loadavg").context("cannot read the load")?;
    println!(
        "\nfloor (new namespaces + exec, by unshare): {floor:.2} ms; create + start is {:.1} times that",
        summary(&rows[1].shoal).0 / floor
    );
    println!("load of this machine: {}", load.trim());
    println!(
        "docker: Docker Engine 29.7 measured quiet on a machine of this kind, not in this run"
    );
    Ok(())
}

//! What is measured of a daemon, whichever it is.

#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use shoal_chaos_tests::command::{command, monotonic, stdout};
use shoal_chaos_tests::host::{Host, bin_dir, docker_cli};
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::memory::pss;
use shoal_report::{milliseconds, seconds};

type Runs = Vec<Duration>;

/// Idle time before memory is read at rest: a second longer than the daemon takes to give back what it does not use.
const REST: Duration = Duration::from_secs(17);
/// Containers of one round of many.
const MANY: usize = 50;
/// The programs of both daemons, beside themselves, and of their shims.
const HELPERS: [&str; 1] = ["containerd"];
const SHIMS: [&str; 2] = ["shoal-shim", "containerd-shim-runc-v2"];

/// How often things are done.
#[derive(Debug)]
pub(crate) struct Amount {
    /// Containers in turn.
    singles: usize,
    /// Processes of each client.
    processes: usize,
    /// Rounds of what takes long.
    rounds: usize,
}

impl Amount {
    /// For a fast daemon.
    pub(crate) const MANY: Self = Self { singles: 30, processes: 20, rounds: 5 };
    /// For a slow one.
    pub(crate) const FEW: Self = Self { singles: 15, processes: 10, rounds: 3 };
}

/// All figures of a daemon: memory in MB, processes and calls in milliseconds, what takes long in seconds.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) idle: Vec<f64>,
    pub(crate) idle_at_rest: Vec<f64>,
    pub(crate) starts: Vec<f64>,
    pub(crate) execs: Vec<f64>,
    pub(crate) removes: Vec<f64>,
    pub(crate) shoal_runs: Vec<f64>,
    pub(crate) docker_runs: Vec<f64>,
    pub(crate) parallel: Vec<f64>,
    pub(crate) busy: Vec<f64>,
    pub(crate) busy_at_rest: Vec<f64>,
    pub(crate) shims: Vec<f64>,
    pub(crate) lists: Vec<f64>,
    pub(crate) loads: Vec<f64>,
    pub(crate) saves: Vec<f64>,
}

/// Measures a daemon that was just started and has the image `busybox`.
pub(crate) fn measure(host: &Host, amount: &Amount) -> anyhow::Result<Figures> {
    let mut figures = Figures { idle: vec![daemon_pss(host)?], ..Figures::default() };
    // Not a wait for something that could be seen: what is measured is a daemon that was left alone.
    std::thread::sleep(REST);
    figures.idle_at_rest.push(daemon_pss(host)?);
    single(&host.socket(), amount, &mut figures)?;
    figures.shoal_runs = processes(host, &bin_dir()?.join("shoal"), amount)?;
    figures.docker_runs = processes(host, &docker_cli()?, amount)?;
    many(host, amount, &mut figures)?;
    archives(host, amount, &mut figures)?;
    Ok(figures)
}

fn timed<T>(job: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(Duration, T)> {
    let start = monotonic();
    let value = job()?;
    Ok((monotonic() - start, value))
}

fn create(api: &mut Connection, command: &[&str]) -> anyhow::Result<String> {
    let body = json!({ "Image": "busybox", "Cmd": command }).to_string();
    let answer: Value =
        serde_json::from_slice(&api.call("POST", "/containers/create", body.as_bytes())?)?;
    Ok(answer["Id"].as_str().context("no Id")?.to_owned())
}

/// Create + start, exec and remove, one after the other.
fn single(socket: &Path, amount: &Amount, figures: &mut Figures) -> anyhow::Result<()> {
    let mut api = Connection::open(socket)?;
    let (mut starts, mut execs, mut removes) = (Runs::new(), Runs::new(), Runs::new());
    for _ in 0..amount.singles {
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
    figures.starts = milliseconds(&starts);
    figures.execs = milliseconds(&execs);
    figures.removes = milliseconds(&removes);
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

/// Whole client processes that run a container, in milliseconds.
fn processes(host: &Host, program: &Path, amount: &Amount) -> anyhow::Result<Vec<f64>> {
    let client = host.client("bench", program);
    let mut runs = Runs::new();
    for _ in 0..amount.processes {
        let mut process = command(program);
        process.envs(client.env.clone()).args(["run", "--rm", "busybox", "true"]);
        runs.push(timed(|| stdout(&mut process))?.0);
    }
    Ok(milliseconds(&runs))
}

/// Fifty containers at once: time, memory, listing.
fn many(host: &Host, amount: &Amount, figures: &mut Figures) -> anyhow::Result<()> {
    let socket = host.socket();
    let (mut rounds, mut lists) = (Runs::new(), Runs::new());
    for round in 1..=amount.rounds {
        let (took, ids) = timed(|| start_many(&socket))?;
        rounds.push(took);
        figures.busy.push(daemon_pss(host)?);
        let shims = pss_of(host.path(), &SHIMS)?;
        anyhow::ensure!(!shims.is_empty(), "no shim is running");
        figures.shims.push(shims.iter().sum::<f64>() / shims.len() as f64);
        let mut api = Connection::open(&socket)?;
        for _ in 0..10 {
            lists.push(timed(|| api.call("GET", "/containers/json", b""))?.0);
        }
        if round == amount.rounds {
            std::thread::sleep(REST);
            figures.busy_at_rest.push(daemon_pss(host)?);
        }
        for id in ids {
            api.call("DELETE", &format!("/containers/{id}?force=1"), b"")?;
        }
    }
    figures.parallel = seconds(&rounds);
    figures.lists = milliseconds(&lists);
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
fn archives(host: &Host, amount: &Amount, figures: &mut Figures) -> anyhow::Result<()> {
    let socket = host.socket();
    let tar = big_image(host.path())?;
    host.docker(&["import", &tar.display().to_string(), "big:latest"])?;
    let archive = host.path().join("saved.tar");
    let (mut saves, mut loads) = (Runs::new(), Runs::new());
    for _ in 0..amount.rounds {
        let save = timed(|| {
            let file = std::fs::File::create(&archive)?;
            let mut file = std::io::BufWriter::with_capacity(1 << 20, file);
            Connection::open(&socket)?.download("/images/big/get", &mut file)
        });
        saves.push(save?.0);
        host.docker(&["rmi", "big"])?;
        let bytes = std::fs::read(&archive)?;
        let load =
            timed(|| Connection::open(&socket)?.call("POST", "/images/load?quiet=1", &bytes));
        loads.push(load?.0);
    }
    host.docker(&["rmi", "big"])?;
    figures.loads = seconds(&loads);
    figures.saves = seconds(&saves);
    Ok(())
}

/// A root file system of 200 MB: half compressible, as file systems are; the content does not repeat.
fn big_image(directory: &Path) -> anyhow::Result<PathBuf> {
    let root = directory.join("big");
    std::fs::create_dir(&root)?;
    let mut number = 1u64;
    for file in 0..20 {
        let bytes: Vec<u8> = (0..10_000_000u32)
            .map(|at| {
                number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if at % 2 == 0 { number.to_be_bytes()[0] } else { b'a' }
            })
            .collect();
        std::fs::write(root.join(format!("file{file}")), bytes)?;
    }
    let tar = directory.join("big.tar");
    stdout(command("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg("."))?;
    Ok(tar)
}

/// The daemon with the programs without which it does nothing, in MB.
fn daemon_pss(host: &Host) -> anyhow::Result<f64> {
    let own = pss(host.pid().context("no daemon")?)?;
    Ok(own + pss_of(host.path(), &HELPERS)?.iter().sum::<f64>())
}

/// The processes of a host that run these programs, in MB each.
fn pss_of(root: &Path, programs: &[&str]) -> anyhow::Result<Vec<f64>> {
    let root = root.display().to_string();
    let mut sizes = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let program = Path::new(line.split('\0').next().unwrap_or_default());
        let is_one =
            programs.iter().any(|one| program.file_name().is_some_and(|name| name == *one));
        if is_one && line.contains(&root) {
            // Shims of containers that were removed may end meanwhile.
            sizes.extend(pss(entry.file_name().to_string_lossy().parse()?).ok());
        }
    }
    Ok(sizes)
}

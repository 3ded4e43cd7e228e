//! The budgets of services, beside what was measured of Docker.
//!
//! Run by `cargo xtask bench services`; `--full` also has a thousand tasks idle. `ONLY=life,idle,death,kills` runs a part.
//! Measured over the API of a manager, in a lab of three managers on this machine.

use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use shoal_chaos_tests::command::{eventually, monotonic};
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::service_lab::{ServiceLab, call};
use shoal_report::{Row, Sheet, seconds};

const ROUNDS: usize = 3;
/// Kills of a leader.
const KILLS: usize = 10;
/// Nothing takes longer.
const LIMIT: Duration = Duration::from_secs(120);
/// How long idle daemons are watched.
const IDLE: Duration = Duration::from_secs(20);
const MONITOR: Duration = Duration::from_secs(5);
/// Three missed heartbeats of five seconds with the most jitter.
const GRACE: f64 = 16.5;

fn main() -> anyhow::Result<()> {
    let only = std::env::var("ONLY").ok();
    let wanted = |part: &str| only.as_ref().is_none_or(|only| only.split(',').any(|it| it == part));
    let full = std::env::args().any(|argument| argument == "full");
    let name = format!("b{}", std::process::id());
    let lab = ServiceLab::up(&name, 3, 3, &["--log-level", "warn"])?;
    let mut sheet = Sheet::begin()?;
    if wanted("life") {
        life(&lab, &mut sheet)?;
    }
    if wanted("idle") {
        let how = "CPU of 20 s, 15 s after the last task ran";
        let share = idle(&lab, 100)?;
        let row = Row::at_most("busiest daemon with 100 idle tasks", "%", &[share], 0.3);
        sheet.add(row.docker(1.1).how(how).design("idle-100"))?;
        if full {
            let share = idle(&lab, 1_000)?;
            let row = Row::at_most("busiest daemon with 1,000 idle tasks", "%", &[share], 1.0);
            sheet.add(row.how(how).design("idle-1000"))?;
        }
    }
    if wanted("death") {
        let runs = seconds(&[node_death(&lab)?]);
        let row = Row::at_most("node dead to replacement running", "s", &runs, GRACE + 1.0);
        let how = "a host with a third of 20 tasks dies; until 20 run on the others";
        sheet.add(row.docker(17.0).how(how).design("node-dead"))?;
    }
    if wanted("kills") {
        let runs = seconds(&leader_kills(&lab)?);
        let row = Row::at_most("leader killed to next write", "s", &runs, 1.5).docker(13.0);
        sheet.add(row.how("ten kills, a cluster with services"))?;
    }
    sheet.finish();
    Ok(())
}

/// The rows of the life of a service, each measured some times.
fn life(lab: &ServiceLab, sheet: &mut Sheet) -> anyhow::Result<()> {
    let rows = [
        ("service", "20 replicas, create to all running", 0.4, 2.4),
        ("scale-up", "scale 20 to 100", 1.2, 9.6),
        ("scale-down", "scale 100 to 20", 2.0, 10.9),
        ("update", "update of 20, parallelism 10", MONITOR.as_secs_f64() + 1.0, 7.7),
        ("rollback", "rollback of 20, parallelism 1", 12.0, 55.0),
        ("service-remove", "remove a service of 20, containers gone", 0.8, 4.5),
    ];
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(Bench::new(lab, 1)?.round()?);
    }
    for (at, (design, what, budget, docker)) in rows.into_iter().enumerate() {
        let runs: Vec<f64> = rounds.iter().map(|round| round[at].as_secs_f64()).collect();
        let how = "over the API of a manager of three";
        sheet.add(Row::at_most(what, "s", &runs, budget).docker(docker).how(how).design(design))?;
    }
    Ok(())
}

/// What the daemon that works most needs while nothing happens, in percent of a core.
fn idle(lab: &ServiceLab, tasks: usize) -> anyhow::Result<f64> {
    let mut bench = Bench::new(lab, 1)?;
    bench.spec["Mode"]["Replicated"]["Replicas"] = json!(tasks);
    bench.create()?;
    bench.until_running(tasks)?;
    std::thread::sleep(Duration::from_secs(15));
    let used = || lab.numbers().map(|host| cpu(lab, host)).collect::<anyhow::Result<Vec<_>>>();
    let before = used()?;
    std::thread::sleep(IDLE);
    let shares = used()?.into_iter().zip(before).map(|(now, then)| now - then);
    let most = shares.fold(0.0, f64::max) / IDLE.as_secs_f64() * 100.0;
    bench.remove()?;
    Ok(most)
}

/// Seconds of CPU that a host's daemon has used.
fn cpu(lab: &ServiceLab, host: u8) -> anyhow::Result<f64> {
    let pid = lab.pid(host).context("a daemon does not run")?;
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> =
        text.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
    let ticks = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / 100.0)
}

/// A connection to one manager, and the service that is measured.
struct Bench<'a> {
    lab: &'a ServiceLab,
    api: Connection,
    spec: Value,
}

impl<'a> Bench<'a> {
    fn new(lab: &'a ServiceLab, host: u8) -> anyhow::Result<Self> {
        let spec = json!({
            "Name": "bench",
            "TaskTemplate": {
                "ContainerSpec": {
                    "Image": "busybox:latest", "Args": ["sleep", "1000"], "StopSignal": "SIGKILL",
                    // As the real client's digest does: no registry is asked.
                    "Env": ["DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1"],
                },
            },
            "Mode": { "Replicated": { "Replicas": 20 } },
            "UpdateConfig": { "Parallelism": 10 },
        });
        Ok(Self { lab, api: Connection::open(&lab.socket(host))?, spec })
    }

    fn create(&mut self) -> anyhow::Result<()> {
        call(&mut self.api, "POST", "/services/create", &self.spec.to_string()).map(drop)
    }

    fn update(&mut self, query: &str) -> anyhow::Result<()> {
        let service = call(&mut self.api, "GET", "/services/bench", "")?;
        let version = &service["Version"]["Index"];
        let path = format!("/services/bench/update?version={version}{query}");
        call(&mut self.api, "POST", &path, &self.spec.to_string()).map(drop)
    }

    /// Waits for a condition on the tasks that are not over.
    fn until(&mut self, what: &str, met: impl Fn(&[Value]) -> bool) -> anyhow::Result<()> {
        let path = "/tasks?filters=%7B%22service%22%3A%5B%22bench%22%5D%7D";
        let (api, mut failure) = (&mut self.api, None);
        let waited = eventually(what, LIMIT, || match call(api, "GET", path, "") {
            Ok(tasks) => met(tasks.as_array().map_or(&[], Vec::as_slice)),
            Err(error) => {
                failure = Some(error);
                true
            }
        });
        failure.map_or(waited, Err)
    }

    fn until_running(&mut self, wanted: usize) -> anyhow::Result<()> {
        self.until("the tasks to run", move |tasks| {
            let runs = |task: &&Value| task["Status"]["State"] == "running";
            let running: Vec<_> = tasks.iter().filter(runs).collect();
            running.len() == wanted && running.iter().all(|task| task["DesiredState"] == "running")
        })
    }

    fn until_state(&mut self, state: &str) -> anyhow::Result<()> {
        let api = &mut self.api;
        eventually(state, LIMIT, || {
            call(api, "GET", "/services/bench", "")
                .is_ok_and(|service| service["UpdateStatus"]["State"] == state)
        })
    }

    fn remove(&mut self) -> anyhow::Result<()> {
        call(&mut self.api, "DELETE", "/services/bench", "")?;
        let mut hosts = self
            .lab
            .numbers()
            .map(|host| Connection::open(&self.lab.socket(host)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        eventually("the containers to go", LIMIT, || {
            hosts.iter_mut().all(|host| {
                call(host, "GET", "/containers/json?all=1", "")
                    .is_ok_and(|list| list.as_array().is_some_and(Vec::is_empty))
            })
        })
    }

    /// The rows of one service's life, in order.
    fn round(&mut self) -> anyhow::Result<[Duration; 6]> {
        let created = timed(|| {
            self.create()?;
            self.until_running(20)
        })?;
        let up = self.scale(100)?;
        let down = self.scale(20)?;
        let updated = timed(|| {
            self.spec["TaskTemplate"]["ContainerSpec"]["Image"] = json!("busybox:two");
            self.update("")?;
            self.until_state("completed")
        })?;
        let rolled = timed(|| {
            self.update("&rollback=previous")?;
            self.until_state("rollback_completed")
        })?;
        let removed = timed(|| self.remove())?;
        Ok([created, up, down, updated, rolled, removed])
    }

    fn scale(&mut self, replicas: usize) -> anyhow::Result<Duration> {
        timed(|| {
            self.spec["Mode"]["Replicated"]["Replicas"] = json!(replicas);
            self.update("")?;
            self.until_running(replicas)
        })
    }
}

fn timed(job: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    let start = monotonic();
    job()?;
    Ok(monotonic() - start)
}

/// A host with tasks dies; the time until as many run elsewhere.
fn node_death(lab: &ServiceLab) -> anyhow::Result<Duration> {
    let leader = leader(lab, 1)?;
    let (dying, asked) = others(leader);
    let mut bench = Bench::new(lab, asked)?;
    bench.create()?;
    bench.until_running(20)?;
    let id = node(lab, asked, dying)?;
    let took = timed(|| {
        lab.crash(dying)?;
        bench.until("the tasks to run elsewhere", |tasks| {
            let elsewhere = |task: &&Value| {
                task["Status"]["State"] == "running"
                    && task["DesiredState"] == "running"
                    && task["NodeID"] != id
            };
            tasks.iter().filter(elsewhere).count() == 20
        })
    })?;
    lab.start(dying)?;
    bench.remove()?;
    Ok(took)
}

/// Leaders are killed one after the other; the time until another manager has written.
fn leader_kills(lab: &ServiceLab) -> anyhow::Result<Vec<Duration>> {
    let mut runs = Vec::new();
    let mut asked = 1;
    for number in 0..KILLS {
        let leader = leader(lab, asked)?;
        asked = others(leader).0;
        let mut bench = Bench::new(lab, asked)?;
        let body = json!({ "Name": format!("kill{number}"), "Data": "eA==" }).to_string();
        lab.kill(leader)?;
        let start = monotonic();
        eventually("a write", LIMIT, || {
            bench.api.call("POST", "/configs/create", body.as_bytes()).is_ok()
        })?;
        runs.push(monotonic() - start);
        lab.start(leader)?;
        lab.until("all managers to be reachable", || {
            let nodes =
                lab.run(asked, &["node", "ls", "--format", "{{.Status}} {{.ManagerStatus}}"])?;
            let good = ["Ready Leader", "Ready Reachable"];
            Ok(nodes.lines().filter(|line| good.contains(line)).count() == 3)
        })?;
    }
    Ok(runs)
}

/// The two hosts that are not this one.
const fn others(host: u8) -> (u8, u8) {
    match host {
        1 => (2, 3),
        2 => (3, 1),
        _ => (1, 2),
    }
}

fn leader(lab: &ServiceLab, asked: u8) -> anyhow::Result<u8> {
    let nodes = lab.run(asked, &["node", "ls", "--format", "{{.Hostname}} {{.ManagerStatus}}"])?;
    let name = nodes.lines().find_map(|line| line.strip_suffix(" Leader"));
    Ok(name.and_then(|name| name.strip_prefix('h')).context("no leader")?.parse()?)
}

fn node(lab: &ServiceLab, asked: u8, host: u8) -> anyhow::Result<String> {
    lab.run(asked, &["node", "inspect", "-f", "{{.ID}}", &format!("h{host}")])
}

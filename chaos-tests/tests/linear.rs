//! Concurrent clients of three managers see one register each time, through kills, hangs and cuts of managers, and no
//! acknowledged write is lost.
//!
//! The registers are the labels of configs: an update names the version that was read. `SHOAL_LINEAR_RUNS` says how
//! many runs there are (one by default), `SHOAL_SEED` repeats them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; what it prints is its report"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value as Json, json};
use shoal_chaos_tests::chance::Chance;
use shoal_chaos_tests::cluster::{Cluster, PATIENCE};
use shoal_chaos_tests::command::{eventually, monotonic};
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::linear::{Action, Operation, Value, check};

const MANAGERS: u8 = 3;
const REGISTERS: usize = 3;
const CLIENTS_PER_MANAGER: usize = 2;
/// Clients work so long in each run.
const RUN: Duration = Duration::from_secs(12);
/// A client does not wait longer for an answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two operations of a client, so that histories stay small enough to judge.
const PAUSE: Duration = Duration::from_millis(15);

/// Operations by register.
type History = BTreeMap<usize, Vec<Operation>>;

fn register(run: u64, number: usize) -> String {
    format!("register-{run}-{number}")
}

/// A client of one manager.
struct Client {
    socket: PathBuf,
    connection: Option<Connection>,
    history: History,
}

/// Why a call gave nothing.
enum Lost {
    /// It was not sent.
    Unsent,
    /// It was refused for the version.
    Refused,
    /// Anything else.
    Unknown,
}

impl Client {
    fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned(), connection: None, history: History::new() }
    }

    fn call(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>, Lost> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.socket).map_err(|_| Lost::Unsent)?,
        };
        connection.patience(ANSWER).unwrap();
        match connection.call(method, path, body) {
            Ok(answer) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Err(error) if format!("{error:#}").contains("update out of sequence") => {
                Err(Lost::Refused)
            }
            // The next call gets a connection of its own.
            Err(_) => Err(Lost::Unknown),
        }
    }

    /// Reads a register, and notes it. What gave no answer did nothing.
    fn read(&mut self, run: u64, number: usize) -> Option<(Json, Value)> {
        let called = monotonic();
        let body = self.call("GET", &format!("/configs/{}", register(run, number)), b"").ok()?;
        let answered = monotonic();
        let config: Json = serde_json::from_slice(&body).unwrap();
        let value = config["Spec"]["Labels"]["value"].as_str().unwrap().parse().unwrap();
        let operations = self.history.entry(number).or_default();
        operations.push(Operation { called, answered, action: Action::Read(value) });
        Some((config, value))
    }

    /// Changes what was read before.
    fn replace(&mut self, number: usize, (mut config, from): (Json, Value), to: Value) {
        config["Spec"]["Labels"]["value"] = to.to_string().into();
        let (id, version) = (config["ID"].as_str().unwrap(), &config["Version"]["Index"]);
        let path = format!("/configs/{id}/update?version={version}");
        let body = serde_json::to_vec(&config["Spec"]).unwrap();
        let called = monotonic();
        let action = match self.call("POST", &path, &body) {
            Ok(_) => Action::Replaced { from, to },
            Err(Lost::Refused) => Action::Refused { from },
            Err(Lost::Unknown) => Action::Unknown { from, to },
            Err(Lost::Unsent) => return,
        };
        let operations = self.history.entry(number).or_default();
        operations.push(Operation { called, answered: monotonic(), action });
    }

    fn work(
        mut self,
        run: u64,
        mut chance: Chance,
        fresh: &AtomicU64,
        stop: &AtomicBool,
    ) -> History {
        while !stop.load(Ordering::Relaxed) {
            let number = chance.below(REGISTERS);
            if let Some(read) = self.read(run, number)
                && chance.below(2) == 0
            {
                let to = fresh.fetch_add(1, Ordering::Relaxed);
                self.replace(number, read, to);
            }
            std::thread::sleep(PAUSE);
        }
        self.history
    }
}

/// One thing that goes wrong, and its mending.
fn disturb(lab: &Cluster, chance: &mut Chance) -> &'static str {
    let host = u8::try_from(chance.below(MANAGERS.into())).unwrap() + 1;
    let a_while = chance.between(Duration::from_millis(300), Duration::from_millis(2800));
    match chance.below(4) {
        0 => {
            lab.kill(host).unwrap();
            std::thread::sleep(a_while);
            lab.start(host).unwrap();
            "kill"
        }
        1 => {
            for other in lab.numbers().filter(|other| *other != host) {
                lab.cut(host, other).unwrap();
            }
            std::thread::sleep(a_while);
            lab.heal().unwrap();
            "cut"
        }
        2 => {
            let other = host % MANAGERS + 1;
            lab.cut_one_way(host, other).unwrap();
            std::thread::sleep(a_while);
            lab.heal().unwrap();
            "cut one way"
        }
        _ => {
            lab.pause(host).unwrap();
            std::thread::sleep(a_while);
            lab.resume(host).unwrap();
            "pause"
        }
    }
}

fn create(lab: &Cluster, run: u64) {
    let mut client = Connection::open(&lab.socket(1)).unwrap();
    for number in 0..REGISTERS {
        let spec =
            json!({ "Name": register(run, number), "Labels": { "value": "0" }, "Data": "eA==" });
        client.call("POST", "/configs/create", &serde_json::to_vec(&spec).unwrap()).unwrap();
    }
}

/// Reads every register on every manager, once that is possible again.
fn final_reads(lab: &Cluster, run: u64) -> Vec<History> {
    let read = |host: u8| {
        let mut client = Client::new(&lab.socket(host));
        for number in 0..REGISTERS {
            let is_read = || client.read(run, number).is_some();
            eventually("the last reads", PATIENCE, is_read)
                .unwrap_or_else(|error| panic!("{error}\n{}", lab.log(host)));
        }
        client.history
    };
    lab.numbers().map(read).collect()
}

fn one_run(lab: &Arc<Cluster>, run: u64, seed: u64) -> usize {
    create(lab, run);
    let (stop, fresh) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(1)));
    let mut clients = Vec::new();
    for host in lab.numbers() {
        for number in 0..CLIENTS_PER_MANAGER {
            let client = Client::new(&lab.socket(host));
            let chance = Chance::new(seed ^ (u64::from(host) << 32) ^ ((number as u64 + 1) << 40));
            let (stop, fresh) = (Arc::clone(&stop), Arc::clone(&fresh));
            clients.push(std::thread::spawn(move || client.work(run, chance, &fresh, &stop)));
        }
    }
    let mut chance = Chance::new(seed);
    let mut disturbed = Vec::new();
    let end = monotonic() + RUN;
    while monotonic() < end {
        std::thread::sleep(chance.between(Duration::from_millis(500), Duration::from_millis(1500)));
        disturbed.push(disturb(lab, &mut chance));
    }
    stop.store(true, Ordering::Relaxed);
    let mut histories: Vec<History> =
        clients.into_iter().map(|client| client.join().unwrap()).collect();
    histories.extend(final_reads(lab, run));
    let mut registers = History::new();
    for (number, operations) in histories.into_iter().flatten() {
        registers.entry(number).or_default().extend(operations);
    }
    let count = |fits: fn(&Action) -> bool| {
        registers.values().flatten().filter(|operation| fits(&operation.action)).count()
    };
    let written = count(|action| matches!(action, Action::Replaced { .. }));
    println!(
        "run {run}, seed {seed}: {} read, {written} written, {} refused, {} unknown; {}",
        count(|action| matches!(action, Action::Read(_))),
        count(|action| matches!(action, Action::Refused { .. })),
        count(|action| matches!(action, Action::Unknown { .. })),
        disturbed.join(", "),
    );
    for (number, operations) in &registers {
        if let Err(violation) = check(0, operations) {
            let mut all = operations.clone();
            all.sort_by_key(|operation| operation.called);
            let text: Vec<String> = all.iter().map(|one| format!("{one:?}")).collect();
            panic!("run {run}, seed {seed}, register {number}: {violation}\n{}", text.join("\n"));
        }
    }
    written
}

#[test]
fn registers_stay_linearizable_through_kills_and_cuts() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let runs = number("SHOAL_LINEAR_RUNS").unwrap_or(1);
    let seed = number("SHOAL_SEED").unwrap_or(0x5eed_2026);
    let lab = Arc::new(Cluster::up("qa4linear", MANAGERS, 0).unwrap());
    let mut written = 0;
    for run in 1..=runs {
        written += one_run(&lab, run, seed.wrapping_mul(2 * run + 1));
    }
    assert!(written > 0, "nothing was written: nothing was tested");
    println!("{runs} runs, {written} acknowledged writes, no violation");
}

//! Kills the daemon at random moments of a running workload and finds nothing lost, half-made or leaked.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; what it prints is its report"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shoal_chaos_tests::command::{command, eventually, run};
use shoal_chaos_tests::host::Host;
use shoal_chaos_tests::http::Connection;
use shoal_chaos_tests::image;
use shoal_chaos_tests::registry::Registry;

/// Where the daemon keeps what belongs to images.
const CONTENT: [&str; 5] = [
    "content/blobs/sha256",
    "content/ingest",
    "snapshots",
    "snapshots/new",
    "snapshots/containers",
];
/// What is always in the directory of layers.
const FIXED: [&str; 5] = ["containers", "new", "empty", "empty-below", "trash"];

/// What the daemon acknowledged about one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    /// `create` returned its id; it will exit with this code when started.
    Created,
    /// `start` returned: it must end with its code, whatever happens to the daemon.
    Started,
    /// `rm` returned: it must not exist.
    Removed,
    /// The daemon died during a request: either outcome is right.
    Unknown,
}

type Ledger = Arc<Mutex<BTreeMap<String, (Acknowledged, i32)>>>;

/// A small generator: the seed decides the moments, so that a failing run can be repeated.
struct Moments(u64);

impl Moments {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct Cli {
    env: Vec<(String, String)>,
}

impl Cli {
    /// Standard output when the client succeeded.
    fn docker(&self, arguments: &[&str]) -> Option<String> {
        let mut docker = command("timeout");
        docker.args(["-k", "1", "30", "docker"]).args(arguments).envs(self.env.clone());
        let output = run(&mut docker).unwrap();
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

fn set(ledger: &Ledger, name: &str, state: Acknowledged, code: i32) {
    ledger.lock().unwrap().insert(name.to_owned(), (state, code));
}

/// Creates, starts, executes in and removes containers until told to stop.
fn work(worker: usize, cli: &Cli, ledger: &Ledger, stop: &AtomicBool, files: &Path) {
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let name = format!("w{worker}-{number}");
        let code = number % 7;
        set(ledger, &name, Acknowledged::Unknown, code);
        let script = format!("echo began; sleep 0.1; exit {code}");
        if cli
            .docker(&[
                "create",
                "--name",
                &name,
                "-v",
                "/anonymous",
                "busybox",
                "sh",
                "-c",
                &script,
            ])
            .is_none()
        {
            continue;
        }
        set(ledger, &name, Acknowledged::Created, code);
        if number % 5 == 0 {
            continue;
        }
        set(ledger, &name, Acknowledged::Unknown, code);
        if cli.docker(&["start", &name]).is_some() {
            set(ledger, &name, Acknowledged::Started, code);
        }
        match number % 3 {
            0 => {
                let archive = files.join(format!("w{worker}.tar"));
                cli.docker(&["commit", &name, &format!("commit-{worker}")]);
                cli.docker(&[
                    "save",
                    "-o",
                    &archive.display().to_string(),
                    &format!("commit-{worker}"),
                ]);
                cli.docker(&["load", "-i", &archive.display().to_string()]);
            }
            1 => {
                cli.docker(&["exec", &name, "true"]);
            }
            _ => {
                set(ledger, &name, Acknowledged::Unknown, code);
                if cli.docker(&["rm", "-f", "-v", &name]).is_some() {
                    set(ledger, &name, Acknowledged::Removed, code);
                }
            }
        }
    }
}

/// `name → (status, exit code)` of all containers.
fn listing(cli: &Cli) -> BTreeMap<String, (String, i32)> {
    let ids = cli.docker(&["ps", "-aq"]).unwrap();
    let mut arguments = vec!["inspect", "-f", "{{.Name}} {{.State.Status}} {{.State.ExitCode}}"];
    arguments.extend(ids.lines());
    let text = cli.docker(&arguments).unwrap();
    text.lines()
        .map(|line| {
            let mut words = line.split(' ');
            let name = words.next().unwrap().trim_start_matches('/').to_owned();
            (name, (words.next().unwrap().to_owned(), words.next().unwrap().parse().unwrap()))
        })
        .collect()
}

/// Each difference between what was acknowledged and what is.
fn differences(
    ledger: &BTreeMap<String, (Acknowledged, i32)>,
    found: &BTreeMap<String, (String, i32)>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, (state, code)) in ledger {
        let found = found.get(name);
        let right = match state {
            Acknowledged::Unknown => true,
            Acknowledged::Removed => found.is_none(),
            Acknowledged::Created => found.is_some_and(|(status, _)| status == "created"),
            Acknowledged::Started => {
                found.is_some_and(|(status, exit)| status == "exited" && exit == code)
            }
        };
        if !right {
            differences
                .push(format!("{name}: acknowledged {state:?} (code {code}), found {found:?}"));
        }
    }
    differences
}

/// A process that was started in a container before the kills, and must neither end nor pause.
struct LongExec {
    id: String,
    pid: String,
}

impl LongExec {
    /// Counts into a file until another file appears, then exits with 7.
    const SCRIPT: &str =
        "i=0; while [ ! -e /stop ]; do echo $i; i=$((i+1)); sleep 0.05; done > /numbers; exit 7";

    fn start(host: &Host) -> Self {
        host.docker(&["exec", "-d", "anchor", "sh", "-c", Self::SCRIPT]).unwrap();
        let id = host.docker(&["inspect", "-f", "{{index .ExecIDs 0}}", "anchor"]).unwrap();
        let pid = Self::ask(host, &id)["Pid"].to_string();
        Self { id, pid }
    }

    fn ask(host: &Host, id: &str) -> serde_json::Value {
        let mut api = Connection::open(&host.socket()).unwrap();
        let answer = api.call("GET", &format!("/exec/{id}/json"), b"").unwrap();
        serde_json::from_slice(&answer).unwrap()
    }

    #[track_caller]
    fn must_run(&self, host: &Host) {
        let exec = Self::ask(host, &self.id);
        assert_eq!((&exec["Running"], exec["Pid"].to_string()), (&true.into(), self.pid.clone()));
    }

    #[track_caller]
    fn must_end_well(self, host: &Host) {
        host.docker(&["exec", "anchor", "touch", "/stop"]).unwrap();
        eventually("the exec's end", Duration::from_secs(5), || {
            Self::ask(host, &self.id)["ExitCode"] == 7
        })
        .unwrap();
        must_count(&host.docker(&["exec", "anchor", "cat", "/numbers"]).unwrap(), "the exec");
    }
}

#[track_caller]
fn must_count(text: &str, who: &str) {
    let numbers: Vec<usize> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "{who} has gaps");
}

/// Image that is pulled again and again: large enough that kills meet it half-way.
const PULLED: &str = "127.0.0.1:5000/big:1";

/// Pushes an image with 24 MB that do not compress; answers the checksum of its file.
fn push(host: &Host) -> String {
    host.docker(&[
        "run",
        "--name",
        "big",
        "busybox",
        "dd",
        "if=/dev/urandom",
        "of=/big",
        "bs=1M",
        "count=24",
    ])
    .unwrap();
    host.docker(&["commit", "big", PULLED]).unwrap();
    host.docker(&["push", "-q", PULLED]).unwrap();
    host.docker(&["rm", "big"]).unwrap();
    let sum = host.docker(&["run", "--rm", PULLED, "sha256sum", "/big"]).unwrap();
    host.docker(&["rmi", PULLED]).unwrap();
    sum
}

/// Pulls and removes until told to stop.
fn pull(cli: &Cli, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        cli.docker(&["pull", "-q", PULLED]);
        cli.docker(&["rmi", PULLED]);
    }
}

/// The volumes that no container mounts, and the mounts without their volume.
fn volume_differences(host: &Host) -> Vec<String> {
    let volumes = host.docker(&["volume", "ls", "-q"]).unwrap();
    let ids = host.docker(&["ps", "-aq"]).unwrap();
    let mut arguments = vec!["inspect", "-f", "{{range .Mounts}}{{.Name}} {{end}}"];
    arguments.extend(ids.lines());
    let mounts = host.docker(&arguments).unwrap();
    let volumes: BTreeSet<&str> = volumes.split_whitespace().collect();
    let mounts: BTreeSet<&str> = mounts.split_whitespace().collect();
    volumes.symmetric_difference(&mounts).map(|name| (*name).to_owned()).collect()
}

/// Blobs, received parts and layers on the disk, once there is no image.
fn content(host: &Host) -> Vec<String> {
    let mut left = Vec::new();
    for directory in CONTENT {
        for entry in std::fs::read_dir(host.path().join("data").join(directory)).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            if directory != "snapshots" || !FIXED.contains(&name.as_str()) {
                left.push(format!("{directory}/{name}"));
            }
        }
    }
    left
}

#[test]
fn nothing_is_lost_or_leaked_by_kills_of_the_daemon() {
    let rounds: u32 =
        std::env::var("SHOAL_CRASH_ROUNDS").map_or(200, |rounds| rounds.parse().unwrap());
    let seed: u64 = std::env::var("SHOAL_SEED").map_or(0x5eed_cafe, |seed| seed.parse().unwrap());
    println!("{rounds} kills, SHOAL_SEED={seed}");
    let mut host = Host::start(&[]).unwrap();
    let rootfs = host.path().join("rootfs.tar");
    image::busybox_rootfs(&rootfs).unwrap();
    host.docker(&["import", &rootfs.display().to_string(), "busybox"]).unwrap();
    let registry = Registry::start(&host).unwrap();
    let sum = push(&host);
    let counter = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done";
    host.docker(&["run", "-d", "--name", "anchor", "busybox", "sh", "-c", counter]).unwrap();
    let exec = LongExec::start(&host);
    let anchor =
        ["inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}} {{.State.Status}}", "anchor"];
    let before = host.docker(&anchor).unwrap();

    let ledger = Ledger::default();
    let stop = Arc::new(AtomicBool::new(false));
    let files: PathBuf = host.path().to_owned();
    let client = || Cli { env: host.client("docker", Path::new("docker")).env };
    let mut workers: Vec<_> = (0..3)
        .map(|worker| {
            let (cli, ledger, stop, files) =
                (client(), ledger.clone(), stop.clone(), files.clone());
            std::thread::spawn(move || work(worker, &cli, &ledger, &stop, &files))
        })
        .collect();
    let (cli, stopped) = (client(), stop.clone());
    workers.push(std::thread::spawn(move || pull(&cli, &stopped)));
    let mut moments = Moments(seed);
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(20 + moments.below(600)));
        host.kill().unwrap();
        host.launch().unwrap();
        let found = host.docker(&anchor).unwrap();
        assert_eq!(found, before, "round {round}: the anchor was touched\n{}", host.log());
        exec.must_run(&host);
    }
    stop.store(true, Ordering::Relaxed);
    workers.into_iter().for_each(|worker| worker.join().unwrap());

    let cli = Cli { env: host.client("docker", Path::new("docker")).env };
    let ledger = ledger.lock().unwrap().clone();
    println!("{} containers in the ledger", ledger.len());
    let settled = eventually("the ledger to be true", Duration::from_secs(20), || {
        differences(&ledger, &listing(&cli)).is_empty()
    });
    if settled.is_err() {
        panic!("{}\n{}", differences(&ledger, &listing(&cli)).join("\n"), host.log());
    }
    assert_eq!(volume_differences(&host), [""; 0], "volumes\n{}", host.log());
    must_count(&host.docker(&["logs", "anchor"]).unwrap(), "the anchor's log");
    exec.must_end_well(&host);
    let pulled = host.docker(&["run", "--rm", PULLED, "sha256sum", "/big"]).unwrap();
    assert_eq!(pulled, sum, "what was pulled across kills");

    host.docker(&["rm", "-f", "anchor"]).unwrap();
    host.docker(&["system", "prune", "-af", "--volumes"]).unwrap();
    assert_eq!(content(&host), [""; 0], "content without an image\n{}", host.log());
    drop(registry);
    host.finish().unwrap();
}

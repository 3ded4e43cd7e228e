//! Kills the daemon at random moments of a running workload and finds nothing lost, half-made or leaked.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; what it prints is its report"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use shoal_chaos_tests::command::{command, eventually, run};
use shoal_chaos_tests::host::Host;
use shoal_chaos_tests::image;

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
    let counter = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.05; done";
    host.docker(&["run", "-d", "--name", "anchor", "busybox", "sh", "-c", counter]).unwrap();
    let anchor =
        ["inspect", "-f", "{{.State.Pid}} {{.State.StartedAt}} {{.State.Status}}", "anchor"];
    let before = host.docker(&anchor).unwrap();

    let ledger = Ledger::default();
    let stop = Arc::new(AtomicBool::new(false));
    let files: PathBuf = host.path().to_owned();
    let workers: Vec<_> = (0..3)
        .map(|worker| {
            let cli = Cli { env: host.client("docker", Path::new("docker")).env };
            let (ledger, stop, files) = (ledger.clone(), stop.clone(), files.clone());
            std::thread::spawn(move || work(worker, &cli, &ledger, &stop, &files))
        })
        .collect();
    let mut moments = Moments(seed);
    for round in 0..rounds {
        std::thread::sleep(Duration::from_millis(20 + moments.below(600)));
        host.kill().unwrap();
        host.launch().unwrap();
        assert_eq!(
            host.docker(&anchor).unwrap(),
            before,
            "round {round}: the anchor was touched\n{}",
            host.log()
        );
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
    let log = host.docker(&["logs", "anchor"]).unwrap();
    let numbers: Vec<usize> = log.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len()).collect::<Vec<_>>(), "the anchor's log has gaps");
    host.docker(&["system", "prune", "-af", "--volumes"]).unwrap();
    host.finish().unwrap();
}

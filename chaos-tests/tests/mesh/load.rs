//! A steady load on a published port, TCP and UDP, both families, while everything behind it is replaced: no request
//! is lost, and servers see who asks.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use shoal_chaos_tests::service_lab::ServiceLab;
use shoal_chaos_tests::traffic::{PORT, Place, Server};

/// Ends a while after it was asked to, as a server that finishes its requests.
const GRACEFUL: &str = "trap 'sleep 1; exit 0' TERM; while :; do sleep 1000 & wait; done";
/// Services under load are changed so often.
const PAUSE: Duration = Duration::from_millis(20);

/// The network namespace of a host.
fn place(lab: &ServiceLab, host: u8) -> Place {
    Place::of(lab.pid(host).unwrap()).unwrap()
}

/// Every way to a published port from a host.
fn ways(lab: &ServiceLab) -> Vec<IpAddr> {
    let hosts = lab.numbers().flat_map(|to| [lab.address(to), format!("fd00:99::{to}")]);
    let all = hosts.chain(["127.0.0.1".to_owned(), "::1".to_owned()]);
    all.map(|text| text.parse().unwrap()).collect()
}

/// Whether a server may see this client: the host's own address, or where no answer would find back
/// (ADR 9) the one that stands for the host.
fn is_client(lab: &ServiceLab, from: u8, to: IpAddr, seen: &str) -> bool {
    let own = if to.is_ipv4() { lab.address(from) } else { format!("fd00:99::{from}") };
    let stands_for = seen.starts_with("198.18.") || seen.starts_with("fd73:");
    // Tasks are on workers only: on host 1 nothing comes back to itself.
    if from == 1 && !to.is_loopback() { seen == own } else { seen == own || stands_for }
}

/// Serves in each container of the service as soon as it is there; healthy is what serves.
fn attend(lab: &ServiceLab, over: &AtomicBool) {
    let mut servers = BTreeMap::new();
    while !over.load(Ordering::SeqCst) {
        for host in 2..=3 {
            for container in lab.containers(host, "load").unwrap_or_default() {
                let started = || -> anyhow::Result<Server> {
                    let format = ["inspect", "-f", "{{.State.Pid}}", &container];
                    let place = Place::of(lab.run(host, &format)?.parse()?)?;
                    let server = Server::start(&place, &container[..12])?;
                    lab.run(host, &["exec", &container, "touch", "/ready"])?;
                    Ok(server)
                };
                if !servers.contains_key(&container) {
                    // It may not have begun yet, or be gone again.
                    servers.extend(started().ok().map(|server| (container, server)));
                }
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Asks on all ways in turn; what went wrong.
fn ask(lab: &ServiceLab, from: u8, over: &AtomicBool, asked: &AtomicUsize) -> Vec<String> {
    let (place, ways) = (place(lab, from), ways(lab));
    let mut wrong = Vec::new();
    while !over.load(Ordering::SeqCst) {
        for to in &ways {
            for (protocol, answer) in [
                ("tcp", place.ask(*to)),
                ("udp", place.ask_by_datagrams_at(SocketAddr::new(*to, PORT))),
            ] {
                let fits = answer.as_ref().is_ok_and(|answer| {
                    answer.split_once(' ').is_some_and(|(_, seen)| is_client(lab, from, *to, seen))
                });
                if !fits {
                    wrong.push(format!("{protocol} from host {from} to {to}: {answer:?}"));
                }
            }
            asked.fetch_add(1, Ordering::SeqCst);
        }
    }
    wrong
}

fn change(lab: &ServiceLab, asked: &AtomicUsize) {
    let update = |flags: &[&str]| {
        let all = [&["service", "update", "-q", "--no-resolve-image"], flags, &["load"]].concat();
        lab.docker(&all).unwrap();
    };
    update(&["--image", "busybox:two"]);
    update(&["--replicas", "4"]);
    update(&["--replicas", "1"]);
    update(&["--update-order", "start-first", "--replicas-max-per-node", "2", "--force"]);
    let name = lab.run(2, &["info", "-f", "{{.Name}}"]).unwrap();
    for availability in ["drain", "active"] {
        lab.docker(&["node", "update", "--availability", availability, &name]).unwrap();
        let moved = || Ok(availability != "drain" || lab.containers(2, "load")?.is_empty());
        lab.until("the host to be empty", moved).unwrap();
    }
    let before = asked.load(Ordering::SeqCst);
    lab.until("more requests", || Ok(asked.load(Ordering::SeqCst) > before + 32)).unwrap();
}

#[test]
fn no_request_is_lost_while_servers_are_replaced() {
    let lab = ServiceLab::up("meshl", 3, 1, &[]).unwrap();
    let (served, over, asked) =
        (AtomicBool::new(false), AtomicBool::new(false), AtomicUsize::new(0));
    let flags = [
        &["--publish", "9000:9000", "--publish", "9000:9000/udp", "--replicas", "2"][..],
        &["--constraint", "node.role==worker", "--stop-signal", "SIGTERM"],
        // It begins to serve when the test comes to it.
        &[
            "--health-cmd",
            "test -e /ready",
            "--health-interval",
            "100ms",
            "--health-retries",
            "999",
        ],
        &["--update-order", "start-first", "--update-monitor", "300ms"],
    ];
    lab.begin("load", &flags.concat(), &["sh", "-c", GRACEFUL]).unwrap();
    let (wrong, changed) = std::thread::scope(|scope| {
        let attendant = scope.spawn(|| attend(&lab, &served));
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            lab.await_replicas("load", "2/2").unwrap();
            let host = place(&lab, 1);
            for to in ways(&lab) {
                lab.until("the port", || Ok(host.ask(to).is_ok())).unwrap();
            }
        }));
        let (lab, over, asked) = (&lab, &over, &asked);
        let clients: Vec<_> =
            [1, 2].map(|from| scope.spawn(move || ask(lab, from, over, asked))).into();
        let changed = changed.and_then(|()| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| change(lab, asked)))
        });
        over.store(true, Ordering::SeqCst);
        let wrong: Vec<String> = clients.into_iter().flat_map(|one| one.join().unwrap()).collect();
        served.store(true, Ordering::SeqCst);
        attendant.join().unwrap();
        (wrong, changed)
    });
    if let Err(panic) = changed {
        eprintln!("{wrong:#?}");
        std::panic::resume_unwind(panic);
    }
    println!("{asked:?} requests");
    assert!(wrong.is_empty(), "{} of {asked:?}: {wrong:#?}", wrong.len());
}

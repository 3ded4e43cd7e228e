//! A cluster that lost its managers goes on: by `--force-new-cluster`, and from a backup onto other addresses.
//! What is refused because it would stop the cluster, and what `shoal swarm status` says of it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests; what they print is their report"
)]

use std::time::Duration;

use serde_json::Value;
use shoal_chaos_tests::command::{eventually, run};
use shoal_chaos_tests::host::bin_dir;
use shoal_chaos_tests::image;
use shoal_chaos_tests::lab::{Guard, Lab};
use shoal_chaos_tests::scratch::Scratch;

const PATIENCE: Duration = Duration::from_secs(90);

struct Case {
    lab: Guard,
    directory: Scratch,
}

impl std::ops::Deref for Case {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

impl Case {
    fn up(name: &str, hosts: u8) -> Self {
        let directory = Scratch::new().unwrap();
        let flags = ["--log-level", "info"];
        let lab = Lab::up(name, &directory.path().join("lab"), hosts, &flags).unwrap();
        Self { lab: Guard(lab), directory }
    }

    /// Host 1 begins a cluster; the others join it in a role.
    fn cluster(&self, managers: &[u8], workers: &[u8]) {
        self.run(1, &["swarm", "init", "--advertise-addr", &self.address(1)]).unwrap();
        for (role, hosts) in [("manager", managers), ("worker", workers)] {
            for host in hosts {
                self.join(*host, 1, role);
            }
        }
    }

    fn join(&self, host: u8, at: u8, role: &str) {
        let token = self.run(at, &["swarm", "join-token", "-q", role]).unwrap();
        let remote = format!("{}:2377", self.address(at));
        let own = self.address(host);
        let join = ["swarm", "join", "--token", &token, "--advertise-addr", &own, &remote];
        self.run(host, &join).unwrap_or_else(|error| panic!("{error:#}\n{}", self.log(host)));
    }

    /// `shoal` on a host: output when it succeeds, the error otherwise.
    fn shoal(&self, host: u8, arguments: &[&str]) -> Result<String, String> {
        let output = run(self.client(host, &bin_dir().unwrap().join("shoal")).args(arguments));
        let output = output.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn status(&self, host: u8) -> Value {
        let text = self.shoal(host, &["swarm", "status", "--format", "json"]).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Why `docker` fails.
    fn refusal(&self, host: u8, arguments: &[&str]) -> String {
        let output = run(self.docker(host).args(arguments)).unwrap();
        assert!(!output.status.success(), "{arguments:?} succeeded");
        String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
    }

    /// Rows of `node ls`: host name, state, part in consensus.
    fn nodes(&self, host: u8) -> Vec<String> {
        let format = "{{.Hostname}} {{.Status}} {{.ManagerStatus}}";
        let text = self.run(host, &["node", "ls", "--format", format]).unwrap_or_default();
        let mut rows: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
        rows.sort();
        rows
    }

    fn until(&self, what: &str, host: u8, condition: impl FnMut() -> bool) {
        eventually(what, PATIENCE, condition).unwrap_or_else(|error| {
            panic!("{error:#}\nnodes: {:?}\n{}", self.nodes(host), self.log(host))
        });
    }

    fn import(&self, hosts: &[u8]) {
        let rootfs = self.directory.path().join("rootfs.tar");
        image::busybox_rootfs(&rootfs).unwrap();
        for host in hosts {
            self.run(*host, &["import", &rootfs.display().to_string(), "box"]).unwrap();
        }
    }

    fn file(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
}

fn secrets(case: &Case, host: u8) -> String {
    case.run(host, &["secret", "ls", "--format", "{{.Name}}"]).unwrap_or_default()
}

fn put_secret(case: &Case, host: u8, name: &str) {
    let file = case.file(name);
    std::fs::write(&file, "hidden").unwrap();
    case.run(host, &["secret", "create", name, &file]).unwrap();
}

#[test]
fn one_manager_goes_on_after_the_others_are_lost() {
    let case = Case::up("xrf", 4);
    case.cluster(&[2, 3], &[4]);
    case.until("three managers", 1, || case.status(1)["Quorum"]["Reachable"] == 3);
    put_secret(&case, 1, "before");
    let own = case.run(1, &["info", "--format", "{{.Swarm.NodeID}}"]).unwrap();
    let root = case.run(1, &["swarm", "ca"]).unwrap();
    println!("{}", case.shoal(1, &["swarm", "status"]).unwrap());
    case.crash(2).unwrap();
    case.crash(3).unwrap();
    // Without a quorum: reads are refused, and the status still answers.
    case.until("the loss of the quorum", 1, || {
        !run(case.docker(1).args(["node", "ls"])).unwrap().status.success()
    });
    let lost = case.shoal(1, &["swarm", "status"]).unwrap();
    println!("{lost}");
    assert!(lost.contains("there is no quorum: 1 of 3 managers answer, 2 must"), "{lost}");
    let forced = case
        .run(1, &["swarm", "init", "--force-new-cluster", "--advertise-addr", &case.address(1)]);
    println!("{}", forced.unwrap_or_else(|error| panic!("{error:#}\n{}", case.log(1))));
    assert_eq!(case.run(1, &["info", "--format", "{{.Swarm.NodeID}}"]).unwrap(), own);
    assert_eq!(case.run(1, &["swarm", "ca"]).unwrap(), root);
    assert_eq!(secrets(&case, 1), "before");
    put_secret(&case, 1, "after");
    case.until("the worker's return", 1, || {
        case.nodes(1) == ["h1 Ready Leader", "h2 Down", "h3 Down", "h4 Ready"]
    });
    // What is written down survives a restart, as one manager.
    case.stop(1).unwrap();
    case.start(1).unwrap();
    case.until("the restart", 1, || secrets(&case, 1).lines().count() == 2);
    let quorum = &case.status(1)["Quorum"];
    assert_eq!((quorum["Voters"].as_u64(), quorum["Margin"].as_i64()), (Some(1), Some(0)));
    // A manager that was lost comes back alone: as a worker.
    case.start(2).unwrap();
    case.until("the return of a former manager", 2, || {
        case.nodes(1).contains(&"h2 Ready".to_owned())
    });
    case.until("that it is a worker", 2, || {
        case.run(2, &["info", "--format", "{{.Swarm.ControlAvailable}}"])
            .is_ok_and(|text| text == "false")
    });
    // And it can be promoted again.
    case.run(1, &["node", "promote", "h2"]).unwrap();
    case.until("two managers", 2, || case.status(1)["Quorum"]["Reachable"] == 2);
    let warned = case.run(1, &["info", "--format", "{{json .Warnings}}"]).unwrap();
    assert!(warned.contains("two managers"), "{warned}");
}

#[test]
fn a_backup_is_a_cluster_again_on_another_address() {
    let case = Case::up("xrb", 3);
    case.cluster(&[], &[2]);
    put_secret(&case, 1, "kept");
    let token = case.run(1, &["swarm", "join-token", "-q", "worker"]).unwrap();
    let root = case.run(1, &["swarm", "ca"]).unwrap();
    let (file, words) = (case.file("cluster.backup"), case.file("words"));
    std::fs::write(&words, "correct horse battery\n").unwrap();
    case.shoal(1, &["swarm", "backup", "--passphrase-file", &words, &file]).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"hidden"), "secrets are sealed");
    let again = case.shoal(1, &["swarm", "backup", "--passphrase-file", &words, &file]);
    assert!(again.unwrap_err().contains("exists"));
    // Refused where there is a cluster, and with other words.
    let restore = ["swarm", "restore", "--passphrase-file", &words, &file];
    let refused = case.shoal(1, &restore).unwrap_err();
    assert!(refused.contains("already part of a swarm"), "{refused}");
    let wrong = case.file("wrong");
    std::fs::write(&wrong, "wrong horse battery\n").unwrap();
    let refused = case.shoal(3, &["swarm", "restore", "--passphrase-file", &wrong, &file]);
    let refused = refused.unwrap_err();
    assert!(refused.contains("the passphrase is wrong, or the file is damaged"), "{refused}");
    assert_eq!(
        case.run(3, &["info", "--format", "{{.Swarm.LocalNodeState}}"]).unwrap(),
        "inactive"
    );
    // The only manager is lost; a host with another address has the cluster.
    case.crash(1).unwrap();
    let restored = case.shoal(3, &restore);
    println!("{}", restored.unwrap_or_else(|error| panic!("{error}\n{}", case.log(3))));
    assert_eq!(secrets(&case, 3), "kept");
    assert_eq!(case.run(3, &["swarm", "join-token", "-q", "worker"]).unwrap(), token);
    assert_eq!(case.run(3, &["swarm", "ca"]).unwrap(), root);
    case.until("the nodes", 3, || {
        let nodes = case.nodes(3);
        nodes.contains(&"h3 Ready Leader".to_owned()) && !nodes.contains(&"h2 Ready".to_owned())
    });
    println!("{}", case.shoal(3, &["swarm", "status"]).unwrap());
    // A worker joins it anew, and the restored cluster survives a restart.
    case.run(2, &["swarm", "leave", "--force"]).unwrap();
    case.join(2, 3, "worker");
    case.crash(3).unwrap();
    case.start(3).unwrap();
    case.until("the worker", 3, || case.nodes(3).contains(&"h2 Ready".to_owned()));
    assert_eq!(secrets(&case, 3), "kept");
}

#[test]
fn what_would_lose_the_quorum_is_refused_with_the_reason() {
    let case = Case::up("xrq", 3);
    case.cluster(&[2, 3], &[]);
    case.until("three managers", 1, || case.status(1)["Quorum"]["Reachable"] == 3);
    case.kill(3).unwrap();
    case.until("the loss of one", 1, || case.status(1)["Quorum"]["Reachable"] == 2);
    // From a manager that does not lead, too: it asks the leader.
    for host in [1, 2] {
        let refused = case.refusal(host, &["node", "demote", "h2"]);
        println!("{refused}");
        assert!(
            refused.contains("loss of quorum: 1 of 2 managers would answer, 2 must"),
            "{refused}"
        );
        let refused = case.refusal(host, &["swarm", "leave"]);
        println!("{refused}");
        assert!(refused.contains("leaves 1 managers out of 3"), "{refused}");
    }
    let refused = case.refusal(1, &["node", "rm", "--force", "h3"]);
    assert!(refused.contains("must be demoted to worker before removal"), "{refused}");
    // The one that is down may go.
    case.run(2, &["node", "demote", "h3"]).unwrap();
    case.until("two managers", 1, || case.status(1)["Quorum"]["Voters"] == 2);
    let status = case.shoal(2, &["swarm", "status"]).unwrap();
    println!("{status}");
    assert!(status.contains("WARNING: two managers bear no failure"), "{status}");
    assert!(status.contains("What would break it: the failure of any of h1, h2"), "{status}");
}

#[test]
fn a_worker_that_was_removed_stops_its_tasks_and_says_so() {
    let case = Case::up("xrw", 2);
    case.import(&[1, 2]);
    case.cluster(&[], &[2]);
    case.run(1, &["node", "update", "--availability", "drain", "h1"]).unwrap();
    let create =
        ["service", "create", "-d", "--name", "web", "--replicas", "2", "box", "sleep", "10000"];
    case.run(1, &create).unwrap();
    let running = |host| case.run(host, &["ps", "-q"]).unwrap().lines().count();
    case.until("the tasks", 2, || running(2) == 2);
    case.unplug(2).unwrap();
    case.until("the loss of the worker", 1, || case.nodes(1).contains(&"h2 Down".to_owned()));
    case.run(1, &["node", "rm", "--force", "h2"]).unwrap();
    assert_eq!(running(2), 2, "tasks of a node that is cut off run on");
    case.heal().unwrap();
    case.until("the end of its tasks", 2, || running(2) == 0);
    let info = case.run(2, &["info", "--format", "{{.Swarm.LocalNodeState}} {{.Swarm.Error}}"]);
    let info = info.unwrap();
    println!("{info}");
    assert!(info.starts_with("error this node was removed from the cluster"), "{info}");
    case.run(2, &["swarm", "leave", "--force"]).unwrap();
    case.join(2, 1, "worker");
    case.until("the tasks again", 2, || running(2) == 2);
    case.run(1, &["service", "rm", "web"]).unwrap();
    case.until("the end of the service", 2, || running(2) == 0);
}

#[test]
fn a_leader_that_is_stopped_hands_over() {
    let case = Case::up("xrh", 3);
    case.cluster(&[2, 3], &[]);
    case.until("three managers", 1, || case.status(1)["Quorum"]["Reachable"] == 3);
    let mut times = Vec::new();
    for _ in 0..3 {
        let status = case.status(1);
        let leader = status["Managers"].as_array().unwrap().iter().find(|m| m["Leader"] == true);
        let name = leader.unwrap()["Hostname"].as_str().unwrap().to_owned();
        let host: u8 = name[1..].parse().unwrap();
        let other = if host == 1 { 2 } else { 1 };
        case.stop(host).unwrap();
        let log = std::fs::read_to_string(case.path(host).join("shoald.log")).unwrap();
        let line = log.lines().rfind(|line| line.contains("leadership")).unwrap();
        assert!(line.contains("handed leadership over"), "{line}");
        let took: u64 = line.rsplit("took=").next().unwrap().trim().parse().unwrap();
        println!("{name}: another leads after {took} ms");
        times.push(took);
        case.until("a cluster that goes on", other, || {
            case.status(other)["Quorum"]["Reachable"] == 2
        });
        case.start(host).unwrap();
        case.until("three managers", other, || case.status(other)["Quorum"]["Reachable"] == 3);
    }
    times.sort_unstable();
    assert!(times[1] <= 200, "{times:?}");
}

//! Hosts that are unlike: clocks that are off by hours, managers of two releases, a certificate authority outside.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;
use shoal_chaos_tests::cluster::{Cluster, PATIENCE};
use shoal_chaos_tests::command::{command, eventually, run, stdout};
use shoal_chaos_tests::host::bin_dir;
use shoal_chaos_tests::pattern::line_fits;
use shoal_chaos_tests::scratch::Scratch;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Starts the daemon of a host again with another clock.
fn set_clock(lab: &Cluster, host: u8, seconds: i64) {
    lab.stop(host).unwrap();
    lab.environment(host, &[("SHOAL_LAB_CLOCK_SECONDS", &seconds.to_string())]).unwrap();
    lab.start(host).unwrap();
}

/// Starts the daemon of a host again as another release.
fn set_level(lab: &Cluster, host: u8, level: u32) {
    lab.stop(host).unwrap();
    lab.environment(host, &[("SHOAL_LAB_FEATURE_LEVEL", &level.to_string())]).unwrap();
    lab.start(host).unwrap();
}

fn status(lab: &Cluster, host: u8) -> Value {
    let mut shoal = lab.client(host, &bin_dir().unwrap().join("shoal"));
    let output = run(shoal.args(["swarm", "status", "--format", "json"])).unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn await_level(lab: &Cluster, host: u8, level: u64) {
    let is_level = || status(lab, host)["FeatureLevel"] == level;
    eventually("the feature level", PATIENCE, is_level)
        .unwrap_or_else(|error| panic!("{error} {level}: {}", status(lab, host)));
}

/// What is wrong with a node's membership, as `docker info` shows it.
fn trouble(lab: &Cluster, host: u8) -> String {
    lab.ok(host, &["info", "--format", "{{.Swarm.LocalNodeState}}: {{.Swarm.Error}}"]).unwrap()
}

#[test]
fn clocks_that_are_off_by_hours_are_named_and_harm_nobody_else() {
    let lab = Cluster::hosts("qa4clock", 4).unwrap();
    lab.ok(1, &["swarm", "init"]).unwrap();
    let token = lab.token(1, "worker").unwrap();

    // Behind by more than certificates are dated back: nothing that the cluster shows is valid yet.
    set_clock(&lab, 2, -5 * HOUR);
    let said = lab.refused(2, &["swarm", "join", "--token", &token, &lab.remote(1)]).unwrap();
    assert!(said.contains("the clock of this host is behind"), "{said}");
    assert_eq!(lab.state(2).unwrap(), "inactive");
    assert_eq!(lab.nodes(1).unwrap().len(), 1);
    // Less than that is no trouble.
    set_clock(&lab, 2, -HOUR / 2);
    lab.join(2, 1, "worker").unwrap();

    // Ahead: certificates are valid for months.
    set_clock(&lab, 3, 5 * HOUR);
    lab.join(3, 1, "manager").unwrap();
    for host in [1, 3] {
        lab.await_nodes(
            host,
            &["h1 Ready Active Leader", "h2 Ready Active", "h3 Ready Active Reachable"],
        )
        .unwrap();
        lab.create_secret(host, &format!("by-{host}")).unwrap();
    }
    // It leads, and what it signs is of a time that has not come.
    lab.ok(1, &["node", "demote", "h1"]).unwrap();
    lab.await_nodes(3, &["h1 Ready Active", "h2 Ready Active", "h3 Ready Active Leader"]).unwrap();
    let said = lab.refused(4, &["swarm", "join", "--token", &token, &lab.remote(3)]).unwrap();
    assert!(
        line_fits(
            "failed to use the certificate that manager `10.99.0.3:2377` gave: certificate of node `<*>` is valid from \
             <*> on and it is <*> here: the clock of this host is behind, or the clock of the manager that signed it \
             is ahead",
            &said
        ),
        "{said}"
    );
    assert_eq!(lab.state(4).unwrap(), "inactive");
    set_clock(&lab, 3, 0);
    lab.join(4, 3, "worker").unwrap();

    // A worker whose clock is wrong by more than its certificate's life says so, and is back when it is right.
    set_clock(&lab, 4, 200 * DAY);
    let said = trouble(&lab, 4);
    assert!(said.starts_with("error: ") && said.contains(" expired on "), "{said}");
    set_clock(&lab, 4, 0);
    let is_back = || {
        lab.nodes(3)
            .is_ok_and(|nodes| nodes.iter().any(|node| node.trim_end() == "h4 Ready Active"))
    };
    eventually("the worker to be back", PATIENCE, is_back)
        .unwrap_or_else(|error| panic!("{error} {:?}\n{}", lab.nodes(3), lab.log(4)));
    assert_eq!(lab.secrets(3).unwrap().len(), 2);
}

#[test]
fn managers_of_two_releases_work_together_and_the_older_one_cannot_stay_behind() {
    let lab = Cluster::up("qa4levels", 3, 1).unwrap();
    await_level(&lab, 1, 1);
    let all = [
        "h1 Ready Active Leader",
        "h2 Ready Active Reachable",
        "h3 Ready Active Reachable",
        "h4 Ready Active",
    ];
    // One after the other is replaced; meanwhile the cluster stays with what all of them know.
    let mut written = 0;
    for newer in [3, 2] {
        set_level(&lab, newer, 2);
        lab.await_nodes(1, &all).unwrap();
        for host in 1..=3 {
            lab.create_secret(host, &format!("by-{host}-beside-{newer}")).unwrap();
            written += 1;
        }
        assert_eq!(status(&lab, newer)["FeatureLevel"], 1);
    }
    for host in 1..=3 {
        assert_eq!(lab.secrets(host).unwrap().len(), written);
    }
    // An older release may lead the newer ones, and hands over when it goes.
    set_level(&lab, 1, 2);
    for host in 1..=3 {
        await_level(&lab, host, 2);
    }

    // The worker is of the older release: that is no matter until it is to be a manager.
    lab.ok(2, &["node", "promote", "h4"]).unwrap();
    let refused = || lab.log(4).contains("the cluster is at feature level 2, and node");
    eventually("the refusal of an old manager", PATIENCE, refused)
        .unwrap_or_else(|error| panic!("{error}\n{}", lab.log(4)));
    let line = || lab.nodes(2).unwrap().into_iter().find(|node| node.starts_with("h4 ")).unwrap();
    assert!(!line().ends_with("Reachable"), "{}", line());
    set_level(&lab, 4, 2);
    let is_manager = || line().ends_with(" Reachable");
    eventually("the new manager", PATIENCE, is_manager)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", line(), lab.log(4)));

    // Nobody goes back: the state may hold what the older release does not know.
    set_level(&lab, 2, 1);
    assert_eq!(
        trouble(&lab, 2),
        "error: the cluster is at feature level 2, and this release knows level 1: install a newer one"
    );
    lab.create_secret(3, "without-the-old-one").unwrap();
    set_level(&lab, 2, 2);
    let has_all = || lab.secrets(2).is_ok_and(|names| names.len() == written + 1);
    eventually("the manager to be back", PATIENCE, has_all).unwrap();
}

/// A signer in the network namespace of a host; ends when dropped.
struct Signer(Child);

impl Signer {
    fn start(lab: &Cluster, host: u8, directory: &Path) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/external_ca/signer.py");
        let log = std::fs::File::create(directory.join("log")).unwrap();
        let mut server = lab.inside(host);
        server.args(["python3", script]).arg(directory).args([&lab.address(host), "8888"]);
        let server = server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let signer = Self(server.spawn().unwrap());
        let listens = || {
            let probe = format!("exec 3<>/dev/tcp/{}/8888", lab.address(host));
            run(lab.inside(host).args(["bash", "-c", &probe])).is_ok_and(|o| o.status.success())
        };
        eventually("the signer", PATIENCE, listens)
            .unwrap_or_else(|error| panic!("{error}\n{}", read(&directory.join("log"))));
        signer
    }
}

impl Drop for Signer {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("{error}");
        }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// A root of our own, of which the cluster gets the certificate only.
fn make_root(directory: &Path) {
    let openssl = |words: &[&str]| stdout(command("openssl").args(words)).unwrap();
    let path = |name: &str| directory.join(name).display().to_string();
    let curve = "ec_paramgen_curve:P-256";
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", curve, "-out", &path("root.key")]);
    let usage = "keyUsage=critical,keyCertSign,cRLSign";
    let subject = ["-subj", "/CN=outside", "-days", "3650", "-addext", usage];
    let files = ["req", "-x509", "-new", "-key", &path("root.key"), "-out", &path("root.pem")];
    openssl(&[&files[..], &subject].concat());
}

#[test]
fn a_cluster_turns_to_an_authority_outside_and_lives_with_its_outages() {
    let lab = Cluster::up("qa4signer", 2, 1).unwrap();
    let directory = Scratch::new().unwrap();
    make_root(directory.path());
    let root = read(&directory.path().join("root.pem"));
    // Managers show it certificates of the old root first, then its own.
    let both = format!("{}\n{root}", lab.ok(1, &["swarm", "ca"]).unwrap());
    std::fs::write(directory.path().join("clients.pem"), both).unwrap();
    let root_file = directory.path().join("root.pem").display().to_string();
    let external = format!("protocol=cfssl,url=https://{}:8888/sign", lab.address(3));
    let turn = ["swarm", "ca", "--rotate", "--quiet", "--ca-cert", &root_file];
    let turn = [&turn[..], &["--external-ca", &external]].concat();

    let said = lab.refused(1, &turn).unwrap();
    assert_eq!(
        said,
        "there must be at least one valid, reachable external CA corresponding to the desired CA certificate"
    );
    let signer = Signer::start(&lab, 3, directory.path());
    lab.ok(1, &turn).unwrap();
    assert_eq!(lab.ok(2, &["swarm", "ca"]).unwrap().trim(), root.trim());
    let all = ["h1 Ready Active Leader", "h2 Ready Active Reachable", "h3 Ready Active"];
    lab.await_nodes(2, &all).unwrap();
    let tls = lab.ok(1, &["node", "ls", "--format", "{{.TLSStatus}}"]).unwrap();
    assert_eq!(tls, ["Ready"; 3].join("\n"));
    let signed = || read(&directory.path().join("signed"));
    assert_eq!(signed().matches("swarm-manager ").count(), 2, "{}", signed());
    assert_eq!(signed().matches("swarm-worker ").count(), 1, "{}", signed());

    // While it is away nobody can come in, and what runs runs on.
    lab.ok(3, &["swarm", "leave"]).unwrap();
    drop(signer);
    let token = lab.token(2, "worker").unwrap();
    let join = ["swarm", "join", "--token", &token, "10.99.0.1:2377"];
    let said = lab.refused(3, &join).unwrap();
    assert!(said.starts_with("Timeout was reached before node joined."), "{said}");
    lab.create_secret(2, "meanwhile").unwrap();
    let _signer = Signer::start(&lab, 3, directory.path());
    lab.await_state(3, "active").unwrap();
    // A promotion needs another certificate.
    lab.ok(1, &["node", "promote", &lab.ok(3, &["info", "-f", "{{.Swarm.NodeID}}"]).unwrap()])
        .unwrap();
    let is_manager =
        || lab.nodes(1).is_ok_and(|nodes| nodes.contains(&"h3 Ready Active Reachable".to_owned()));
    eventually("the promotion", PATIENCE, is_manager).unwrap();
    assert_eq!(lab.secrets(3).unwrap(), ["meanwhile"]);
}

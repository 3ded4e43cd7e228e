//! Attach, files, statistics and ports of tasks on any host, from any manager.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};

use serde_json::json;
use shoal_chaos_tests::command::run;
use shoal_chaos_tests::scratch::Scratch;
use shoal_chaos_tests::service_lab::ServiceLab;

use crate::{SLEEP, lab};

/// Manager that users talk to; it does not lead.
const ASKED: u8 = 2;

#[test]
fn tasks_are_reached_from_any_manager() {
    let lab = lab("reach", 3, 2, &[]);
    attach(&lab);
    stdin(&lab);
    files(&lab);
    statistics(&lab);
    ports(&lab);
    refusals(&lab);
}

/// A service of one task on host 3, and that task's id.
fn on_h3(lab: &ServiceLab, name: &str, command: &[&str]) -> String {
    lab.create(name, &["--constraint", "node.hostname==h3"], command).unwrap();
    task(lab, name)
}

fn task(lab: &ServiceLab, name: &str) -> String {
    let running = ["service", "ps", "-q", "--no-trunc", "--filter", "desired-state=running", name];
    lab.docker(&running).unwrap()
}

/// A client that runs on; killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn begin(lab: &ServiceLab, arguments: &[&str]) -> Running {
    let mut shoal = lab.shoal(ASKED).unwrap();
    shoal.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Running(shoal.spawn().unwrap())
}

/// Output comes as it is written, signals go to the process, and its exit code comes back.
fn attach(lab: &ServiceLab) {
    let script =
        "trap 'echo bye; exit 5' TERM; echo first; echo second >&2; while :; do sleep 0.1; done";
    lab.begin(
        "talks",
        &["--constraint", "node.hostname==h3", "--restart-condition", "none"],
        &["sh", "-c", "sleep 6; exec sh -c \"$0\"", script],
    )
    .unwrap();
    lab.await_replicas("talks", "1/1").unwrap();
    let task = task(lab, "talks");
    let mut client = begin(lab, &["attach", "--no-stdin", &task]);
    let mut output = BufReader::new(client.0.stdout.take().unwrap()).lines();
    assert_eq!(output.next().unwrap().unwrap(), "first");
    let mut errors = BufReader::new(client.0.stderr.take().unwrap()).lines();
    assert_eq!(errors.next().unwrap().unwrap(), "second");
    let pid = client.0.id().to_string();
    let sent = run(shoal_chaos_tests::command::command("kill").args(["-TERM", &pid])).unwrap();
    assert!(sent.status.success());
    assert_eq!(output.next().unwrap().unwrap(), "bye");
    assert_eq!(client.0.wait().unwrap().code(), Some(5));
    lab.until("the end to be told", || {
        Ok(lab.ps("talks", "{{.CurrentState}}")?[0].starts_with("Failed"))
    })
    .unwrap();
    let refused = refusal(lab, &["attach", &task]);
    assert_eq!(refused, "cannot attach to a task that is failed");
    lab.remove(&["talks"]).unwrap();
}

/// docker's CLI opens no stdin for services, its API does.
fn stdin(lab: &ServiceLab) {
    let spec = json!({
        "Name": "cat",
        "TaskTemplate": {
            "ContainerSpec": {"Image": "busybox:latest", "Command": ["cat"], "OpenStdin": true, "StopSignal": "SIGKILL"},
            "Placement": {"Constraints": ["node.hostname==h3"]},
        },
    });
    lab.api(ASKED, "POST", "/services/create", Some(&spec)).unwrap();
    lab.await_replicas("cat", "1/1").unwrap();
    let mut client = begin(lab, &["attach", &task(lab, "cat")]);
    client.0.stdin.as_mut().unwrap().write_all(b"there and back\n").unwrap();
    let mut output = BufReader::new(client.0.stdout.take().unwrap()).lines();
    assert_eq!(output.next().unwrap().unwrap(), "there and back");
    drop(client);
    lab.await_replicas("cat", "1/1").unwrap();
    lab.remove(&["cat"]).unwrap();
}

fn refusal(lab: &ServiceLab, arguments: &[&str]) -> String {
    let output = run(lab.shoal(ASKED).unwrap().args(arguments)).unwrap();
    assert!(!output.status.success(), "{arguments:?} did not fail");
    String::from_utf8_lossy(&output.stderr).trim_end().to_owned()
}

fn files(lab: &ServiceLab) {
    let task = on_h3(lab, "files", &SLEEP);
    let directory = Scratch::new().unwrap();
    let local = |name: &str| directory.path().join(name).display().to_string();
    // More than any window of a connection between hosts.
    let bytes: Vec<u8> =
        (0..12_000_000_u32).flat_map(|n| [n.to_le_bytes()[0] % 251, n.to_le_bytes()[2]]).collect();
    std::fs::write(local("large"), &bytes).unwrap();
    lab.said(ASKED, &["cp", &local("large"), &format!("{task}:/tmp/copied")]).unwrap();
    let sum = |text: String| text.split_whitespace().next().unwrap_or_default().to_owned();
    let own = shoal_chaos_tests::command::stdout(
        shoal_chaos_tests::command::command("md5sum").arg(local("large")),
    );
    let theirs = lab.exec(3, "files", &["md5sum", "/tmp/copied"]).unwrap();
    assert_eq!(sum(theirs), sum(own.unwrap()));
    lab.said(ASKED, &["cp", &format!("{task}:/tmp/copied"), &local("back")]).unwrap();
    assert!(std::fs::read(local("back")).unwrap() == bytes, "what comes back differs");
    // A directory, and into a directory.
    lab.exec(3, "files", &["sh", "-c", "mkdir -p /d/e && echo one > /d/e/f && ln -s f /d/e/g"])
        .unwrap();
    lab.said(ASKED, &["cp", &format!("{task}:/d"), &local("")]).unwrap();
    assert_eq!(std::fs::read_to_string(local("d/e/g")).unwrap(), "one\n");
    lab.said(ASKED, &["cp", &local("d/e"), &format!("{task}:/tmp")]).unwrap();
    assert_eq!(lab.exec(3, "files", &["cat", "/tmp/e/g"]).unwrap(), "one\n");
    let missing = refusal(lab, &["cp", &format!("{task}:/no/such"), &local("x")]);
    assert!(missing.contains("Could not find the file /no/such in container"), "{missing}");
    let nowhere = refusal(lab, &["cp", &local("back"), &format!("{task}:/no/such/dir/")]);
    assert_eq!(nowhere, "no such directory", "docker's words");
    lab.remove(&["files"]).unwrap();
}

fn statistics(lab: &ServiceLab) {
    let task = on_h3(lab, "used", &["sh", "-c", "sleep 1000 & sleep 1000 & wait"]);
    let format = "{{.Name}} {{.PIDs}}";
    let shown = lab.said(ASKED, &["stats", "--no-stream", "--format", format, &task]).unwrap();
    assert_eq!(shown, format!("used.1.{task} 3"));
    let table = lab.said(ASKED, &["stats", "--no-stream", &task]).unwrap();
    let memory = table.lines().nth(1).unwrap().split_whitespace().nth(3).unwrap().to_owned();
    assert!(memory.ends_with("iB") && !memory.starts_with('0'), "{table}");
    lab.remove(&["used"]).unwrap();
}

/// A port that is published nowhere and listens on loopback only.
fn ports(lab: &ServiceLab) {
    let script = "mkdir /www; echo found > /www/page; exec httpd -f -p 127.0.0.1:8000 -h /www";
    let task = on_h3(lab, "site", &["sh", "-c", script]);
    let mut client = begin(lab, &["port-forward", &task, ":8000", ":81"]);
    let mut output = BufReader::new(client.0.stdout.take().unwrap()).lines();
    let mut port = |remote: &str| -> u16 {
        let line = output.next().unwrap().unwrap();
        let port = line
            .strip_prefix("Forwarding from 127.0.0.1:")
            .and_then(|rest| rest.strip_suffix(&format!(" -> {remote}")));
        port.unwrap_or_else(|| panic!("{line}")).parse().unwrap()
    };
    let (open, closed) = (port("8000"), port("81"));
    let get = |port: u16| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        // A connection that leads nowhere may be reset.
        let _ = stream.read_to_string(&mut text);
        text
    };
    for _ in 0..3 {
        let answer = get(open);
        assert!(answer.starts_with("HTTP/1.") && answer.ends_with("\r\n\r\nfound\n"), "{answer}");
    }
    assert_eq!(get(closed), "");
    let mut errors = BufReader::new(client.0.stderr.take().unwrap()).lines();
    let told = errors.next().unwrap().unwrap();
    assert!(
        told.starts_with("port 81: ") && told.to_lowercase().contains("connection refused"),
        "{told}"
    );
    assert!(get(open).ends_with("found\n"), "one failure ends nothing else");
    lab.remove(&["site"]).unwrap();
}

fn refusals(lab: &ServiceLab) {
    let task = on_h3(lab, "last", &SLEEP);
    // A worker knows its own containers only.
    let output = run(lab.shoal(3).unwrap().args(["attach", &task])).unwrap();
    let text = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    assert_eq!(text, format!("Error response from daemon: No such container: {task}"));
    assert_eq!(
        refusal(lab, &["stats", "--no-stream", "nothere"]),
        "Error response from daemon: No such container: nothere"
    );
    lab.begin("waits", &["--constraint", "node.hostname==h9"], &SLEEP).unwrap();
    let waiting = lab.docker(&["service", "ps", "-q", "--no-trunc", "waits"]).unwrap();
    assert_eq!(
        refusal(lab, &["cp", &format!("{waiting}:/etc"), "-"]),
        format!("Error response from daemon: task {waiting} has not been scheduled")
    );
    let misused = refusal(lab, &["port-forward", &task, "x"]);
    assert_eq!(misused, "invalid port x: use PORT, LOCAL_PORT:PORT, or :PORT for any local port");
    lab.remove(&["last", "waits"]).unwrap();
}

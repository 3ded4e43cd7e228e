//! What happens to containers while no daemon runs, and what the next daemon makes of it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use shoal_chaos_tests::command::{command, eventually, run as run_program, stdout};
use shoal_chaos_tests::host::Host;
use shoal_chaos_tests::image;
use shoal_chaos_tests::network::enter;

fn host() -> Host {
    let host = Host::start(&[]).unwrap();
    let rootfs = host.path().join("rootfs.tar");
    image::busybox_rootfs(&rootfs).unwrap();
    host.docker(&["import", &rootfs.display().to_string(), "busybox"]).unwrap();
    host
}

fn run(host: &Host, flags: &[&str], script: &str) -> u32 {
    let name = flags[1];
    let mut arguments = vec!["run", "-d"];
    arguments.extend(flags);
    arguments.extend(["busybox", "sh", "-c", script]);
    host.docker(&arguments).unwrap();
    host.docker(&["inspect", "-f", "{{.State.Pid}}", name]).unwrap().parse().unwrap()
}

/// Starts containers, lets them end without a daemon, and looks at what the next daemon made of them.
/// The end of the daemon comes within the second in which the start is not yet on disk.
fn an_outage(end: impl FnOnce(&mut Host)) {
    let mut host = host();
    let stays = run(&host, &["--name", "stays"], "sleep 1000");
    let pids = [
        run(&host, &["--name", "ends"], "sleep 1000"),
        run(&host, &["--name", "rm", "--rm"], "sleep 1000"),
        run(&host, &["--name", "always", "--restart", "always"], "sleep 1000"),
        run(&host, &["--name", "on-failure", "--restart", "on-failure:3"], "sleep 1000"),
    ];
    end(&mut host);
    for pid in pids {
        stdout(command("kill").args(["-9", &pid.to_string()])).unwrap();
    }
    host.launch().unwrap();
    let states = || {
        let format = "{{.Names}} {{.State}}";
        let mut lines: Vec<String> = host
            .docker(&["ps", "-a", "--format", format])
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let wanted = ["always running", "ends exited", "on-failure running", "stays running"];
    let settled =
        eventually("the containers' states", Duration::from_secs(10), || states() == wanted);
    assert!(settled.is_ok(), "{:?}\n{}", states(), host.log());
    let inspect = |format: &str, name: &str| host.docker(&["inspect", "-f", format, name]).unwrap();
    assert_eq!(inspect("{{.State.ExitCode}}", "ends"), "137");
    assert_eq!(inspect("{{.State.Pid}}", "stays"), stays.to_string());
    assert_eq!(host.docker(&["exec", "stays", "echo", "here"]).unwrap(), "here");
    host.finish().unwrap();
}

#[test]
fn containers_that_end_while_the_daemon_is_stopped_are_reported_removed_or_restarted() {
    an_outage(|host| host.stop().unwrap());
}

#[test]
fn containers_that_end_after_a_kill_of_the_daemon_are_reported_removed_or_restarted() {
    an_outage(|host| host.kill().unwrap());
}

/// Looks `name` up as the process does, at the name server of its network.
fn lookup(pid: u32, name: &str) -> String {
    let mut nslookup = command("nsenter");
    nslookup.arg(format!("--net=/proc/{pid}/ns/net"));
    nslookup.args(["busybox", "nslookup", name, "127.0.0.11"]);
    String::from_utf8_lossy(&run_program(&mut nslookup).unwrap().stdout).into_owned()
}

/// What a published port of the host answers to `GET /`; empty when nobody does.
fn page(namespace: &str, address: SocketAddr) -> String {
    let ask = || {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    };
    let namespace = Path::new("/run/netns").join(namespace);
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| {
            enter(&namespace).unwrap();
            ask().unwrap_or_default()
        });
        asked.join().unwrap()
    });
    answer.split_once("\r\n\r\n").map(|(_, page)| page.to_owned()).unwrap_or_default()
}

#[test]
fn names_and_published_ports_outlive_a_kill_and_what_is_asked_meanwhile_is_answered() {
    let mut host = host();
    host.docker(&["network", "create", "--subnet", "172.29.0.0/24", "front"]).unwrap();
    let on = ["--network", "front", "--network-alias", "site"];
    let web = ["--name", "web", "--ip", "172.29.0.10", "-p", "8080:80"];
    run(&host, &[&web[..], &on].concat(), "echo page > /tmp/index.html; exec httpd -f -h /tmp");
    let asks = run(&host, &["--name", "asks", "--network", "front"], "sleep 1000");
    let namespace = host.name().to_owned();
    let [v4, v6] = ["127.0.0.1:8080", "[::1]:8080"].map(|text| text.parse().unwrap());
    for address in [v4, v6] {
        assert_eq!(page(&namespace, address), "page\n", "{address}\n{}", host.log());
    }

    host.kill().unwrap();
    assert_eq!(page(&namespace, v4), "page\n", "the kernel's rules need no daemon");
    let questions = std::thread::scope(|scope| {
        // Asked while no daemon runs: a name, and a port whose connections the daemon relays.
        let name = scope.spawn(|| lookup(asks, "site"));
        let relayed = scope.spawn(|| page(&namespace, v6));
        std::thread::sleep(Duration::from_secs(1));
        assert!(!name.is_finished() && !relayed.is_finished(), "nobody is there who could answer");
        host.launch().unwrap();
        [name.join().unwrap(), relayed.join().unwrap()]
    });
    assert!(questions[0].contains("172.29.0.10"), "{}\n{}", questions[0], host.log());
    assert_eq!(questions[1], "page\n", "{}", host.log());

    // The next daemon knows the old names and new ones, and holds the port.
    run(&host, &["--name", "late", "--network", "front", "--ip", "172.29.0.20"], "sleep 1000");
    host.docker(&["rename", "web", "webb"]).unwrap();
    for (name, address) in
        [("webb", "172.29.0.10"), ("site", "172.29.0.10"), ("late", "172.29.0.20")]
    {
        let answer = lookup(asks, name);
        assert!(answer.contains(address), "{name}: {answer}\n{}", host.log());
    }
    assert!(host.docker(&["run", "--rm", "-p", "8080:80", "busybox", "true"]).is_err());
    host.docker(&["rm", "-f", "webb"]).unwrap();
    assert_ne!(page(&namespace, v4), "page\n");
    host.docker(&["run", "--rm", "-p", "8080:80", "busybox", "true"]).unwrap();
    host.finish().unwrap();
}

/// How often a path is in the table of mounts.
fn mounted(path: &str) -> usize {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.lines().filter(|line| line.split(' ').nth(4) == Some(path)).count()
}

#[test]
fn a_shared_volume_outlives_a_kill_and_is_unmounted_with_its_last_user() {
    let mut host = host();
    let options = ["--opt", "type=tmpfs", "--opt", "device=tmpfs"];
    host.docker(&[&["volume", "create"][..], &options, &["ram"]].concat()).unwrap();
    let data = host.docker(&["volume", "inspect", "-f", "{{.Mountpoint}}", "ram"]).unwrap();
    run(&host, &["--name", "one", "-v", "ram:/r"], "echo kept > /r/x; sleep 1000");
    run(&host, &["--name", "two", "-v", "ram:/r"], "sleep 1000");
    let kept = |host: &Host| host.docker(&["exec", "two", "cat", "/r/x"]);
    eventually("what the other one wrote", Duration::from_secs(10), || kept(&host).is_ok())
        .unwrap();

    host.kill().unwrap();
    host.launch().unwrap();
    host.docker(&["rm", "-f", "one"]).unwrap();
    assert_eq!((kept(&host).unwrap().as_str(), mounted(&data)), ("kept", 1), "{}", host.log());
    let again = host.docker(&["run", "--rm", "-v", "ram:/r", "busybox", "cat", "/r/x"]).unwrap();
    assert_eq!(again, "kept");

    // Its last user ends while no daemon runs: the next one unmounts.
    let pid = host.docker(&["inspect", "-f", "{{.State.Pid}}", "two"]).unwrap();
    host.kill().unwrap();
    run_program(command("kill").args(["-9", &pid])).unwrap();
    host.launch().unwrap();
    eventually("the end of the mount", Duration::from_secs(10), || mounted(&data) == 0).unwrap();
    host.finish().unwrap();
}

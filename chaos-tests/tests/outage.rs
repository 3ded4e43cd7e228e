//! What happens to containers while no daemon runs, and what the next daemon makes of it.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::time::Duration;

use shoal_chaos_tests::command::{command, eventually, stdout};
use shoal_chaos_tests::host::Host;
use shoal_chaos_tests::image;

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

//! Tests of the shim on the kernel: each drives a real shim with a busybox container. They need root
//! and `busybox-static`.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod budget;
mod features;
mod support;

use std::io::{Read, Write};

use shoal_shim_protocol::config::{InitProgram, TerminalSize, UserLookup};
use shoal_shim_protocol::message::{FailureKind, Phase, Request, Response, Streams};
use shoal_shim_protocol::spec::{Cpu, Memory, Pids, Resources};
use shoal_shim_protocol::state::{Outcome, OutcomeFile};

use support::{Bench, process, refused, wait_exit};

#[test]
fn exit_code_logs_and_outcome() {
    let mut bench = Bench::new(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    let exit = bench.run();
    assert_eq!((exit.code, exit.signal, exit.oom_killed), (7, None, false));
    let log = std::fs::read_to_string(bench.path("json.log")).unwrap();
    assert!(log.contains(r#"{"log":"out\n","stream":"stdout","time":"#), "{log}");
    assert!(log.contains(r#"{"log":"err\n","stream":"stderr","time":"#), "{log}");
    let outcome = std::fs::read(bench.path("outcome.json")).unwrap();
    let outcome: OutcomeFile = serde_json::from_slice(&outcome).unwrap();
    assert_eq!(outcome.outcome, Outcome::Exited(exit.clone()));
    assert_eq!(bench.state().phase, Phase::Exited(exit));
    bench.finish();
}

#[test]
fn programs_that_cannot_run() {
    for (program, kind, message) in [
        (
            "nope",
            FailureKind::CommandNotFound,
            "exec: \"nope\": executable file not found in $PATH",
        ),
        (
            "/nope",
            FailureKind::CommandNotFound,
            "exec: \"/nope\": stat /nope: no such file or directory",
        ),
        ("/bin/data", FailureKind::CommandNotExecutable, "exec: \"/bin/data\": permission denied"),
        ("/etc", FailureKind::CommandNotExecutable, "exec: \"/etc\": is a directory"),
    ] {
        let mut bench = Bench::new(&[program]);
        let mut client = bench.spawn();
        let failure = refused(client.call(&Request::Run));
        assert_eq!(failure.kind, kind, "{failure}");
        if !support::is_foreign() {
            assert_eq!(failure.message, message);
        }
        bench.finish();
    }
}

#[test]
fn view_from_inside() {
    let script = "hostname; id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; \
        cat /proc/self/cgroup | head -1; ls /dev; cat /proc/kcore | head -c 1; echo $?; \
        touch /proc/sys/x 2>/dev/null || echo readonly; touch /etc/x && echo written; \
        ls /sys/fs/cgroup | head -1; pwd; echo $HOME; ls /proc/scsi; readlink /dev/stdout; \
        ls /sys/class/net; cat /dev/mem 2>/dev/null || echo nomem";
    let mut bench = Bench::new(&["sh", "-c", script]);
    bench.spec.process.cwd = "/made/for/me".to_owned();
    bench.spec.process.no_new_privileges = true;
    let exit = bench.run();
    let output = bench.output();
    assert_eq!(exit.code, 0, "{output}");
    for line in [
        "tester",
        "0",
        "CapEff:\t00000000000004e1",
        "CapBnd:\t00000000000004e1",
        "NoNewPrivs:\t1",
        "readonly",
        "written",
        "/made/for/me",
        "/root",
        "/proc/self/fd/1",
        "ptmx",
        "null",
        "lo",
        "nomem",
    ] {
        assert!(output.lines().any(|found| found == line), "`{line}` is not in:\n{output}");
    }
    assert!(bench.path("upper/etc/x").exists());
    bench.finish();
}

#[test]
fn readonly_root() {
    let mut bench = Bench::new(&["touch", "/etc/x"]);
    bench.spec.root.readonly = true;
    assert_eq!(bench.run().code, 1);
    assert!(bench.output().contains("Read-only file system"), "{}", bench.output());
    bench.finish();
}

#[test]
fn users_of_the_image() {
    let mut bench = Bench::new(&["sh", "-c", "id; echo $HOME; echo x > /dev/stdout"]);
    bench.config.user =
        Some(UserLookup { user: "web".to_owned(), additional_groups: vec!["77".to_owned()] });
    assert_eq!(bench.run().code, 0, "{}", bench.output());
    let output = bench.output();
    assert_eq!(output, "uid=33(web) gid=34(www) groups=4(adm),34(www),77\n/w\nx\n");
    bench.finish();
}

#[test]
fn stdin_of_an_attached_client() {
    let mut bench = Bench::new(&["cat"]);
    bench.config.stdio.open_stdin = true;
    bench.config.stdio.stdin_once = true;
    let mut client = bench.spawn();
    let mut events = bench.client();
    events.call(&Request::Subscribe).unwrap();
    client.call(&Request::Create).unwrap();
    let streams = Streams { stdin: true, stdout: true, stderr: true };
    client.call(&Request::Attach { exec: None, streams }).unwrap();
    let (mut stream, _) = client.into_stream();
    stream.write_all(b"early ").unwrap();
    bench.client().call(&Request::Start).unwrap();
    stream.write_all(b"late\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut output = Vec::new();
    stream.read_to_end(&mut output).unwrap();
    let text: Vec<u8> = output.clone();
    assert!(text.starts_with(&[1, 0, 0, 0]), "{output:?}");
    assert_eq!(wait_exit(&mut events).code, 0);
    assert_eq!(bench.output(), "early late\n");
    bench.finish();
}

#[test]
fn terminal_and_resize() {
    let mut bench = Bench::new(&["sh", "-c", "tty; stty size; cat | head -n 1; stty size"]);
    bench.config.stdio.tty = true;
    bench.config.stdio.open_stdin = true;
    bench.config.stdio.console_size = Some(TerminalSize { rows: 20, columns: 70 });
    let mut client = bench.spawn();
    client.call(&Request::Create).unwrap();
    let streams = Streams { stdin: true, stdout: true, stderr: true };
    assert_eq!(
        client.call(&Request::Attach { exec: None, streams }).unwrap(),
        Response::Attached { tty: true }
    );
    let (mut stream, _) = client.into_stream();
    bench.client().call(&Request::Start).unwrap();
    let mut seen = String::new();
    let mut buffer = [0; 512];
    while !seen.contains("20 70") {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    let size = TerminalSize { rows: 9, columns: 8 };
    bench.client().call(&Request::Resize { exec: None, size }).unwrap();
    stream.write_all(b"typed\n\x04").unwrap();
    stream.read_to_string(&mut seen).unwrap();
    assert!(seen.starts_with("/dev/pts/0\r\n") || seen.starts_with("/dev/console\r\n"), "{seen}");
    assert!(seen.contains("typed") && seen.ends_with("9 8\r\n"), "{seen}");
    bench.finish();
}

#[test]
fn exec_kill_pause() {
    let mut bench = Bench::new(&["sleep", "1000"]);
    let mut client = bench.spawn();
    client.call(&Request::Run).unwrap();
    let (output, exit) = bench
        .exec("one", process(&["sh", "-c", "echo in; hostname; cat /proc/1/cmdline; exit 3"]))
        .unwrap();
    assert_eq!(exit.code, 3);
    assert!(
        output.contains("in\n") && output.contains("tester") && output.contains("sleep"),
        "{output:?}"
    );
    let missing = bench.exec("two", process(&["nope"])).unwrap_err();
    assert_eq!(missing.kind, FailureKind::CommandNotFound);
    let mut terminal = process(&["sh", "-c", "test -t 0 && echo terminal"]);
    terminal.terminal = true;
    assert_eq!(bench.exec("three", terminal).unwrap().0, "terminal\r\n");
    client.call(&Request::Pause).unwrap();
    assert!(bench.state().paused);
    assert_eq!(refused(client.call(&Request::Pause)).kind, FailureKind::Conflict);
    client.call(&Request::Resume).unwrap();
    let Response::Pids { pids } = client.call(&Request::Pids).unwrap() else { panic!() };
    assert_eq!(pids.len(), 1);
    assert_eq!(
        refused(client.call(&Request::Shutdown { kill: false })).kind,
        FailureKind::Conflict
    );
    let mut events = bench.client();
    events.call(&Request::Subscribe).unwrap();
    client.call(&Request::Kill { signal: 9, all: false }).unwrap();
    let exit = wait_exit(&mut events);
    assert_eq!((exit.code, exit.signal), (137, Some(9)));
    bench.finish();
}

#[test]
fn execs_that_leave_a_writer_behind() {
    let mut bench = Bench::new(&["sleep", "1000"]);
    bench.spawn().call(&Request::Run).unwrap();
    let (output, exit) =
        bench.exec("one", process(&["sh", "-c", "echo x; yes >&2 & exit 0"])).unwrap();
    assert_eq!(exit.code, 0);
    assert!(output.contains("x\n"));
    let count = bench.exec("two", process(&["sh", "-c", "ps | grep -c '[y]es'"])).unwrap().0;
    assert!(count.ends_with("1\n"), "the writer is gone: {count}");
    bench.finish();
}

#[test]
fn killed_before_the_start() {
    let mut bench = Bench::new(&["true"]);
    let mut client = bench.spawn();
    let mut events = bench.client();
    events.call(&Request::Subscribe).unwrap();
    client.call(&Request::Create).unwrap();
    client.call(&Request::Kill { signal: 9, all: false }).unwrap();
    assert_eq!(wait_exit(&mut events).code, 137);
    assert_eq!(refused(client.call(&Request::Start)).kind, FailureKind::Conflict);
    bench.finish();
}

#[test]
fn limits_and_update() {
    let mut bench = Bench::new(&["sleep", "1000"]);
    let resources = bench.spec.linux.resources.as_mut().unwrap();
    resources.memory = Some(Memory { limit: Some(64 << 20), ..Memory::default() });
    resources.cpu = Some(Cpu {
        shares: Some(512),
        quota: Some(50_000),
        period: Some(100_000),
        ..Cpu::default()
    });
    resources.pids = Some(Pids { limit: 99 });
    let mut client = bench.spawn();
    client.call(&Request::Run).unwrap();
    let groups = bench.state().cgroups;
    let read = |controller: &str, file: &str| {
        let group =
            groups.iter().find(|group| group.controllers.split(',').any(|name| name == controller));
        std::fs::read_to_string(group.unwrap().path.join(file)).unwrap().trim().to_owned()
    };
    assert_eq!(read("memory", "memory.limit_in_bytes"), "67108864");
    assert_eq!(read("cpu", "cpu.shares"), "512");
    assert_eq!(read("cpu", "cpu.cfs_quota_us"), "50000");
    assert_eq!(read("pids", "pids.max"), "99");
    assert!(read("devices", "devices.list").contains("c 1:* rwm"));
    let pids = Some(Pids { limit: 55 });
    let resources = Box::new(Resources { pids, ..Resources::default() });
    client.call(&Request::Update { resources }).unwrap();
    assert_eq!(read("pids", "pids.max"), "55");
    assert_eq!(read("cpu", "cpu.shares"), "512");
    bench.finish();
}

#[test]
fn memory_killer_is_flagged() {
    let mut bench = Bench::new(&["sh", "-c", "x=$(yes | head -c 200000000)"]);
    let resources = bench.spec.linux.resources.as_mut().unwrap();
    resources.memory = Some(Memory { limit: Some(16 << 20), ..Memory::default() });
    let exit = bench.run();
    assert!(exit.oom_killed, "{exit:?}");
    bench.finish();
}

#[test]
fn init_reaps_and_forwards() {
    let script = "trap 'echo asked; exit 5' TERM; echo up; while true; do sleep 0.05; done";
    let mut bench = Bench::new(&["/sbin/docker-init", "--", "sh", "-c", script]);
    bench.config.init = Some(InitProgram::Shim);
    bench.add_shared_libraries();
    let mut events = bench.spawn();
    events.call(&Request::Subscribe).unwrap();
    let mut client = bench.client();
    client.call(&Request::Create).unwrap();
    let streams = Streams { stdin: false, stdout: true, stderr: false };
    let mut attached = bench.client();
    attached.call(&Request::Attach { exec: None, streams }).unwrap();
    client.call(&Request::Start).unwrap();
    let (mut stream, _) = attached.into_stream();
    stream.read_exact(&mut [0; 11]).unwrap(); // `up`
    client.call(&Request::Kill { signal: 15, all: false }).unwrap();
    assert_eq!(wait_exit(&mut events).code, 5);
    assert_eq!(bench.output(), "up\nasked\n");
    bench.finish();
}

#[test]
fn kept_descriptors_come_back() {
    let mut bench = Bench::new(&["true"]);
    let mut client = bench.spawn();
    let (mut mine, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let names = vec!["dns".to_owned()];
    let fds = [std::os::fd::AsFd::as_fd(&theirs)];
    client.call_with_fds(&Request::PutFds { names: names.clone() }, &fds).unwrap();
    drop(theirs);
    drop(client);
    let mut client = bench.client();
    let answer = client.call(&Request::GetFds { names: Vec::new() }).unwrap();
    assert_eq!(answer, Response::Fds { names });
    let mut back = std::os::unix::net::UnixStream::from(client.take_fds().pop().unwrap());
    back.write_all(b"x").unwrap();
    mine.read_exact(&mut [0]).unwrap();
    bench.finish();
}

#[test]
fn a_killed_shim_takes_its_container_along() {
    let mut bench = Bench::new(&["sleep", "1000"]);
    bench.config.user = Some(UserLookup { user: "web".to_owned(), additional_groups: vec![] });
    let mut client = bench.spawn();
    let Response::Started { pid, .. } = client.call(&Request::Run).unwrap() else { panic!() };
    let groups = bench.state().cgroups;
    let mut shim = bench.shim.take().unwrap();
    shim.kill().unwrap();
    shim.wait().unwrap();
    let cleaned = support::cleanup(&bench.path("run"));
    assert!(cleaned.success());
    assert!(!std::path::Path::new(&format!("/proc/{pid}/root")).exists() || is_zombie(pid));
    let outcome = std::fs::read(bench.path("outcome.json")).unwrap();
    let outcome: OutcomeFile = serde_json::from_slice(&outcome).unwrap();
    assert!(matches!(outcome.outcome, Outcome::Exited(exit) if exit.code == 137));
    assert!(groups.iter().all(|group| !group.path.exists()));
    assert!(!bench.path("run").exists());
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.contains(") Z")
}

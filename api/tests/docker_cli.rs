//! The unmodified docker CLI against the API over a backend in memory.

#[allow(
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    dead_code,
    clippy::unwrap_used,
    reason = "shared by tests"
)]
mod support;

use support::{docker, served};

#[tokio::test(flavor = "multi_thread")]
async fn reads() {
    let served = served("reads");
    let socket = &served.socket;
    let (code, out, err) = docker(socket, &["version"], "").await;
    assert!(code == Some(0) && out.contains("Server: Shoal"), "{out}{err}");
    let (code, out, err) = docker(socket, &["info"], "").await;
    assert!(code == Some(0) && out.contains("Storage Driver: overlay2"), "{out}{err}");
    let (_, out, err) =
        docker(socket, &["ps", "--format", "{{.Names}} {{.Status}} {{.Ports}}"], "").await;
    assert_eq!(out, "echo Up Less than a second 0.0.0.0:8080->80/tcp\n", "{err}");
    let (_, out, err) =
        docker(socket, &["images", "--format", "{{.Repository}}:{{.Tag}} {{.Size}}"], "").await;
    assert_eq!(out, "busybox:latest 4.26MB\n", "{err}");
    let (_, out, err) = docker(socket, &["logs", "-t", "echo"], "").await;
    assert_eq!(out, "2023-11-14T22:13:20.000000000Z one\n");
    assert_eq!(err, "2023-11-14T22:13:21.000000000Z two\n");
    let args = [
        "events",
        "--until",
        "1700000001",
        "--filter",
        "type=container",
        "--format",
        "{{.Action}}",
    ];
    let (_, out, err) = docker(socket, &args, "").await;
    assert_eq!(out, "start\n", "{err}");
    let (code, _, err) = docker(socket, &["inspect", "nothing"], "").await;
    assert_eq!((code, err.trim()), (Some(1), "Error: No such object: nothing"));
    let (code, out, err) = docker(socket, &["system", "df", "-v"], "").await;
    assert!(code == Some(0) && out.contains("Images space usage"), "{out}{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_with_input() {
    let served = served("run");
    let (code, out, err) =
        docker(&served.socket, &["run", "-i", "--memory", "64m", "busybox", "cat"], "hello\n")
            .await;
    assert_eq!((code, out.as_str()), (Some(7), "hello\n"), "{err}");
    let created = served.fake.created.lock().unwrap().clone().unwrap();
    assert_eq!(created.spec.host.resources.memory, 64 << 20);
    assert!(created.spec.open_stdin && created.spec.stdin_once);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_dockers_exit_codes() {
    let served = served("fails");
    let socket = &served.socket;
    let (code, _, err) = docker(socket, &["run", "--rm", "busybox", "nope"], "").await;
    assert_eq!(code, Some(127), "{err}");
    let (code, _, err) = docker(socket, &["kill", "absent"], "").await;
    let expected =
        "Error response from daemon: cannot kill container: absent: No such container: absent";
    assert!(code == Some(1) && err.contains(expected), "{err}");
    let (code, _, err) = docker(socket, &["pull", "busybox"], "").await;
    assert!(code == Some(1) && err.contains("registry went away"), "{err}");
    let (code, _, err) = docker(socket, &["node", "ls"], "").await;
    assert!(code == Some(1) && err.contains("This node is not a swarm manager."), "{err}");
    let (code, _, err) = docker(socket, &["ps", "--filter", "foo=bar"], "").await;
    assert!(code == Some(1) && err.contains("invalid filter 'foo'"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn executes_with_input() {
    let served = served("exec");
    let socket = &served.socket;
    let args = ["exec", "-i", "-e", "A=b", "-w", "/tmp", "echo", "cat", "-u"];
    let (code, out, err) = docker(socket, &args, "hello\n").await;
    assert_eq!((code, out.as_str()), (Some(3), "hello\n"), "{err}");
    let spec = served.fake.exec.lock().unwrap().clone().unwrap();
    assert_eq!(
        (spec.command, spec.env, spec.working_dir),
        (vec!["cat".into(), "-u".into()], vec!["A=b".into()], "/tmp".into())
    );
    let (code, out, err) = docker(socket, &["exec", "echo", "nope"], "").await;
    let expected = "OCI runtime exec failed: exec failed: unable to start container process: exec: \"nope\": executable file not found in $PATH: unknown";
    assert_eq!((code, out.trim_end()), (Some(127), expected), "{err}");
}

//! The daemon goes and comes back; containers do not notice.

use std::path::PathBuf;

use shoal_model::container::{BindMount, Phase, RestartPolicy, StopOptions, WaitCondition};
use shoal_model::exec::{ExecSpec, ExecStart};

use crate::support::{Host, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_containers_execs_and_logs_go_on() {
    let mut host = Host::new().await;
    host.create(
        "cc",
        "echo before; while [ ! -e /go ]; do sleep 0.02; done; echo after; exit 4",
        |_| {},
    )
    .await;
    host.engine.start("cc").await.unwrap();
    let pid = host.engine.inspect("cc", false).await.unwrap().state.pid;
    let spec =
        ExecSpec { command: ["sleep", "100"].map(str::to_owned).to_vec(), ..ExecSpec::default() };
    let exec = host.engine.exec_create("cc", spec.clone()).unwrap();
    let detached = ExecStart { detach: true, ..ExecStart::default() };
    host.engine.exec_start(exec.as_str(), detached).await.unwrap();

    host.restart_daemon().await;
    let details = host.engine.inspect("cc", false).await.unwrap();
    assert_eq!((details.state.phase, details.state.pid), (Phase::Running, pid));
    let found = host.engine.exec_inspect(exec.as_str()).unwrap();
    assert_eq!((found.running, found.spec), (true, spec));
    let exit = host.engine.wait("cc", WaitCondition::NextExit).unwrap();
    host.exec("cc", &["touch", "/go"]).await;
    assert_eq!(within(exit).await.code, 4);
    assert_eq!(host.log("cc").await, "1:before\n1:after\n");
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exit_during_the_outage_is_reported_with_its_code() {
    let mut host = Host::new().await;
    let shared = tempfile::tempdir().unwrap();
    let source = shared.path().display().to_string();
    host.create("cc", "while [ ! -e /shared/go ]; do sleep 0.02; done; exit 6", |spec| {
        let target = "/shared".to_owned();
        spec.host.binds = vec![BindMount { source, target, options: Vec::new() }];
    })
    .await;
    let id = host.engine.resolve("cc").unwrap();
    host.engine.start("cc").await.unwrap();
    host.stop_daemon().await;
    std::fs::write(shared.path().join("go"), "").unwrap();
    let outcome = host.root.path().join("containers").join(id.as_str()).join("outcome.json");
    host.until_exists(&outcome).await;
    host.start_daemon().await;
    let died = until(&host, |event| event.action == "die").await;
    assert_eq!(died.attributes["exitCode"], "6");
    let state = host.engine.inspect("cc", false).await.unwrap().state;
    assert_eq!((state.phase, state.exit.unwrap().code), (Phase::Exited, 6));
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_shim_takes_its_container_along_and_is_cleaned_up() {
    let mut host = Host::new().await;
    for name in ["now", "later"] {
        host.create(name, "sleep 100", |_| {}).await;
        host.engine.start(name).await.unwrap();
    }
    let exit = host.engine.wait("now", WaitCondition::NextExit).unwrap();
    kill_shim(&host, "now");
    let outcome = within(exit).await;
    assert!([137, 255].contains(&outcome.code), "{outcome:?}");
    assert!(outcome.error.is_some());
    host.stop_daemon().await;
    kill_shim(&host, "later");
    host.start_daemon().await;
    // An exit that was not written before the daemon stopped is reported again.
    until(&host, |event| event.action == "die" && event.attributes["name"] == "later").await;
    let state = host.engine.inspect("later", false).await.unwrap().state;
    assert_eq!(state.phase, Phase::Exited);
    host.finish().await;
}

fn kill_shim(host: &Host, name: &str) {
    let id = host.engine.resolve(name).unwrap();
    let state = host.exec_root.path().join("shim").join(id.as_str()).join("state.json");
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(state).unwrap()).unwrap();
    let pid = i32::try_from(state["shim"]["pid"].as_i64().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_policies_at_daemon_start() {
    let mut host = Host::new().await;
    let policies = [
        ("always", RestartPolicy::Always),
        ("unless", RestartPolicy::UnlessStopped),
        ("never-started", RestartPolicy::Always),
    ];
    for (name, policy) in policies {
        host.create(name, "sleep 100", |spec| spec.host.restart_policy = policy).await;
    }
    for name in ["always", "unless"] {
        host.engine.start(name).await.unwrap();
        let options = StopOptions { signal: Some("KILL".to_owned()), timeout: None };
        within(host.engine.stop(name, options)).await.unwrap();
    }
    host.restart_daemon().await;
    until(&host, |event| event.action == "start").await;
    let phase = async |name: &str| host.engine.inspect(name, false).await.unwrap().state.phase;
    assert_eq!(phase("always").await, Phase::Running);
    assert_eq!(phase("unless").await, Phase::Exited);
    assert_eq!(phase("never-started").await, Phase::Created);
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_of_a_crash_are_removed() {
    let mut host = Host::new().await;
    host.create("kept", "true", |_| {}).await;
    host.create("half", "true", |_| {}).await;
    host.create("going", "true", |_| {}).await;
    let containers: PathBuf = host.root.path().join("containers");
    let half = host.engine.resolve("half").unwrap();
    let going = host.engine.resolve("going").unwrap();
    host.stop_daemon().await;
    std::fs::remove_file(containers.join(half.as_str()).join("container.json")).unwrap();
    let doomed = containers.join(format!(".removing-{going}"));
    std::fs::rename(containers.join(going.as_str()), doomed).unwrap();
    let stale = host.exec_root.path().join("shim").join("ab".repeat(32));
    std::fs::create_dir(&stale).unwrap();
    host.start_daemon().await;
    let rows = host.engine.list(crate::support::everything()).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["kept"]);
    assert!(!stale.exists());
    assert_eq!(std::fs::read_dir(&containers).unwrap().count(), 1);
    let layers = host.root.path().join("snapshots/containers");
    assert_eq!(std::fs::read_dir(layers).unwrap().count(), 1);
    host.finish().await;
}

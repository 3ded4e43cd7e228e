//! Verbs and what they leave.

use std::time::Duration;

use futures_util::FutureExt as _;
use shoal_model::container::{
    Healthcheck, Phase, RemoveOptions, RestartPolicy, StopOptions, UpdateRequest, WaitCondition,
    WaitOutcome,
};
use shoal_model::filters::PruneFilters;
use shoal_model::{Classified, ErrorKind, Fact};

use crate::support::{Host, everything, until, within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_start_logs_wait_remove() {
    let host = Host::new().await;
    host.create("one", "echo out; echo err >&2; exit 7", |_| {}).await;
    let outcome = host.run_to_end("/one").await;
    assert_eq!(outcome, WaitOutcome { code: 7, error: None });
    assert_eq!(host.log("one").await, "1:out\n2:err\n");
    host.remove("one").await;
    assert_eq!(host.actions().await, "create connect start die disconnect destroy");
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verbs_whose_caller_went_away_are_not_left_half_way() {
    let host = Host::new().await;
    // Polled once and dropped, as by a client that closed its connection.
    let forsaken = host.create("forsaken", "sleep 1000", |_| {}).now_or_never();
    assert!(forsaken.is_none(), "made at once: nothing was tried");
    until(&host, |event| event.action == "create").await;
    host.engine.start("forsaken").await.unwrap();

    let options = StopOptions { signal: Some("CONT".to_owned()), timeout: Some(0) };
    assert!(host.engine.restart("forsaken", options).now_or_never().is_none());
    until(&host, |event| event.action == "restart").await;
    let phase = host.engine.inspect("forsaken", false).await.unwrap().state.phase;
    assert_eq!(phase, Phase::Running);

    let options = RemoveOptions { force: true, volumes: true, link: false };
    assert!(host.engine.remove("forsaken", options).now_or_never().is_none());
    until(&host, |event| event.action == "destroy").await;
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_removal_ends_what_is_being_started() {
    let host = Host::new().await;
    for number in 0..5 {
        let name = format!("raced{number}");
        host.create(&name, "sleep 1000", |_| {}).await;
        let options = RemoveOptions { force: true, volumes: true, link: false };
        let (started, removed) =
            tokio::join!(host.engine.start(&name), host.engine.remove(&name, options));
        started.unwrap();
        removed.unwrap();
    }
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_what_is_being_started() {
    let host = Host::new().await;
    for number in 0..5 {
        let name = format!("raced{number}");
        host.create(&name, "sleep 1000", |_| {}).await;
        let options = StopOptions { signal: Some("KILL".to_owned()), timeout: None };
        // Nobody waits for the start any more.
        assert!(host.engine.start(&name).now_or_never().is_none());
        host.engine.stop(&name, options).await.unwrap();
        let state = host.engine.inspect(&name, false).await.unwrap().state;
        assert_eq!(state.phase, Phase::Exited);
    }
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_not_there_fails_with_127_and_leaves_nothing() {
    let host = Host::new().await;
    host.create("bad", "", |spec| spec.command = Some(vec!["nope".to_owned()])).await;
    let mut wait = host.engine.wait("bad", WaitCondition::NextExit).unwrap();
    let error = host.engine.start("bad").await.unwrap_err();
    let reason = "exec: \"nope\": executable file not found in $PATH".to_owned();
    assert_eq!(error.fact(), Some(Fact::StartFailed { exit_code: 127, reason }));
    assert!(futures_util::poll!(&mut wait).is_pending(), "what never began has no exit");
    let details = host.engine.inspect("bad", false).await.unwrap();
    assert_eq!(details.state.phase, Phase::Created);
    assert_eq!(std::fs::read_dir(host.exec_root.path().join("shim")).unwrap().count(), 0);
    assert!(host.networking.attached.lock().unwrap().is_empty());
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_is_patient_then_kills() {
    let host = Host::new().await;
    host.create("deaf", "trap '' TERM; echo ready; while :; do sleep 1; done", |_| {}).await;
    host.create("polite", "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done", |_| {})
        .await;
    for (name, code) in [("deaf", 137), ("polite", 3)] {
        host.engine.start(name).await.unwrap();
        host.wait_for_log(name, "ready").await;
        let options = StopOptions { signal: None, timeout: Some(1) };
        within(host.engine.stop(name, options.clone())).await.unwrap();
        let state = host.engine.inspect(name, false).await.unwrap().state;
        assert_eq!((state.phase, state.exit.unwrap().code), (Phase::Exited, code), "{name}");
        let again = host.engine.stop(name, options).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::NotModified);
    }
    assert_eq!(
        host.actions().await,
        "create create connect start kill kill die disconnect stop connect start kill die disconnect stop"
    );
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pause_rename_update_and_refusals() {
    let host = Host::new().await;
    let id = host.create("aa", "sleep 100", |_| {}).await;
    host.create("bb", "true", |_| {}).await;
    assert_eq!(host.engine.rename("aa", "bb").await.unwrap_err().kind(), ErrorKind::Conflict);
    host.engine.rename("aa", "cc").await.unwrap();
    assert_eq!(host.engine.resolve("/cc").unwrap(), id);
    assert_eq!(host.engine.resolve(&id.as_str()[..20]).unwrap(), id);
    assert_eq!(host.engine.resolve("aa").unwrap_err().kind(), ErrorKind::NotFound);
    host.engine.start("cc").await.unwrap();
    assert_eq!(host.engine.start("cc").await.unwrap_err().kind(), ErrorKind::NotModified);
    host.engine.pause("cc").await.unwrap();
    assert_eq!(host.engine.pause("cc").await.unwrap_err().kind(), ErrorKind::Conflict);
    host.engine.unpause("cc").await.unwrap();
    let refused = host.engine.remove("cc", RemoveOptions::default()).await.unwrap_err();
    let state = "running".to_owned();
    assert_eq!(refused.fact(), Some(Fact::RemoveRunning { container: "cc".to_owned(), state }));
    let mut request = UpdateRequest::default();
    request.resources.memory = 64 << 20;
    request.resources.memory_swap = 64 << 20;
    host.engine.update("cc", request).await.unwrap();
    let limit = format!("/sys/fs/cgroup/memory{}/{id}/memory.limit_in_bytes", host.cgroup);
    assert_eq!(std::fs::read_to_string(limit).unwrap().trim(), (64 << 20).to_string());
    host.engine.pause("cc").await.unwrap();
    within(host.engine.kill("cc", "KILL")).await.unwrap();
    assert_eq!(host.engine.inspect("cc", false).await.unwrap().state.exit.unwrap().code, 137);
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_on_failure_end_after_the_allowed_number() {
    let host = Host::new().await;
    host.create("loop", "exit 1", |spec| {
        spec.host.restart_policy = RestartPolicy::OnFailure { max_retries: 2 };
    })
    .await;
    host.engine.start("loop").await.unwrap();
    let deaths = std::sync::atomic::AtomicU32::new(0);
    until(&host, |event| {
        event.action == "die" && deaths.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2
    })
    .await;
    let details = host.engine.inspect("loop", false).await.unwrap();
    assert_eq!((details.state.phase, details.restart_count), (Phase::Exited, 2));
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarting_container_can_be_stopped_and_removed() {
    let host = Host::new().await;
    host.create("loop", "exit 1", |spec| spec.host.restart_policy = RestartPolicy::Always).await;
    host.engine.start("loop").await.unwrap();
    until(&host, |event| event.action == "die").await;
    within(host.engine.stop("loop", StopOptions::default())).await.unwrap();
    assert_eq!(host.engine.inspect("loop", false).await.unwrap().state.phase, Phase::Exited);
    host.engine.start("loop").await.unwrap();
    host.remove("loop").await;
    assert!(host.engine.list(everything()).await.unwrap().is_empty());
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn auto_remove_tells_the_waiter_the_code() {
    let host = Host::new().await;
    host.create("gone", "exit 5", |spec| spec.host.auto_remove = true).await;
    let removed = host.engine.wait("gone", WaitCondition::Removed).unwrap();
    host.engine.start("gone").await.unwrap();
    assert_eq!(within(removed).await.code, 5);
    assert_eq!(host.engine.resolve("gone").unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(host.actions().await, "create connect start die disconnect destroy");
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_probed_and_shown() {
    let host = Host::new().await;
    host.create("sick", "sleep 100", |spec| {
        spec.healthcheck = Some(Healthcheck {
            test: ["CMD-SHELL", "test -e /ok && echo fine"].map(str::to_owned).to_vec(),
            interval: Duration::from_millis(30),
            retries: 2,
            ..Healthcheck::default()
        });
    })
    .await;
    host.engine.start("sick").await.unwrap();
    until(&host, |event| event.action == "health_status: unhealthy").await;
    host.exec("sick", &["touch", "/ok"]).await;
    until(&host, |event| event.action == "health_status: healthy").await;
    let health = host.engine.inspect("sick", false).await.unwrap().state.health.unwrap();
    assert_eq!(health.log.last().unwrap().output, "fine\n");
    assert!(health.log.len() <= 5);
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prune_takes_only_what_does_not_run() {
    let host = Host::new().await;
    host.create("up", "sleep 100", |_| {}).await;
    let down = host.create("down", "true", |_| {}).await;
    host.engine.start("up").await.unwrap();
    let pruned = host.engine.prune(PruneFilters::default()).await.unwrap();
    assert_eq!(pruned.removed, [down.to_string()]);
    let left = host.engine.list(everything()).await.unwrap();
    assert_eq!(left.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["up"]);
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_at_once() {
    let host = Host::new().await;
    let start = std::time::Duration::from_nanos(0);
    let begin = shoal_base::Clock::monotonic(&shoal_base::SystemClock);
    let all = (0..50).map(|number| {
        let host = &host;
        async move {
            let name = format!("c{number}");
            host.create(&name, "sleep 100", |_| {}).await;
            host.engine.start(&name).await.unwrap();
        }
    });
    futures_util::future::join_all(all).await;
    let took = shoal_base::Clock::monotonic(&shoal_base::SystemClock) - begin - start;
    println!("50 created and started in parallel: {took:?}");
    let running = host.engine.list(Default::default()).await.unwrap();
    assert_eq!(running.len(), 50);
    let removals = running.iter().map(|row| host.remove(&row.name));
    futures_util::future::join_all(removals).await;
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_of_one() {
    let host = Host::new().await;
    let now = || shoal_base::Clock::monotonic(&shoal_base::SystemClock);
    let mut starts = Vec::new();
    let mut removals = Vec::new();
    for _ in 0..20 {
        let begin = now();
        host.create("tt", "true", |_| {}).await;
        let exit = host.engine.wait("tt", WaitCondition::NextExit).unwrap();
        host.engine.start("tt").await.unwrap();
        starts.push(now() - begin);
        within(exit).await;
        let begin = now();
        host.remove("tt").await;
        removals.push(now() - begin);
    }
    starts.sort();
    removals.sort();
    println!("create + start: median {:?}, min {:?}", starts[10], starts[0]);
    println!("remove right after the exit: median {:?}, min {:?}", removals[10], removals[0]);
    host.finish().await;
}

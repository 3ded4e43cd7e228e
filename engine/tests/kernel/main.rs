//! Tests of the engine on the kernel: real shims, busybox containers. They need root and
//! `busybox-static`.

mod support;

use shoal_model::container::WaitOutcome;

use support::Host;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_start_logs_wait_remove() {
    let host = Host::new().await;
    host.create("one", "echo out; echo err >&2; exit 7", |_| {}).await;
    let outcome = host.run_to_end("/one").await;
    assert_eq!(outcome, WaitOutcome { code: 7, error: None });
    assert_eq!(host.log("one").await, "1:out\n2:err\n");
    host.remove("one").await;
    assert_eq!(host.actions().await, "create start die destroy");
    host.finish().await;
}

//! Attach, exec, logs that are followed.

use futures_util::StreamExt;
use shoal_engine::container::session::Session;
use shoal_model::container::{AttachOptions, Input, LogOptions, LogSpec, OutputKind};
use shoal_model::exec::{ExecSpec, ExecStart};
use shoal_model::{Classified, ErrorKind, Fact};

use crate::support::{Host, within};

/// Collects a session's output: stdout and stderr.
pub(crate) async fn collect(session: Session) -> (String, String) {
    let mut texts = [Vec::new(), Vec::new()];
    let mut output = session.output;
    while let Some(chunk) = within(output.next()).await {
        let chunk = chunk.unwrap();
        texts[usize::from(chunk.kind == OutputKind::Stderr)].extend(chunk.bytes);
    }
    let [out, err] = texts.map(|text| String::from_utf8(text).unwrap());
    (out, err)
}

const ALL: AttachOptions =
    AttachOptions { logs: false, stream: true, stdin: true, stdout: true, stderr: true };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attached_before_the_start_misses_nothing_and_gives_input() {
    let host = Host::new().await;
    host.create("cat", "echo begin; cat; echo end >&2", |spec| {
        spec.open_stdin = true;
        spec.stdin_once = true;
    })
    .await;
    let mut session = host.engine.attach("cat", ALL).await.unwrap();
    let input = session.input.take().unwrap();
    host.engine.start("cat").await.unwrap();
    input.send(Input::Data(b"hello\n".to_vec())).await.unwrap();
    input.send(Input::End).await.unwrap();
    let (out, err) = collect(session).await;
    assert_eq!((out.as_str(), err.as_str()), ("begin\nhello\n", "end\n"));
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attach_replays_the_log_first() {
    let host = Host::new().await;
    host.create("cc", "echo old; read line; echo new", |spec| spec.open_stdin = true).await;
    host.engine.start("cc").await.unwrap();
    host.wait_for_log("cc", "old").await;
    let mut session = host.engine.attach("cc", AttachOptions { logs: true, ..ALL }).await.unwrap();
    let input = session.input.take().unwrap();
    input.send(Input::Data(b"\n".to_vec())).await.unwrap();
    assert_eq!(collect(session).await.0, "old\nnew\n");
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_detaches_leaves_the_container_alone() {
    let host = Host::new().await;
    host.create("cc", "read a; echo got $a; sleep 100", |spec| spec.open_stdin = true).await;
    host.engine.start("cc").await.unwrap();
    let mut first = host.engine.attach("cc", ALL).await.unwrap();
    first.input.take().unwrap().send(Input::Detached).await.unwrap();
    drop(first);
    let mut second = host.engine.attach("cc", ALL).await.unwrap();
    second.input.take().unwrap().send(Input::Data(b"it\n".to_vec())).await.unwrap();
    let chunk = within(second.output.next()).await.unwrap().unwrap();
    assert_eq!(chunk.bytes, b"got it\n");
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn execs() {
    let host = Host::new().await;
    host.create("cc", "sleep 100", |_| {}).await;
    let wish = |words: &[&str]| ExecSpec {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        attach_stdout: true,
        attach_stderr: true,
        ..ExecSpec::default()
    };
    let early = host.engine.exec_create("cc", wish(&["true"])).unwrap_err();
    let container = host.engine.resolve("cc").unwrap().to_string();
    assert_eq!(early.fact(), Some(Fact::NotRunning { container }));
    host.engine.start("cc").await.unwrap();

    let spec = ExecSpec {
        env: vec!["A=b".to_owned()],
        working_dir: "/tmp".to_owned(),
        ..wish(&["sh", "-c", "echo $A $PWD; echo e >&2; exit 9"])
    };
    let id = host.engine.exec_create("cc", spec).unwrap();
    let session = host.engine.exec_start(id.as_str(), ExecStart::default()).await.unwrap();
    assert_eq!(collect(session.unwrap()).await, ("b /tmp\n".to_owned(), "e\n".to_owned()));
    host.until_exec_ended(&id).await;
    assert_eq!(host.engine.exec_inspect(id.as_str()).unwrap().exit_code, Some(9));
    let again = host.engine.exec_start(id.as_str(), ExecStart::default()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::Conflict);

    let id = host.engine.exec_create("cc", wish(&["nope"])).unwrap();
    let failed = host.engine.exec_start(id.as_str(), ExecStart::default()).await.unwrap_err();
    assert!(matches!(failed.fact(), Some(Fact::StartFailed { exit_code: 127, .. })), "{failed:?}");
    assert_eq!(host.engine.exec_inspect(id.as_str()).unwrap().exit_code, Some(127));

    let id = host.engine.exec_create("cc", wish(&["sleep", "100"])).unwrap();
    let detached = ExecStart { detach: true, ..ExecStart::default() };
    assert!(host.engine.exec_start(id.as_str(), detached).await.unwrap().is_none());
    assert!(host.engine.exec_inspect(id.as_str()).unwrap().running);
    assert_eq!(host.engine.inspect("cc", false).await.unwrap().execs, std::slice::from_ref(&id));
    within(host.engine.kill("cc", "9")).await.unwrap();
    assert_eq!(host.engine.exec_inspect(id.as_str()).unwrap().exit_code, Some(137));
    host.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_followed_to_the_end_of_the_container() {
    for driver in ["json-file", "local"] {
        let host = Host::new().await;
        host.create("cc", "echo 1; read x; echo 2; echo 3 >&2", |spec| {
            spec.open_stdin = true;
            spec.host.log = Some(LogSpec { driver: driver.to_owned(), ..LogSpec::default() });
        })
        .await;
        let mut session = host.engine.attach("cc", ALL).await.unwrap();
        host.engine.start("cc").await.unwrap();
        let options =
            LogOptions { stdout: true, stderr: true, follow: true, ..LogOptions::default() };
        let mut logs = host.engine.logs("cc", options).await.unwrap().records;
        let mut lines = Vec::new();
        lines.push(within(logs.next()).await.unwrap().unwrap().line);
        let input = session.input.take().unwrap();
        input.send(Input::Data(b"\n".to_vec())).await.unwrap();
        while let Some(record) = within(logs.next()).await {
            lines.push(record.unwrap().line);
        }
        assert_eq!(lines.concat(), b"1\n2\n3\n", "{driver}");
        host.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn driver_none_keeps_nothing() {
    let host = Host::new().await;
    host.create("cc", "echo 1", |spec| {
        spec.host.log = Some(LogSpec { driver: "none".to_owned(), ..LogSpec::default() });
    })
    .await;
    host.run_to_end("cc").await;
    let options = LogOptions { stdout: true, ..LogOptions::default() };
    let refused = host.engine.logs("cc", options).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotImplemented);
    assert_eq!(refused.to_string(), "configured logging driver does not support reading");
    host.finish().await;
}

use std::io::Write;

use shoal_shim_protocol::local_log::{self, MAGIC, Record};
use shoal_shim_protocol::stdcopy::Stream;

use super::*;

fn json_line(second: i64, stream: &str, text: &str) -> String {
    format!(
        "{{\"log\":\"{text}\\n\",\"stream\":\"{stream}\",\"time\":\"1970-01-01T00:00:{second:02}Z\"}}\n"
    )
}

fn everything() -> LogOptions {
    LogOptions { stdout: true, stderr: true, ..LogOptions::default() }
}

/// Reads the history and renders it as `second:line` words.
fn render(place: &Place, options: &LogOptions) -> String {
    let (sender, mut receiver) = mpsc::channel(1000);
    let sink = Sink { sender, filter: Filter::new(options) };
    history::read(place, options.tail, &sink).unwrap();
    drop(sink);
    let mut words = Vec::new();
    while let Ok(record) = receiver.try_recv() {
        let record = record.unwrap();
        let line = String::from_utf8(record.line).unwrap();
        words.push(format!("{}:{}", record.at.seconds(), line.trim_end()));
    }
    words.join(" ")
}

fn rotated_json(directory: &std::path::Path) -> Place {
    let path = directory.join("x-json.log");
    let gz = std::fs::File::create(directory.join("x-json.log.2.gz")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(gz, flate2::Compression::default());
    gz.write_all((json_line(1, "stdout", "a") + &json_line(2, "stderr", "b")).as_bytes()).unwrap();
    gz.finish().unwrap();
    std::fs::write(directory.join("x-json.log.1"), json_line(3, "stdout", "c")).unwrap();
    let current = json_line(4, "stderr", "d") + &json_line(5, "stdout", "e") + "{\"log\":\"torn";
    std::fs::write(&path, current).unwrap();
    Place { path, format: Format::Json }
}

fn local(directory: &std::path::Path, torn: bool) -> Place {
    let path = directory.join("container.log");
    let mut bytes = MAGIC.to_vec();
    for second in 1..=4_i64 {
        let line = [b'a' + u8::try_from(second).unwrap() - 1];
        let stream = if second % 2 == 0 { Stream::Stderr } else { Stream::Stdout };
        let time_ns = second * 1_000_000_000;
        local_log::encode(&Record { time_ns, stream, partial: false, line: &line }, &mut bytes);
    }
    if torn {
        bytes.extend_from_slice(&[0, 0, 0, 20, 1, 2, 3]);
    }
    std::fs::write(&path, bytes).unwrap();
    Place { path, format: Format::Local }
}

#[test]
fn history_goes_through_rotated_and_compressed_files() {
    let directory = tempfile::tempdir().unwrap();
    let place = rotated_json(directory.path());
    assert_eq!(render(&place, &everything()), "1:a 2:b 3:c 4:d 5:e");
    let tails: Vec<String> = (0..7)
        .map(|tail| render(&place, &LogOptions { tail: Some(tail), ..everything() }))
        .collect();
    assert_eq!(
        tails,
        [
            "",
            "5:e",
            "4:d 5:e",
            "3:c 4:d 5:e",
            "2:b 3:c 4:d 5:e",
            "1:a 2:b 3:c 4:d 5:e",
            "1:a 2:b 3:c 4:d 5:e"
        ]
    );
}

#[test]
fn local_files_are_read_from_both_ends_also_when_torn() {
    for torn in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let place = local(directory.path(), torn);
        assert_eq!(render(&place, &everything()), "1:a 2:b 3:c 4:d", "torn {torn}");
        let tails: Vec<String> = (0..6)
            .map(|tail| render(&place, &LogOptions { tail: Some(tail), ..everything() }))
            .collect();
        assert_eq!(
            tails,
            ["", "4:d", "3:c 4:d", "2:b 3:c 4:d", "1:a 2:b 3:c 4:d", "1:a 2:b 3:c 4:d"],
            "torn {torn}"
        );
    }
}

#[test]
fn bounds_and_streams_choose_after_the_tail() {
    let directory = tempfile::tempdir().unwrap();
    let place = rotated_json(directory.path());
    let at = |second| Some(Timestamp::from_parts(second, 0));
    let cases = [
        (LogOptions { since: at(3), ..everything() }, "3:c 4:d 5:e"),
        (LogOptions { until: at(3), ..everything() }, "1:a 2:b 3:c"),
        (LogOptions { since: at(2), until: at(4), ..everything() }, "2:b 3:c 4:d"),
        (LogOptions { stderr: false, ..everything() }, "1:a 3:c 5:e"),
        (LogOptions { stdout: false, tail: Some(2), ..everything() }, "4:d"),
        (LogOptions { since: at(5), tail: Some(3), ..everything() }, "5:e"),
    ];
    for (options, expected) in cases {
        assert_eq!(render(&place, &options), expected, "{options:?}");
    }
}

#[test]
fn a_long_tail_crosses_blocks() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x-json.log");
    let lines: Vec<String> = (0..3000)
        .map(|number| json_line(number % 60, "stdout", &format!("{number:050}")))
        .collect();
    std::fs::write(&path, lines.concat()).unwrap();
    let place = Place { path, format: Format::Json };
    let text = render(&place, &LogOptions { tail: Some(900), ..everything() });
    let words: Vec<&str> = text.split(' ').collect();
    assert_eq!(words.len(), 900);
    assert!(words[0].ends_with("2100") && words[899].ends_with("2999"));
}

#[tokio::test]
async fn following_survives_rotation_and_ends_with_the_container() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x-json.log");
    std::fs::write(&path, json_line(1, "stdout", "a")).unwrap();
    let place = Place { path: path.clone(), format: Format::Json };
    let (sender, mut receiver) = mpsc::channel(100);
    let sink = Sink { sender, filter: Filter::new(&everything()) };
    let follower = follow::Follower::new(&place).unwrap();
    let (past, from) = (sink.clone(), place.clone());
    let read = shoal_base::blocking::run("read", move || history::read(&from, None, &past));
    let position = read.await.unwrap().unwrap().unwrap();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let ended: futures_util::future::BoxFuture<'static, _> = Box::pin(async move {
        let _ = ended.await;
        shoal_model::container::WaitOutcome::default()
    });
    let script = async {
        let mut seen = vec![receiver.recv().await.unwrap().unwrap().at.seconds()];
        let append = |text: String| {
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        };
        append(json_line(2, "stdout", "b"));
        seen.push(receiver.recv().await.unwrap().unwrap().at.seconds());
        append(json_line(3, "stdout", "c"));
        std::fs::rename(&path, directory.path().join("x-json.log.1")).unwrap();
        std::fs::write(&path, json_line(4, "stdout", "d")).unwrap();
        seen.push(receiver.recv().await.unwrap().unwrap().at.seconds());
        seen.push(receiver.recv().await.unwrap().unwrap().at.seconds());
        append(json_line(5, "stdout", "e"));
        end.send(()).unwrap();
        seen.push(receiver.recv().await.unwrap().unwrap().at.seconds());
        seen
    };
    let (result, seen) = tokio::join!(follower.run(position, ended, &sink), script);
    result.unwrap();
    assert_eq!(seen, [1, 2, 3, 4, 5]);
}

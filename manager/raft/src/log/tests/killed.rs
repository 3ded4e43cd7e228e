//! A writer that is killed: what it was told is on disk is there.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::time::Duration;

use openraft::storage::RaftLogReader as _;
use shoal_base::{Clock, SystemClock};

use super::{append, entry, open};

/// Makes this test the writer, in the named directory.
const DIRECTORY: &str = "SHOAL_TEST_LOG";

/// Appends for ever and prints the last acknowledged index.
async fn write_for_ever(directory: &std::path::Path) {
    let mut log = open(directory).unwrap();
    let mut next = u64::try_from(log.try_get_log_entries(..).await.unwrap().len()).unwrap();
    loop {
        let count = 1 + next % 7;
        append(&mut log, next..next + count).await;
        next += count;
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {next}").unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_writer_loses_nothing_it_acknowledged() {
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        return write_for_ever(directory.as_ref()).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 1..=5u64 {
        let mut child = shoal_base::command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "--nocapture",
                "log::tests::killed::a_killed_writer_loses_nothing_it_acknowledged",
            ])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let number = |line: &str| line.strip_prefix("acknowledged ")?.parse::<u64>().ok();
        // It runs before it is killed, at another moment each time.
        let goal = acknowledged + 50 * round;
        while acknowledged < goal {
            let line = lines.next().unwrap().unwrap();
            acknowledged = number(&line).unwrap_or(acknowledged);
        }
        SystemClock.sleep(Duration::from_micros(777 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
        let rest = lines.map_while(Result::ok).filter_map(|line| number(&line));
        acknowledged = rest.last().unwrap_or(acknowledged);
        let mut log = open(dir.path()).unwrap();
        let found = log.try_get_log_entries(..).await.unwrap();
        let count = u64::try_from(found.len()).unwrap();
        assert!(count >= acknowledged, "{acknowledged} were acknowledged, {count} are there");
        assert_eq!(found, (0..count).map(entry).collect::<Vec<_>>());
        log.close().await;
    }
}

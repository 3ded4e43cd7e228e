//! The attached progress display on a terminal, of both clients, on five hosts.

use std::process::Command;

use shoal_chaos_tests::command::{command, stdout};
use shoal_chaos_tests::host::bin_dir;
use shoal_chaos_tests::service_lab::ServiceLab;

use crate::lab;

const QUICK: [&str; 3] = ["--no-resolve-image", "--stop-signal", "SIGKILL"];

#[test]
fn both_clients_show_the_same_progress_on_a_terminal() {
    let lab = lab("display", 5, 3, &[]);
    let shoal = bin_dir().unwrap().join("shoal").display().to_string();
    for client in ["docker", &shoal] {
        let last = |arguments: &[&str]| screen(&lab, client, arguments);
        let create = |flags: &[&str], command: &[&str]| {
            let create = ["service", "create", "--name", "web"];
            last(&[&create[..], &QUICK, flags, &["busybox"], command].concat())
        };
        let sleep = ["sleep", "1000"];

        let shown = create(&["--replicas", "3"], &sleep);
        check(client, &shown, &[overall(3), replica(1, 3), replica(2, 3), replica(3, 3)].concat());
        let shown = last(&["service", "scale", "web=5"]);
        let five: Vec<String> = (1..=5).flat_map(|slot| replica(slot, 5)).collect();
        check(client, &shown, &[overall(5), five.clone()].concat());
        // Not a short watch: an update that is over before the client has looked ends the display, with docker as with us.
        let update = ["service", "update", "--update-parallelism", "0"];
        let shown =
            last(&[&update[..], &["--no-resolve-image", "--env-add", "A=1", "web"]].concat());
        check(client, &shown, &[overall(5), five].concat());
        lab.remove(&["web"]).unwrap();

        let shown = create(&["--mode", "global"], &sleep);
        check(client, &shown, &overall(5));
        let running = shown.iter().filter(|line| line.contains(": running   ["));
        assert_eq!(running.count(), 5, "{client}: {shown:#?}");
        lab.remove(&["web"]).unwrap();

        for (mode, total) in [("replicated-job", 3), ("global-job", 5)] {
            let replicas: &[&str] = if mode == "global-job" { &[] } else { &["--replicas", "3"] };
            let flags = [&["--mode", mode, "--restart-condition", "none"], replicas].concat();
            let shown = create(&flags, &["true"]);
            let progress = format!("job progress: {total} out of {total} complete");
            assert!(shown.iter().any(|line| line.starts_with(&progress)), "{client}: {shown:#?}");
            let complete = shown.iter().filter(|line| line.contains(": complete  ["));
            assert!(complete.count() > 0, "{client}: {shown:#?}");
            lab.remove(&["web"]).unwrap();
        }
    }
}

fn overall(tasks: u8) -> Vec<String> {
    vec![format!("overall progress: {tasks} out of {tasks} tasks")]
}

fn replica(slot: u8, of: u8) -> Vec<String> {
    let bar = "=".repeat(50);
    vec![format!("{slot}/{of}: running   [{bar}>]")]
}

/// The screen has these lines, in this order, and ends with the service's convergence.
#[track_caller]
fn check(client: &str, shown: &[String], wanted: &[String]) {
    let mut lines = shown.iter();
    for wanted in wanted {
        assert!(
            lines.any(|line| line.trim_end() == wanted),
            "{client}: no {wanted:?} in {shown:#?}"
        );
    }
    let last = shown.last().map(String::as_str).unwrap_or_default();
    assert!(last.starts_with("verify: Service ") && last.ends_with(" converged"), "{shown:#?}");
}

/// What a terminal shows when a client has ended.
fn screen(lab: &ServiceLab, client: &str, arguments: &[&str]) -> Vec<String> {
    let words: Vec<String> =
        std::iter::once(&client).chain(arguments).map(|word| format!("'{word}'")).collect();
    let mut script = command("script");
    script
        .args(["-qec", &format!("stty cols 200 rows 60; {}", words.join(" ")), "/dev/null"])
        .envs(environment(lab))
        .env("TERM", "xterm");
    terminal(&stdout(&mut script).unwrap())
}

fn environment(lab: &ServiceLab) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let docker: Command = lab.lab.docker(1);
    let set = docker.get_envs();
    set.filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned()))).collect()
}

/// The lines of a terminal after this was written to it: as much of one as the displays use.
fn terminal(written: &str) -> Vec<String> {
    let mut lines = vec![Vec::<char>::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut letters = written.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' if letters.next_if_eq(&'[').is_some() => {
                let mut count = String::new();
                while let Some(next) =
                    letters.next_if(|next| next.is_ascii_digit() || "?;".contains(*next))
                {
                    count.push(next);
                }
                let times = count.parse().unwrap_or(1);
                match letters.next() {
                    Some('A') => row = row.saturating_sub(times),
                    Some('B') => row += times,
                    Some('K') if count == "2" => lines[row].clear(),
                    Some('K') => lines[row].truncate(column),
                    _ => {}
                }
            }
            letter => {
                let line = &mut lines[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = letter;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let lines = lines.into_iter().map(|line| line.into_iter().collect::<String>());
    let mut lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

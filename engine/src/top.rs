//! `docker top`: the host's `ps`, reduced to a container's processes.
//!
//! Source: moby `daemon/top_unix.go`.

use std::io;
use std::process::Stdio;

use shoal_base::command;
use shoal_model::{Classified, ErrorKind};

/// What docker gives to `ps` when the client says nothing.
pub const DEFAULT_ARGS: &str = "-ef";

/// Why processes cannot be listed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Error {
    #[error("specifying \"{column}={title}\" is not allowed")]
    Title { column: String, title: String },
    #[error("failed to run ps")]
    Run(#[source] io::Error),
    #[error("ps: {message}")]
    Failed { message: String },
    #[error("Couldn't find PID field in ps output")]
    NoPid,
    #[error("unexpected pid '{text}' in ps output")]
    BadPid { text: String },
}

impl Classified for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Title { .. } | Self::NoPid => ErrorKind::InvalidArgument,
            Self::Run(_) | Self::Failed { .. } | Self::BadPid { .. } => ErrorKind::Internal,
        }
    }
}

/// Processes in the columns of `ps`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns.
    pub titles: Vec<String>,
    /// A row per process.
    pub processes: Vec<Vec<String>>,
}

/// Lists `pids` (ids on the host) as `ps` does with `args`; empty: [`DEFAULT_ARGS`]. Blocks.
///
/// # Errors
/// When `ps` fails, or its output has no process ids.
pub fn list(pids: &[i32], args: &str) -> Result<Table, Error> {
    let args = if args.trim().is_empty() { DEFAULT_ARGS } else { args };
    check(args)?;
    let words: Vec<&str> = args.split_ascii_whitespace().collect();
    let wanted: Vec<String> = pids.iter().map(ToString::to_string).collect();
    let selected = format!("-q{}", wanted.join(","));
    let mut with_selection = words.clone();
    with_selection.push(&selected);
    // Some arguments (such as f) exclude -q: then all processes are listed and reduced here.
    let output = run(&with_selection).or_else(|_| run(&words))?;
    parse(&output, pids)
}

fn run(args: &[&str]) -> Result<String, Error> {
    let mut ps = command::new("ps");
    ps.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = ps.output().map_err(Error::Run)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        let message = message.lines().next().unwrap_or("failed without a message");
        return Err(Error::Failed { message: message.to_owned() });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// No other column may be titled PID: the wrong one would be taken.
fn check(args: &str) -> Result<(), Error> {
    for (place, _) in args.match_indices('=') {
        let (before, after) = (&args[..place], args[place + 1..].trim_start());
        let title = after.split_ascii_whitespace().next().unwrap_or_default();
        let Some((_, column)) = before.rsplit_once(|blank: char| blank.is_ascii_whitespace())
        else {
            continue;
        };
        if title.starts_with("PID") && column != "pid" {
            return Err(Error::Title { column: column.to_owned(), title: title.to_owned() });
        }
    }
    Ok(())
}

/// Rows of `pids`. The last column takes the rest of the line.
fn parse(output: &str, pids: &[i32]) -> Result<Table, Error> {
    let mut lines = output.lines();
    let head = lines.next().unwrap_or_default();
    let titles: Vec<String> = head.split_ascii_whitespace().map(str::to_owned).collect();
    let column = titles.iter().position(|title| title == "PID").ok_or(Error::NoPid)?;
    let mut processes = Vec::new();
    let mut threads_belong = false;
    for line in lines {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let Some(pid) = fields.get(column) else { continue };
        // `-m` shows the threads of a process below it, without an id.
        let belongs = if *pid == "-" {
            threads_belong
        } else {
            let pid: i32 = pid.parse().map_err(|_| Error::BadPid { text: (*pid).to_owned() })?;
            pids.contains(&pid)
        };
        threads_belong = belongs;
        if belongs {
            let last = titles.len() - 1;
            let mut row: Vec<String> =
                fields.iter().take(last).map(|field| (*field).to_owned()).collect();
            row.push(fields.get(last..).unwrap_or_default().join(" "));
            processes.push(row);
        }
    }
    Ok(Table { titles, processes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split('|').map(str::to_owned).collect()
    }

    #[test]
    fn rows_of_the_containers_processes_are_kept() {
        let output = "UID  PID PPID CMD\nroot 1 0 /sbin/init splash\nroot 7 1 sh -c  x\nroot - - thread\n\
                      root 8 1 other\nroot - - its thread\n";
        let table = parse(output, &[7]).unwrap();
        assert_eq!(table.titles, words("UID|PID|PPID|CMD"));
        assert_eq!(table.processes, [words("root|7|1|sh -c x"), words("root|-|-|thread")]);
        assert!(matches!(parse("USER CMD\n", &[7]), Err(Error::NoPid)));
        assert!(matches!(parse("PID CMD\nx y\n", &[7]), Err(Error::BadPid { .. })));
    }

    #[test]
    fn false_titles_are_refused() {
        assert!(check("-ef").is_ok() && check("-o pid=PID -o user=USER").is_ok());
        let refused = check("-o uid=PID").unwrap_err().to_string();
        assert_eq!(refused, "specifying \"uid=PID\" is not allowed");
        assert!(check("-o user= PIDS").is_err());
    }

    #[test]
    fn this_process_is_listed() {
        let own = i32::try_from(std::process::id()).unwrap();
        for args in ["", "-o pid,args", "aux", "axf"] {
            let table = list(&[own], args).unwrap();
            assert_eq!(table.processes.len(), 1, "{args}: {table:?}");
        }
        assert!(matches!(list(&[own], "--nonsense"), Err(Error::Failed { .. })));
    }
}

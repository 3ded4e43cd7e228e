//! Scripted sessions: commands with the exact output they must give.
//!
//! ```text
//! # prose
//! $ docker run --rm busybox echo hi       the client's name stands for the client under test
//! hi                                      expected stdout, with the holes of `pattern`
//! 2> a line of stderr
//! [exit 1]                                expected code; none means 0
//! << a line of stdin                      before the expected lines
//! $ id := docker run -d busybox top       captures the last line of stdout, later `${id}` or `${id:12}`
//! $ eventually docker inspect …           asked again for up to 20 s until all fits
//! $ sorted docker ps …                    lines are sorted before they are compared
//! $ both docker …                         stderr counts as stdout, behind it
//! $ host cat file                         a program of the host
//! $ compose up -d                         another program of the client, see `Client::programs`
//! ${quiet}                                a flag that newer clients need to be as silent as old ones
//! @docker20 line                          only for that client; @!docker20 for all others; several marks must all hold
//! ```

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::command::{command, monotonic};
use crate::pattern::lines_fit;

/// How long `eventually` asks.
const EVENTUALLY: Duration = Duration::from_secs(20);

/// The client that a script drives.
#[derive(Debug, Clone)]
pub struct Client {
    /// Names in `@name` lines, separated by commas; the first one says how its own messages begin.
    pub name: String,
    /// Program.
    pub program: String,
    /// Environment, `DOCKER_HOST` above all.
    pub env: Vec<(String, String)>,
    /// Further first words of commands, and the words they stand for.
    pub programs: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Default)]
struct Step {
    line: usize,
    words: String,
    stdin: Vec<String>,
    stdout: Vec<String>,
    stderr: Vec<String>,
    code: i32,
}

/// Result of a whole script.
#[derive(Debug)]
pub struct Report {
    /// Commands run.
    pub commands: usize,
    /// One text per step that did not fit.
    pub failures: Vec<String>,
}

/// Plays `text` with `variables` (`${tmp}` and the like).
///
/// # Errors
/// When the script itself is malformed or a program cannot be run.
pub fn play(
    text: &str,
    client: &Client,
    variables: &BTreeMap<String, String>,
) -> anyhow::Result<Report> {
    let mut variables = variables.clone();
    let mut report = Report { commands: 0, failures: Vec::new() };
    for step in parse(text, &client.name)? {
        report.commands += 1;
        if let Err(error) = play_step(&step, client, &mut variables) {
            report.failures.push(format!("line {}: $ {}\n{error:#}", step.line, step.words));
        }
    }
    Ok(report)
}

fn parse(text: &str, client: &str) -> anyhow::Result<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(line) = for_client(line, client) else { continue };
        if line.starts_with('#') || (line.is_empty() && steps.is_empty()) {
            continue;
        }
        if let Some(words) = line.strip_prefix("$ ") {
            steps.push(Step { line: index + 1, words: words.to_owned(), ..Step::default() });
            continue;
        }
        let step =
            steps.last_mut().with_context(|| format!("line {}: no command yet", index + 1))?;
        if line.is_empty() {
            continue;
        } else if let Some(text) = line.strip_prefix("<< ") {
            step.stdin.push(text.to_owned());
        } else if let Some(text) = line.strip_prefix("2> ") {
            // Errors of `run` begin with the name of the program.
            let text = match text.strip_prefix("docker: ") {
                Some(text) if client.split(',').next() == Some("shoal") => format!("shoal: {text}"),
                _ => text.to_owned(),
            };
            step.stderr.push(text);
        } else if let Some(code) = line.strip_prefix("[exit ") {
            step.code = code.trim_end_matches(']').parse().context("malformed [exit N]")?;
        } else {
            step.stdout.push(if line == "<blank>" { String::new() } else { line.to_owned() });
        }
    }
    Ok(steps)
}

fn for_client<'a>(line: &'a str, client: &str) -> Option<&'a str> {
    let Some(rest) = line.strip_prefix('@') else { return Some(line) };
    let (who, rest) = rest.split_once(' ')?;
    let named = |who: &str| who.split(',').any(|who| client.split(',').any(|name| name == who));
    let applies = match who.strip_prefix('!') {
        Some(others) => !named(others),
        None => named(who),
    };
    if applies { for_client(rest, client) } else { None }
}

fn play_step(
    step: &Step,
    client: &Client,
    variables: &mut BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let mut line = step.words.as_str();
    let mut capture = None;
    if let Some((name, rest)) = line.split_once(" := ")
        && name.chars().all(|c| c.is_ascii_alphanumeric())
    {
        capture = Some(name.to_owned());
        line = rest;
    }
    let eventually = strip_word(&mut line, "eventually");
    let sorted = strip_word(&mut line, "sorted");
    let both = strip_word(&mut line, "both");
    let words = split(&substitute(line, variables)?)?;
    let deadline = monotonic() + EVENTUALLY;
    loop {
        let outcome = execute(&words, step, client, variables).and_then(|mut output| {
            if both {
                output.stdout += &std::mem::take(&mut output.stderr);
            }
            compare(step, &output, sorted, capture.is_some(), variables).map(|()| output)
        });
        match outcome {
            Ok(output) => {
                if let Some(name) = capture {
                    let last = output.stdout.lines().last().unwrap_or_default();
                    variables.insert(name, last.to_owned());
                }
                return Ok(());
            }
            Err(_) if eventually && monotonic() < deadline => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => return Err(error),
        }
    }
}

fn strip_word(line: &mut &str, word: &str) -> bool {
    let rest = line.strip_prefix(word).and_then(|rest| rest.strip_prefix(' '));
    if let Some(rest) = rest {
        *line = rest;
    }
    rest.is_some()
}

#[derive(Debug)]
struct Output {
    stdout: String,
    stderr: String,
    code: i32,
}

fn execute(
    words: &[String],
    step: &Step,
    client: &Client,
    variables: &BTreeMap<String, String>,
) -> anyhow::Result<Output> {
    let (first, arguments) = words.split_first().context("no command")?;
    let program = match first.as_str() {
        "docker" => std::slice::from_ref(&client.program),
        "host" => &[],
        other => {
            client.programs.get(other).with_context(|| format!("no program {other}"))?.as_slice()
        }
    };
    let mut child = command("timeout")
        .args(["-k", "5", "60"])
        .args(program)
        .args(arguments)
        .envs(client.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {words:?}"))?;
    let mut stdin = String::new();
    for line in &step.stdin {
        stdin += &substitute(line, variables)?;
        stdin.push('\n');
    }
    if let Some(mut pipe) = child.stdin.take() {
        // A program that does not read its input is no failure of the script.
        let _ = pipe.write_all(stdin.as_bytes());
    }
    let output = child.wait_with_output()?;
    Ok(Output {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        code: output.status.code().unwrap_or(-1),
    })
}

fn compare(
    step: &Step,
    output: &Output,
    sorted: bool,
    captured: bool,
    variables: &BTreeMap<String, String>,
) -> anyhow::Result<()> {
    let stdout_fits = (captured && step.stdout.is_empty())
        || fits(&step.stdout, &output.stdout, sorted, variables)?;
    if output.code == step.code
        && stdout_fits
        && fits(&step.stderr, &output.stderr, false, variables)?
    {
        return Ok(());
    }
    bail!(
        "expected (exit {}):\n{}{}got (exit {}):\n{}{}",
        step.code,
        indent("", &step.stdout.join("\n")),
        indent("2> ", &step.stderr.join("\n")),
        output.code,
        indent("", &output.stdout),
        indent("2> ", &output.stderr),
    )
}

fn fits(
    expected: &[String],
    text: &str,
    sorted: bool,
    variables: &BTreeMap<String, String>,
) -> anyhow::Result<bool> {
    let expected =
        expected.iter().map(|line| substitute(line, variables)).collect::<Result<Vec<_>, _>>()?;
    // Trailing blanks of a table's last column are no business of a script; neither are CRs of a terminal.
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).filter(|_| true).collect();
    while lines.last().is_some_and(|line| line.is_empty())
        && expected.last().is_none_or(|e| !e.is_empty())
    {
        lines.pop();
    }
    if sorted {
        lines.sort_unstable();
    }
    Ok(lines_fit(&expected, &lines))
}

fn indent(prefix: &str, text: &str) -> String {
    text.lines().map(|line| format!("    {prefix}{line}\n")).collect()
}

/// Replaces `${name}` and `${name:12}` (a prefix).
fn substitute(text: &str, variables: &BTreeMap<String, String>) -> anyhow::Result<String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let (name, after) = after.split_once('}').context("unterminated ${")?;
        let (name, length) = match name.split_once(':') {
            Some((name, length)) => (name, Some(length.parse::<usize>()?)),
            None => (name, None),
        };
        let value = variables.get(name).with_context(|| format!("no variable {name}"))?;
        result += before;
        result += length.map_or(value.as_str(), |n| value.get(..n).unwrap_or(value));
        rest = after;
    }
    Ok(result + rest)
}

/// Splits into words: blanks separate, single and double quotes and backslashes as in a shell.
fn split(line: &str) -> anyhow::Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' => words.extend(word.take()),
            '\'' | '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().context("unterminated quote")? {
                        end if end == c => break,
                        '\\' if c == '"' => word.extend(chars.next()),
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Client {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let programs = BTreeMap::from([("say".to_owned(), words(&["echo", "it"]))]);
        Client { name: "sh".to_owned(), program: "sh".to_owned(), env: Vec::new(), programs }
    }

    fn played(text: &str) -> Vec<String> {
        play(text, &shell(), &BTreeMap::new()).unwrap().failures
    }

    #[test]
    fn a_fitting_session_has_no_failures() {
        let text = "# prose\n$ docker -c 'echo one; echo two >&2; exit 3'\none\n2> two\n[exit 3]\n\
                    $ x := docker -c 'echo abcdef'\n$ docker -c 'echo ${x:3}'\nabc\n\
                    $ docker -c cat\n<< in\nin\n@sh $ docker -c true\n@!sh $ docker -c false\n\
                    $ both docker -c 'echo two >&2; echo one'\none\ntwo\n$ say again\nit again\n";
        assert_eq!(played(text), Vec::<String>::new());
    }

    #[test]
    fn every_difference_is_a_failure() {
        for text in [
            "$ docker -c 'echo one'\ntwo\n",
            "$ docker -c 'echo one'\n",
            "$ docker -c 'true'\none\n",
            "$ docker -c 'echo x >&2'\n",
            "$ docker -c 'exit 2'\n",
            "$ docker -c 'true'\n[exit 1]\n",
            "$ both docker -c 'echo one >&2'\n2> one\n",
            "$ unknown\n",
        ] {
            assert_eq!(played(text).len(), 1, "{text}");
        }
    }
}

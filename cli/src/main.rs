//! shoal: the command line.
//!
//! Finds the command, parses its options by the rules of `args`, runs it on a single-threaded runtime. All that
//! is known about a command is in its table entry in `commands`; help and completions are made from it.

mod args;
mod client;
mod commands;
mod compose;
mod config;
mod context;
mod error;
mod opts;
mod reference;
mod stream;
mod sys;
mod table;
mod units;

use args::parse::{Refusal, parse, scan};
use args::{BOOL, Command, Flag, STR, flag, help, short};
use context::Context;
use error::{Failure, Result};

static GLOBAL: &[Flag] = &[
    flag("config", STR, "Directory of the configuration files"),
    short('c', "context", STR, "Context that names the daemon"),
    short('D', "debug", BOOL, "Say more"),
    short('H', "host", STR, "Socket of the daemon (unix:// or tcp://)"),
    short('l', "log-level", STR, "Level of log messages").or("info"),
    flag("help", BOOL, "Show this help"),
    flag("tls", BOOL, "Use TLS"),
    flag("tlscacert", STR, "Certificate of the authority to trust"),
    flag("tlscert", STR, "Our certificate"),
    flag("tlskey", STR, "Our key"),
    flag("tlsverify", BOOL, "Use TLS and check the daemon's certificate"),
    short('v', "version", BOOL, "Print the version"),
];

fn main() {
    let line: Vec<String> = std::env::args().skip(1).collect();
    let code = match run(&line) {
        Ok(()) => 0,
        Err(failure) => {
            if !failure.message.is_empty() {
                sys::err_line(&failure.message);
            }
            failure.code
        }
    };
    sys::end(code)
}

fn run(line: &[String]) -> Result {
    let global: Vec<&'static Flag> = GLOBAL.iter().collect();
    let options = match scan(&global, line, false) {
        Ok(options) => options,
        Err(Refusal::Help) => {
            sys::out(help::program(&global));
            return Ok(());
        }
        Err(Refusal::Flag(why) | Refusal::Count(why)) => {
            let usage = "Usage:  shoal [OPTIONS] COMMAND [ARG...]";
            let text = format!("{why}\n\n{usage}\n\nRun 'shoal --help' for more information");
            return Err(Failure::new(text).with_code(125));
        }
    };
    if options.on("version") {
        sys::line(format_args!("Shoal version {}", env!("CARGO_PKG_VERSION")));
        return Ok(());
    }
    let level = options.text("log-level");
    let levels = ["debug", "info", "warn", "warning", "error", "fatal", "panic", "trace"];
    if !levels.contains(&level.to_ascii_lowercase().as_str()) {
        return Err(format!("unable to parse logging level: {level}").into());
    }
    let words: Vec<&str> = options.rest.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => sys::out(help::program(&global)),
        ["help", topic @ ..] => explain(topic)?,
        ["completion", rest @ ..] => complete(rest, &global)?,
        _ => {
            let (command, called, used) = find(&words)?;
            return execute(command, &called, &options.rest[used..], &options);
        }
    }
    Ok(())
}

/// The command that the words name, its name as written, and how many words that took.
fn find(words: &[&str]) -> Result<(&'static Command, String, usize)> {
    let first = words[0];
    let group = commands::GROUPS.iter().find(|group| group.name == first);
    if let (Some(group), false) = (group, commands::by_path(first).is_some()) {
        let second = words.get(1).copied().unwrap_or("--help");
        if let Some(command) = commands::by_path(&format!("{first} {second}")) {
            return Ok((command, format!("{first} {second}"), 2));
        }
        if second.starts_with('-') {
            sys::out(help::group(group));
            return Err(Failure::code(0));
        }
        return Err(format!(
            "shoal: unknown command: shoal {first} {second}\n\nUsage:  shoal {first}\n\nRun 'shoal {first} --help' \
             for more information"
        )
        .into());
    }
    commands::by_path(first).map(|command| (command, first.to_owned(), 1)).ok_or_else(|| {
        format!("shoal: unknown command: shoal {first}\n\nRun 'shoal --help' for more information")
            .into()
    })
}

fn explain(topic: &[&str]) -> Result {
    if topic.is_empty() {
        sys::out(help::program(&GLOBAL.iter().collect::<Vec<_>>()));
        return Ok(());
    }
    let (command, called, _) = find(topic)?;
    sys::out(help::command(command, &called));
    Ok(())
}

fn complete(rest: &[&str], global: &[&Flag]) -> Result {
    let shell = match rest {
        ["bash"] => clap_complete::Shell::Bash,
        ["zsh"] => clap_complete::Shell::Zsh,
        ["fish"] => clap_complete::Shell::Fish,
        _ => return Err("Usage:  shoal completion bash|zsh|fish".into()),
    };
    sys::out(args::complete::script(shell, global));
    Ok(())
}

fn execute(command: &Command, called: &str, line: &[String], global: &args::Args) -> Result {
    let refuse = |why: String, code: i32, verb: &str| {
        let usage = help::usage(command, called);
        let text =
            format!("{why}\n\n{usage}\n\n{verb} 'shoal {called} --help' for more information");
        Err(Failure::new(text).with_code(code))
    };
    let parsed = match parse(command, called, line) {
        Ok(parsed) => parsed,
        Err(Refusal::Help) => {
            sys::out(help::command(command, called));
            return Ok(());
        }
        Err(Refusal::Flag(why)) => return refuse(why, 125, "Run"),
        Err(Refusal::Count(why)) => {
            let verb = if why.contains("at least") { "See" } else { "Run" };
            return refuse(why, 1, verb);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(error::io("starting the runtime"))?;
    let mut context = Context::new(global);
    runtime.block_on((command.run)(&mut context, &parsed))
}

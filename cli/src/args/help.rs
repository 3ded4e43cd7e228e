//! Help texts. Pure: command tables → text.

use super::{Command, Flag};
use crate::commands::{self, Group};

const WIDTH: usize = 80;

/// The first lines of help and of refusals: `Usage:  shoal run [OPTIONS] IMAGE`.
pub(crate) fn usage(command: &Command, called: &str) -> String {
    let mut forms = command.usage.lines().map(|form| format!("shoal {called} {form}"));
    let first = forms.next().unwrap_or_default();
    let mut text = format!("Usage:  {}", first.trim_end());
    for form in forms {
        text.push_str(&format!("\n\t{form}"));
    }
    text
}

/// The whole help of a command.
pub(crate) fn command(command: &Command, called: &str) -> String {
    let mut text = format!("{}\n\n{}\n", usage(command, called), command.about);
    if command.paths.len() > 1 {
        let names: Vec<String> = command.paths.iter().map(|path| format!("shoal {path}")).collect();
        text.push_str(&format!("\nAliases:\n  {}\n", names.join(", ")));
    }
    if !command.examples.is_empty() {
        text.push_str("\nExamples:\n");
        for line in command.examples.lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    let flags = command.all_flags();
    if !flags.is_empty() {
        text.push_str(&format!("\nOptions:\n{}", options(&flags)));
    }
    text
}

/// The table of options.
pub(crate) fn options(flags: &[&Flag]) -> String {
    let names: Vec<String> = flags.iter().map(|flag| name(flag)).collect();
    let column = names.iter().map(String::len).max().unwrap_or(0) + 3;
    let mut text = String::new();
    for (flag, name) in flags.iter().zip(&names) {
        let mut about = flag.usage.to_owned();
        if !flag.default.is_empty() {
            let quoted = flag.kind.name == "string";
            let default = if quoted { format!("{:?}", flag.default) } else { flag.default.into() };
            about.push_str(&format!(" (default {default})"));
        }
        let lines = wrap(&about, WIDTH.saturating_sub(column + 2).max(24));
        for (index, line) in lines.iter().enumerate() {
            let name = if index == 0 { name.as_str() } else { "" };
            text.push_str(format!("  {name:<column$}{line}").trim_end());
            text.push('\n');
        }
    }
    text
}

fn name(flag: &Flag) -> String {
    let short = if flag.short == '\0' { "    ".to_owned() } else { format!("-{}, ", flag.short) };
    format!("{short}--{} {}", flag.long, flag.kind.name).trim_end().to_owned()
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("begins with one line");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// The help of a group: `shoal container --help`.
pub(crate) fn group(group: &Group) -> String {
    let mut rows: Vec<(&str, &str)> = commands::all()
        .filter_map(|command| {
            let path = command.paths.iter().find_map(|path| path.strip_prefix(group.name))?;
            Some((path.strip_prefix(' ')?, command.about))
        })
        .collect();
    rows.sort_unstable();
    format!(
        "Usage:  shoal {name} COMMAND\n\n{about}\n\nCommands:\n{rows}\nRun 'shoal {name} COMMAND --help' for \
         more information on a command.\n",
        name = group.name,
        about = group.about,
        rows = table(&rows),
    )
}

fn table(rows: &[(&str, &str)]) -> String {
    let column = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(9) + 2;
    rows.iter().map(|(name, about)| format!("  {name:<column$}{about}\n")).collect()
}

/// The help of the program.
pub(crate) fn program(global: &[&Flag]) -> String {
    let about = |wanted: &str| {
        let command = commands::all().find(|command| command.paths.contains(&wanted));
        command.map_or("", |command| command.about)
    };
    let common: Vec<(&str, &str)> =
        commands::COMMON.iter().map(|name| (*name, about(name))).collect();
    let groups: Vec<(&str, &str)> =
        commands::GROUPS.iter().map(|group| (group.name, group.about)).collect();
    let mut others: Vec<(&str, &str)> = commands::all()
        .flat_map(|command| command.paths.iter().map(move |path| (*path, command.about)))
        .filter(|(path, _)| !path.contains(' ') && !commands::COMMON.contains(path))
        .collect();
    others.sort_unstable();
    format!(
        "Usage:  shoal [OPTIONS] COMMAND\n\nContainers and images of one host, with the commands of docker\n\n\
         Common Commands:\n{}\nManagement Commands:\n{}\nCommands:\n{}\nGlobal Options:\n{}\n\
         Environment:\n{}\nRun 'shoal COMMAND --help' for more information on a command.\n",
        table(&common),
        table(&groups),
        table(&others),
        options(global),
        table(&[
            ("DOCKER_HOST", "Daemon socket, overridden by --host"),
            ("DOCKER_CONTEXT", "Context, overridden by --context"),
            ("DOCKER_CONFIG", "Directory of the configuration files"),
            (
                "DOCKER_API_VERSION",
                "Version of the API to speak, instead of the newest both sides know"
            ),
            ("DOCKER_TLS_VERIFY, DOCKER_CERT_PATH", "TLS towards a TCP socket"),
        ]),
    )
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    #[test]
    fn options_are_aligned_and_wrapped() {
        let flags = [
            short('a', "all", BOOL, "Show all"),
            flag(
                "format",
                STR,
                "A rather long explanation that needs to be broken at column eighty",
            ),
            flag("pull", STR, "When").or("missing"),
        ];
        let flags: Vec<&Flag> = flags.iter().collect();
        let expected = "  -a, --all             Show all
      --format string   A rather long explanation that needs to be broken at
                        column eighty
      --pull string     When (default \"missing\")
";
        assert_eq!(options(&flags), expected);
    }
}

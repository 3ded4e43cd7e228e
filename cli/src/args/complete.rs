//! Completion scripts, made by `clap_complete` from our tables.

use clap_complete::Shell;

use super::Flag;
use crate::commands;

/// The completion script of a shell.
pub(crate) fn script(shell: Shell, global: &[&Flag]) -> Vec<u8> {
    let mut root = with_flags(clap::Command::new("shoal").disable_help_subcommand(true), global);
    for group in commands::GROUPS {
        let mut node = clap::Command::new(group.name).about(group.about);
        for command in commands::all() {
            for path in command.paths {
                if let Some((first, name)) = path.split_once(' ')
                    && first == group.name
                {
                    node = node.subcommand(leaf(name, command));
                }
            }
        }
        root = root.subcommand(node);
    }
    for command in commands::all() {
        for path in command.paths.iter().filter(|path| !path.contains(' ')) {
            root = root.subcommand(leaf(path, command));
        }
    }
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut root, "shoal", &mut text);
    text
}

fn leaf(name: &'static str, command: &super::Command) -> clap::Command {
    with_flags(clap::Command::new(name).about(command.about), &command.all_flags())
}

fn with_flags(mut node: clap::Command, flags: &[&Flag]) -> clap::Command {
    node = node.disable_help_flag(true).disable_version_flag(true);
    for flag in flags {
        let mut arg = clap::Arg::new(flag.long).long(flag.long).help(flag.usage);
        if flag.short != '\0' {
            arg = arg.short(flag.short);
        }
        let switch = flag.kind.name.is_empty();
        let action = if switch { clap::ArgAction::SetTrue } else { clap::ArgAction::Append };
        node = node.arg(arg.action(action));
    }
    node
}

//! Command line → values of flags and positional arguments.

pub(crate) use shoal_gotemplate::text::quote;

use super::{Command, Count, Flag, Kind};

/// What was given to a command.
#[derive(Debug, Clone, Default)]
pub(crate) struct Args {
    /// The name by which the command was called: `ps`, `container ls`.
    pub(crate) called: String,
    /// Positional arguments.
    pub(crate) rest: Vec<String>,
    values: Vec<(&'static str, Vec<String>)>,
    defaults: Vec<(&'static str, &'static str)>,
}

/// Why a command line was refused, or that help was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Help,
    /// A flag is unknown or has a bad value. Exit code 125.
    Flag(String),
    /// Wrong number of arguments. Exit code 1.
    Count(String),
}

impl Args {
    /// Was the flag given?
    pub(crate) fn given(&self, name: &str) -> bool {
        self.values.iter().any(|(long, _)| *long == name)
    }

    /// Was no flag given?
    pub(crate) fn is_bare(&self) -> bool {
        self.values.is_empty()
    }

    /// Was this flag given and no other?
    pub(crate) fn only(&self, names: &[&str]) -> bool {
        self.values.iter().all(|(long, _)| names.contains(long))
    }

    /// The value of a flag, or its default; `None` when neither is there.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let given = self.values.iter().find(|(long, _)| *long == name);
        match given.and_then(|(_, values)| values.last()) {
            Some(value) => Some(value),
            None => self
                .defaults
                .iter()
                .find(|(long, default)| *long == name && !default.is_empty())
                .map(|(_, default)| *default),
        }
    }

    /// The value of a flag, empty when absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// A switch.
    pub(crate) fn on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| super::check::parse_bool(value) == Some(true))
    }

    /// All values of a repeatable flag.
    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.values.iter().find(|(long, _)| *long == name).map_or(&[], |(_, values)| values)
    }

    /// A checked integer flag; 0 when absent.
    pub(crate) fn int(&self, name: &str) -> i64 {
        self.get(name).and_then(|value| super::check::parse_int(value).ok()).unwrap_or(0)
    }

    /// The n-th positional argument, which the command's count guarantees.
    pub(crate) fn arg(&self, index: usize) -> &str {
        self.rest.get(index).map_or("", String::as_str)
    }
}

/// Parses what follows the command's name.
pub(crate) fn parse(command: &Command, called: &str, line: &[String]) -> Result<Args, Refusal> {
    let flags = command.all_flags();
    let mut args = scan(&flags, line, command.interspersed)?;
    args.called = called.to_owned();
    count(command.count, called, args.rest.len()).map_err(Refusal::Count)?;
    Ok(args)
}

/// Parses flags; stops at the first positional argument unless `interspersed`.
pub(crate) fn scan(
    flags: &[&'static Flag],
    line: &[String],
    interspersed: bool,
) -> Result<Args, Refusal> {
    let mut args = Args {
        defaults: flags.iter().map(|flag| (flag.long, flag.default)).collect(),
        ..Args::default()
    };
    let mut rest = line.iter();
    while let Some(word) = rest.next() {
        if word == "--" {
            args.rest.extend(rest.cloned());
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            take_long(flags, long, &mut rest, &mut args)?;
        } else if word.len() > 1 && word.starts_with('-') {
            take_short(flags, &word[1..], &mut rest, &mut args)?;
        } else {
            args.rest.push(word.clone());
            if !interspersed {
                args.rest.extend(rest.cloned());
                break;
            }
        }
    }
    Ok(args)
}

type Words<'a> = std::slice::Iter<'a, String>;

fn take_long(
    flags: &[&'static Flag],
    word: &str,
    rest: &mut Words<'_>,
    args: &mut Args,
) -> Result<(), Refusal> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (word, None),
    };
    if name.is_empty() || name.starts_with('-') {
        return Err(Refusal::Flag(format!("bad flag syntax: --{word}")));
    }
    let Some(flag) = flags.iter().find(|flag| flag.long == name) else {
        if name == "help" {
            return Err(Refusal::Help);
        }
        return Err(Refusal::Flag(format!("unknown flag: --{name}")));
    };
    let value = match value {
        Some(value) => value,
        None if is_switch(flag.kind) => "true".to_owned(),
        None => rest
            .next()
            .cloned()
            .ok_or_else(|| Refusal::Flag(format!("flag needs an argument: --{name}")))?,
    };
    set(flag, value, args)
}

fn take_short(
    flags: &[&'static Flag],
    word: &str,
    rest: &mut Words<'_>,
    args: &mut Args,
) -> Result<(), Refusal> {
    let mut left = word;
    while let Some(letter) = left.chars().next() {
        let after = &left[letter.len_utf8()..];
        let Some(flag) = flags.iter().find(|flag| flag.short == letter) else {
            if letter == 'h' {
                return Err(Refusal::Help);
            }
            let text = format!("unknown shorthand flag: '{letter}' in -{word}");
            return Err(Refusal::Flag(text));
        };
        if let Some(value) = after.strip_prefix('=').filter(|_| after.len() > 1) {
            return set(flag, value.to_owned(), args);
        }
        if is_switch(flag.kind) {
            set(flag, "true".to_owned(), args)?;
            left = after;
            continue;
        }
        let value = if after.is_empty() {
            rest.next().cloned().ok_or_else(|| {
                Refusal::Flag(format!("flag needs an argument: '{letter}' in -{word}"))
            })?
        } else {
            after.to_owned()
        };
        return set(flag, value, args);
    }
    Ok(())
}

fn is_switch(kind: Kind) -> bool {
    kind.name.is_empty()
}

fn set(flag: &'static Flag, value: String, args: &mut Args) -> Result<(), Refusal> {
    (flag.kind.check)(&value).map_err(|reason| {
        let name = if flag.short == '\0' {
            format!("--{}", flag.long)
        } else {
            format!("-{}, --{}", flag.short, flag.long)
        };
        Refusal::Flag(format!("invalid argument {} for \"{name}\" flag: {reason}", quote(&value)))
    })?;
    match args.values.iter_mut().find(|(long, _)| *long == flag.long) {
        Some((_, values)) if flag.kind.many => values.push(value),
        Some((_, values)) => *values = vec![value],
        None => args.values.push((flag.long, vec![value])),
    }
    Ok(())
}

fn count(count: Count, called: &str, given: usize) -> Result<(), String> {
    let plural = |number: usize| if number == 1 { "argument" } else { "arguments" };
    let name = format!("shoal: 'shoal {called}'");
    match count {
        Count::None if given > 0 => Err(format!("{name} accepts no arguments")),
        Count::Exactly(wanted) if given != wanted => {
            Err(format!("{name} requires {wanted} {}", plural(wanted)))
        }
        Count::AtLeast(least) if given < least => {
            Err(format!("{name} requires at least {least} {}", plural(least)))
        }
        Count::AtMost(most) if given > most => {
            Err(format!("{name} requires at most {most} {}", plural(most)))
        }
        Count::Between(least, most) if given < least || given > most => {
            Err(format!("{name} requires at least {least} and at most {most} {}", plural(most)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{BOOL, BYTES, LIST, STR, flag, short};
    use super::*;

    const FLAGS: [Flag; 5] = [
        short('i', "interactive", BOOL, ""),
        short('t', "tty", BOOL, ""),
        short('e', "env", LIST, ""),
        short('m', "memory", BYTES, ""),
        flag("pull", STR, "").or("missing"),
    ];

    fn parse(line: &str, interspersed: bool) -> Result<Args, Refusal> {
        let line: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let flags: Vec<&'static Flag> =
            FLAGS.iter().map(|flag| &*Box::leak(Box::new(*flag))).collect();
        scan(&flags, &line, interspersed)
    }

    #[test]
    fn short_flags_group_and_take_values_as_pflag_does() {
        let args = parse("-it -eA=1 -e B -e=C --pull=never img -m x", false).unwrap();
        assert_eq!(args.rest, ["img", "-m", "x"]);
        assert_eq!(args.all("env"), ["A=1", "B", "C"]);
        assert!(args.on("tty") && args.on("interactive"));
        assert_eq!(args.get("pull"), Some("never"));
        assert_eq!(parse("img", true).unwrap().get("pull"), Some("missing"));
    }

    #[test]
    fn switches_can_be_switched_off() {
        let args = parse("img --tty=false -i=0 -- -t", true).unwrap();
        assert!(!args.on("tty") && !args.on("interactive"));
        assert_eq!(args.rest, ["img", "-t"]);
    }

    #[test]
    fn refusals_have_pflags_words() {
        let refused = |line: &str| match parse(line, true) {
            Err(Refusal::Flag(text)) => text,
            other => format!("{other:?}"),
        };
        assert_eq!(refused("--foo"), "unknown flag: --foo");
        assert_eq!(refused("-tZ"), "unknown shorthand flag: 'Z' in -tZ");
        assert_eq!(refused("--pull"), "flag needs an argument: --pull");
        assert_eq!(refused("-te"), "flag needs an argument: 'e' in -te");
        assert_eq!(
            refused("-m abc"),
            r#"invalid argument "abc" for "-m, --memory" flag: invalid size: 'abc'"#
        );
        assert_eq!(
            refused("--tty=maybe"),
            r#"invalid argument "maybe" for "-t, --tty" flag: strconv.ParseBool: parsing "maybe": invalid syntax"#
        );
    }

    #[test]
    fn counts_are_said_as_docker_says_them() {
        assert_eq!(
            count(Count::AtLeast(2), "exec", 1).unwrap_err(),
            "shoal: 'shoal exec' requires at least 2 arguments"
        );
        assert_eq!(
            count(Count::None, "ps", 1).unwrap_err(),
            "shoal: 'shoal ps' accepts no arguments"
        );
        assert_eq!(
            count(Count::Exactly(2), "cp", 1).unwrap_err(),
            "shoal: 'shoal cp' requires 2 arguments"
        );
    }
}

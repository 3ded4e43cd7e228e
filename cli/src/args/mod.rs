//! The grammar of the command line: what a command and a flag are.
//!
//! Parsing follows the rules of Go's `pflag`, because scripts written for `docker` depend on them
//! (`--rm=false`, `-it`, values that begin with a dash), and so do its error texts. Pure.

pub(crate) mod check;
pub(crate) mod complete;
pub(crate) mod help;
pub(crate) mod parse;

use std::future::Future;
use std::pin::Pin;

use crate::context::Context;
use crate::error::Result;

pub(crate) use parse::Args;

/// The type of a flag's value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// Shown in help. Empty for booleans.
    pub(crate) name: &'static str,
    /// May be given several times.
    pub(crate) many: bool,
    /// Refuses bad values, with the reason.
    pub(crate) check: fn(&str) -> std::result::Result<(), String>,
}

pub(crate) const BOOL: Kind = Kind { name: "", many: false, check: check::boolean };
pub(crate) const STR: Kind = Kind { name: "string", many: false, check: check::anything };
pub(crate) const INT: Kind = Kind { name: "int", many: false, check: check::int };
pub(crate) const UINT16: Kind = Kind { name: "uint16", many: false, check: check::uint16 };
pub(crate) const UINT: Kind = Kind { name: "uint", many: false, check: check::uint };
pub(crate) const DURATION: Kind = Kind { name: "duration", many: false, check: check::duration };
pub(crate) const BYTES: Kind = Kind { name: "bytes", many: false, check: check::bytes };
pub(crate) const SWAP: Kind = Kind { name: "bytes", many: false, check: check::swap };
pub(crate) const DECIMAL: Kind = Kind { name: "decimal", many: false, check: check::decimal };
pub(crate) const LIST: Kind = Kind { name: "list", many: true, check: check::anything };
pub(crate) const FILTER: Kind = Kind { name: "filter", many: true, check: check::filter };

/// A kind of list whose elements are checked.
pub(crate) const fn list(
    name: &'static str,
    check: fn(&str) -> std::result::Result<(), String>,
) -> Kind {
    Kind { name, many: true, check }
}

/// A flag of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flag {
    pub(crate) long: &'static str,
    /// `'\0'`: none.
    pub(crate) short: char,
    pub(crate) kind: Kind,
    /// What an absent flag is worth; shown in help when not empty.
    pub(crate) default: &'static str,
    pub(crate) usage: &'static str,
}

/// A flag with a long name only.
pub(crate) const fn flag(long: &'static str, kind: Kind, usage: &'static str) -> Flag {
    Flag { long, short: '\0', kind, default: "", usage }
}

/// A flag with a short name too.
pub(crate) const fn short(
    short: char,
    long: &'static str,
    kind: Kind,
    usage: &'static str,
) -> Flag {
    Flag { long, short, kind, default: "", usage }
}

impl Flag {
    pub(crate) const fn or(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }
}

/// How many positional arguments a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    None,
    Exactly(usize),
    AtLeast(usize),
    AtMost(usize),
    Between(usize, usize),
}

/// What a command's future gives: success or failure.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result> + 'a>>;

/// A command that does something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Command {
    /// The groups and names by which it is called, the canonical one first: `container ls`, `container list`, `ps`.
    pub(crate) paths: &'static [&'static str],
    /// The form of its arguments: `[OPTIONS] CONTAINER`. Further lines are further forms.
    pub(crate) usage: &'static str,
    pub(crate) about: &'static str,
    /// Examples, one a line: command, two spaces or more, `# what it does`.
    pub(crate) examples: &'static str,
    pub(crate) flags: &'static [&'static [Flag]],
    pub(crate) count: Count,
    /// May flags follow positional arguments? Not where these are a command for a container.
    pub(crate) interspersed: bool,
    pub(crate) run: for<'a> fn(&'a mut Context, &'a Args) -> Running<'a>,
}

impl Command {
    /// Everything but the names and the action at its usual value.
    pub(crate) const fn new(
        paths: &'static [&'static str],
        usage: &'static str,
        about: &'static str,
        count: Count,
        flags: &'static [&'static [Flag]],
        run: for<'a> fn(&'a mut Context, &'a Args) -> Running<'a>,
    ) -> Self {
        Self { paths, usage, about, examples: "", flags, count, interspersed: true, run }
    }

    pub(crate) const fn examples(mut self, examples: &'static str) -> Self {
        self.examples = examples;
        self
    }

    pub(crate) const fn passes_the_rest(mut self) -> Self {
        self.interspersed = false;
        self
    }

    /// All its flags, sorted by name.
    pub(crate) fn all_flags(&self) -> Vec<&'static Flag> {
        let mut flags: Vec<&'static Flag> = self.flags.iter().copied().flatten().collect();
        flags.sort_by_key(|flag| flag.long);
        flags
    }
}

/// Makes the entry point of an `async fn(&mut Context, &Args) -> Result`.
macro_rules! action {
    ($function:path) => {
        |context, args| Box::pin($function(context, args))
    };
}
pub(crate) use action;

//! Compose files: reading them, and what a stack is made of.
//!
//! [`load`] goes from texts to one project in long forms, [`convert::stack`] from there to what the API takes. Both are pure
//! but for the files that are read through [`Reading`].

mod check;
pub(crate) mod convert;
mod dependencies;
pub(crate) mod env_file;
mod interpolate;
mod load;
mod long;
mod merge;
mod mounts;
mod normal;
pub(crate) mod place;
mod schema;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod unsupported;
pub(crate) mod yaml;

use serde_json::Value as Json;

pub(crate) use load::load;
use place::{Fault, Places};

/// One file as it was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// What it is called in messages.
    pub(crate) name: String,
    pub(crate) text: String,
    /// The directory that its relative paths begin in.
    pub(crate) directory: String,
}

/// How files are read.
pub(crate) struct Reading<'a> {
    /// Variables of the process, then of `.env`.
    pub(crate) lookup: interpolate::Lookup<'a>,
    pub(crate) read: &'a dyn Fn(&str) -> std::io::Result<String>,
    /// Leave `$NAME` as it is.
    pub(crate) literal: bool,
    /// Profiles that are enabled; none: those of `COMPOSE_PROFILES`.
    pub(crate) profiles: &'a [String],
}

/// A whole project, in long forms, with what is to be said about it.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) content: Json,
    /// What has no effect in a cluster.
    pub(crate) ignored: Vec<Fault>,
    places: Places,
}

impl Project {
    /// The stack of this name.
    ///
    /// # Errors
    /// What cannot be in a stack, with its place.
    pub(crate) fn stack(&self, name: &str) -> Result<convert::Stack, Fault> {
        convert::stack(name, &self.content).map_err(|fault| fault.placed(&self.places))
    }
}

//! Where things stand in files, and faults that say it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// A place in a file; line and column count from one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: Arc<str>,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// The places of values by their path: keys and indexes with dots between them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(BTreeMap<String, Place>);

impl Places {
    /// The places of one file.
    pub(crate) fn of(file: &str, points: &[(String, (usize, usize))]) -> Self {
        let file: Arc<str> = file.into();
        let place = |(path, (line, column)): &(String, (usize, usize))| {
            (path.clone(), Place { file: Arc::clone(&file), line: *line, column: *column })
        };
        Self(points.iter().map(place).collect())
    }

    /// Adds those of a later file, which go before ours.
    pub(crate) fn extend(&mut self, later: Self) {
        self.0.extend(later.0);
    }

    /// Adds those of a file that ours go before.
    pub(crate) fn fill(&mut self, earlier: &Self) {
        for (path, place) in &earlier.0 {
            self.0.entry(path.clone()).or_insert_with(|| place.clone());
        }
    }

    /// The place of a value, or of the next thing around it that has one.
    pub(crate) fn find(&self, path: &str) -> Option<&Place> {
        let mut path = path;
        loop {
            if let Some(place) = self.0.get(path) {
                return Some(place);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

/// Something that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Where in the project; empty: the whole file.
    pub(crate) path: String,
    /// Where in the files, once that is known.
    pub(crate) place: Option<Place>,
    /// What is wrong.
    pub(crate) message: String,
}

impl Fault {
    /// A fault of the value at a path.
    pub(crate) fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), place: None, message: message.into() }
    }

    /// The same, where the path begins further out.
    pub(crate) fn within(mut self, outer: &str) -> Self {
        if self.place.is_none() {
            let dot = if self.path.is_empty() { "" } else { "." };
            self.path = format!("{outer}{dot}{}", self.path);
        }
        self
    }

    /// The same with its place, if it has none yet.
    pub(crate) fn placed(mut self, places: &Places) -> Self {
        if self.place.is_none() {
            self.place = places.find(&self.path).cloned();
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(out, "{place}: ")?;
        }
        if !self.path.is_empty() {
            write!(out, "{}: ", self.path)?;
        }
        out.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_stands_where_the_next_known_thing_does() {
        let points = [("services".to_owned(), (1, 1)), ("services.web".to_owned(), (2, 3))];
        let places = Places::of("a.yaml", &points);
        let fault = Fault::at("ports.0", "no").within("services.web").placed(&places);
        assert_eq!(fault.to_string(), "a.yaml:2:3: services.web.ports.0: no");
        assert_eq!(Fault::at("x", "no").placed(&places).to_string(), "x: no");
    }
}

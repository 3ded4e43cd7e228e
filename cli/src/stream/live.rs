//! Lines that change in place on a terminal; elsewhere each change is a line of its own.

use std::collections::HashMap;

use super::progress::{Screen, To};
use shoal_gotemplate::value::Value;

/// What is to be said about one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Stands in front; lines of the same name replace each other. Empty: a plain message.
    pub(crate) name: String,
    pub(crate) text: String,
    /// How much of how many steps are done.
    pub(crate) steps: Option<(i64, i64)>,
    /// What the steps are when their numbers are to be shown.
    pub(crate) units: &'static str,
}

impl Line {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), steps: None, units: "" }
    }

    pub(crate) fn with_steps(mut self, done: i64, of: i64) -> Self {
        self.steps = Some((done, of));
        self
    }

    /// The steps are these things: their numbers are shown.
    pub(crate) fn of(mut self, units: &'static str) -> Self {
        self.units = units;
        self
    }

    fn message(&self) -> Value {
        let text = |text: &str| Value::Text(text.to_owned());
        if self.name.is_empty() {
            return Value::Map(vec![("status".into(), text(&self.text))]);
        }
        let detail = match self.steps {
            Some((done, of)) => vec![
                ("current".to_owned(), Value::Int(done)),
                ("total".to_owned(), Value::Int(of)),
                ("units".to_owned(), text(self.units)),
                ("hidecounts".to_owned(), Value::Bool(self.units.is_empty())),
            ],
            None => Vec::new(),
        };
        Value::Map(vec![
            ("id".into(), text(&self.name)),
            ("status".into(), text(&self.text)),
            ("progressDetail".into(), Value::Map(detail)),
        ])
    }
}

/// The display.
#[derive(Debug)]
pub(crate) struct Live {
    screen: Screen,
    to: To,
    said: HashMap<String, Line>,
}

impl Live {
    pub(crate) fn new(to: To) -> Self {
        Self { screen: Screen::of(to), to, said: HashMap::new() }
    }

    /// Shows lines; what was said already is not repeated.
    pub(crate) fn show(&mut self, lines: &[Line]) {
        for line in lines {
            let text = self.text(line);
            self.to.write(&text);
        }
    }

    fn text(&mut self, line: &Line) -> String {
        if !line.name.is_empty() && self.said.get(&line.name) == Some(line) {
            return String::new();
        }
        self.said.insert(line.name.clone(), line.clone());
        // Our own messages never carry an error.
        self.screen.show(&line.message()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(width: Option<usize>) -> String {
        let screen = Screen::with_width(width);
        let mut live = Live { screen, to: To::Nowhere, said: HashMap::new() };
        let lines = [
            Line::new("overall progress", "0 out of 1 tasks"),
            Line::new("1/1", "running   ").with_steps(9, 9),
            Line::new("overall progress", "0 out of 1 tasks"),
            Line::new("overall progress", "1 out of 1 tasks"),
            Line::new("", "job complete"),
        ];
        lines.iter().map(|line| live.text(line)).collect()
    }

    #[test]
    fn without_a_terminal_changes_are_lines_and_bars_are_left_out() {
        assert_eq!(
            shown(None),
            "overall progress: 0 out of 1 tasks\noverall progress: 1 out of 1 tasks\njob complete\n"
        );
    }

    #[test]
    fn on_a_terminal_lines_change_in_place() {
        assert_eq!(
            shown(Some(120)),
            format!(
                "\n\x1b[1A\x1b[2K\roverall progress: 0 out of 1 tasks \r\x1b[1B\
                 \n\x1b[1A\x1b[2K\r1/1: running    [{}>] \r\x1b[1B\
                 \x1b[2A\x1b[2K\roverall progress: 1 out of 1 tasks \r\x1b[2B\
                 job complete\n",
                "=".repeat(50)
            )
        );
    }
}

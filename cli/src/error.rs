//! What a command fails with: a message for standard error and the exit code.

use std::fmt;

/// The end of a command that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// Printed on standard error. Empty: nothing is printed (the container's own exit code).
    pub(crate) message: String,
    /// The exit code of the program.
    pub(crate) code: i32,
}

pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    /// Only an exit code: the output has been written already, or is not ours.
    pub(crate) fn code(code: i32) -> Self {
        Self { message: String::new(), code }
    }

    pub(crate) fn with_code(mut self, code: i32) -> Self {
        self.code = code;
        self
    }

    /// The form of `run`, `create` and `start` errors: program name in front, hint behind.
    pub(crate) fn with_help(self, command: &str) -> Self {
        Self {
            message: format!(
                "shoal: {}\n\nRun 'shoal {command} --help' for more information",
                self.message
            ),
            code: 125,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::new(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Self::new(message)
    }
}

impl From<crate::client::Error> for Failure {
    fn from(error: crate::client::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// Adds what was being done to an error of the operating system.
pub(crate) fn io(what: impl fmt::Display) -> impl FnOnce(std::io::Error) -> Failure {
    move |error| Failure::new(format!("{what}: {}", io_text(&error)))
}

/// The text of an operating system error without Rust's ` (os error N)`, in lower case as Go prints it.
pub(crate) fn io_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => {
            let text = &text[..end];
            let mut chars = text.chars();
            chars
                .next()
                .map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
        }
        None => text,
    }
}

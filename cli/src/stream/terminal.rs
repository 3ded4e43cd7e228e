//! The terminal of standard input: raw while attached, restored afterwards.

use rustix::termios::{self, OptionalActions, Termios};

/// A terminal in raw mode; dropping it restores the former mode.
pub(crate) struct Raw {
    before: Termios,
}

impl Raw {
    /// `None` when standard input is not a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _best = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// A terminal that does not show what is typed; dropping it restores the former mode.
pub(crate) struct Silent {
    before: Termios,
}

impl Silent {
    /// `None` when standard input is not a terminal.
    pub(crate) fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(termios::LocalModes::ECHO);
        termios::tcsetattr(&stdin, OptionalActions::Now, &silent).ok()?;
        Some(Self { before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _best = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Rows and columns of standard output's terminal.
pub(crate) fn size() -> Option<(u16, u16)> {
    let size = termios::tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

//! The messages of a pull, push or load: bars on a terminal, plain lines elsewhere.

use std::collections::HashMap;

use super::terminal;
use crate::client::Response;
use crate::error::{Failure, Result};
use crate::sys;
use crate::units::human_size;
use shoal_gotemplate::value::Value;

/// Where messages are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    Out,
    /// Standard output belongs to a container.
    Err,
    /// Nowhere: only errors count.
    Nowhere,
}

impl To {
    pub(super) fn write(self, text: &str) {
        match self {
            Self::Out => sys::out(text),
            Self::Err => sys::err(text),
            Self::Nowhere => {}
        }
    }

    /// The width of the terminal behind it.
    fn terminal(self) -> Option<usize> {
        let is_terminal = match self {
            Self::Out => sys::is_terminal(std::io::stdout()),
            Self::Err => sys::is_terminal(std::io::stderr()),
            Self::Nowhere => false,
        };
        is_terminal.then(|| terminal::size().map_or(200, |(_, columns)| usize::from(columns)))
    }
}

/// Shows all messages of an answer.
///
/// # Errors
/// When the connection breaks, or a message says that the work failed.
pub(crate) async fn show(mut response: Response, to: To) -> Result {
    let mut pending = Vec::new();
    let mut screen = Screen::of(to);
    while let Some(chunk) = response.chunk().await? {
        pending.extend_from_slice(&chunk);
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            take(&line, &mut screen, to)?;
        }
    }
    take(&pending, &mut screen, to)
}

fn take(line: &[u8], screen: &mut Screen, to: To) -> Result {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let message: Value = serde_json::from_slice(line)
        .map_err(|error| Failure::new(format!("reading a message of the daemon: {error}")))?;
    to.write(&screen.show(&message).map_err(Failure::new)?);
    Ok(())
}

/// What the lines at the bottom of the terminal stand for.
#[derive(Debug, Default)]
pub(super) struct Screen {
    /// `None`: not a terminal.
    width: Option<usize>,
    lines: HashMap<String, usize>,
}

impl Screen {
    pub(super) fn of(to: To) -> Self {
        Self::with_width(to.terminal())
    }

    /// `None`: not a terminal.
    pub(super) fn with_width(width: Option<usize>) -> Self {
        Self { width, lines: HashMap::new() }
    }

    /// The text that shows a message, with the movements of the cursor. Pure.
    pub(super) fn show(&mut self, message: &Value) -> std::result::Result<String, String> {
        if *message.at("aux") != Value::Null {
            return Ok(String::new());
        }
        let error = match message.path("errorDetail.message").text() {
            "" => message.at("error").text(),
            detail => detail,
        };
        let id = message.at("id").text();
        let progress = message.find("progressDetail").filter(|detail| **detail != Value::Null);
        let mut up = 0;
        let mut text = String::new();
        if id.is_empty() || progress.is_none() {
            // Other output moves the lines away.
            self.lines.clear();
        } else {
            let next = self.lines.len();
            let line = *self.lines.entry(id.to_owned()).or_insert_with(|| {
                text.push_str(if self.width.is_some() { "\n" } else { "" });
                next
            });
            up = self.lines.len() - line;
        }
        if !error.is_empty() {
            return Err(error.to_owned());
        }
        let moves = self.width.is_some() && up > 0;
        if moves {
            text.push_str(&format!("\x1b[{up}A"));
        }
        text.push_str(&self.line(id, message, progress));
        if moves {
            text.push_str(&format!("\x1b[{up}B"));
        }
        Ok(text)
    }

    fn line(&self, id: &str, message: &Value, progress: Option<&Value>) -> String {
        let stream = message.at("stream").text();
        let status = message.at("status").text();
        let prefix = if id.is_empty() { String::new() } else { format!("{id}: ") };
        match (self.width, progress) {
            (Some(width), Some(progress)) if stream.is_empty() => {
                format!("\x1b[2K\r{prefix}{status} {}\r", bar(progress, width))
            }
            (None, Some(progress)) if !bar(progress, 200).is_empty() => String::new(),
            _ if !stream.is_empty() => format!("{prefix}{stream}"),
            _ => format!("{prefix}{status}\n"),
        }
    }
}

/// `[===>   ] 1.2MB/3.4MB`, without the brackets on a narrow terminal.
fn bar(progress: &Value, width: usize) -> String {
    let (current, total) = (progress.at("current").int(), progress.at("total").int());
    if current <= 0 && total <= 0 {
        return String::new();
    }
    let units = progress.at("units").text();
    let size = |amount: i64| {
        #[expect(clippy::cast_precision_loss, reason = "a size for the eyes")]
        let amount = amount as f64;
        human_size(amount)
    };
    if total <= 0 {
        return match units {
            "" => format!("{:>8}", size(current)),
            units => format!("{current} {units}"),
        };
    }
    let half = usize::try_from(current.max(0).saturating_mul(50) / total).unwrap_or(50).min(50);
    let mut text = String::new();
    if width > 110 {
        text = format!("[{}>{}] ", "=".repeat(half), " ".repeat(50 - half));
    }
    if progress.at("hidecounts").is_true() {
        return text;
    }
    text.push_str(&match units {
        "" if current > total => format!("{:>8}", size(current)),
        "" => format!("{:>8}/{}", size(current), size(total)),
        units => format!("{current}/{total} {units}"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGES: [&str; 5] = [
        r#"{"status":"Pulling from library/x","id":"latest"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"aa"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"bb"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":500,"total":1000},"id":"aa"}"#,
        r#"{"status":"Digest: sha256:00"}"#,
    ];

    fn shown(width: Option<usize>) -> String {
        let mut screen = Screen { width, ..Screen::default() };
        let show = |text: &&str| screen.show(&serde_json::from_str(text).unwrap()).unwrap();
        MESSAGES.iter().map(show).collect()
    }

    #[test]
    fn without_a_terminal_there_are_lines_and_no_bars() {
        assert_eq!(
            shown(None),
            "latest: Pulling from library/x\naa: Pulling fs layer\nbb: Pulling fs layer\n\
             Digest: sha256:00\n"
        );
    }

    #[test]
    fn on_a_terminal_each_layer_has_its_line() {
        assert_eq!(
            shown(Some(80)),
            "latest: Pulling from library/x\n\
             \n\x1b[1A\x1b[2K\raa: Pulling fs layer \r\x1b[1B\
             \n\x1b[1A\x1b[2K\rbb: Pulling fs layer \r\x1b[1B\
             \x1b[2A\x1b[2K\raa: Downloading     500B/1kB\r\x1b[2B\
             Digest: sha256:00\n"
        );
    }

    #[test]
    fn wide_terminals_have_brackets() {
        let progress = serde_json::from_str(r#"{"current":500,"total":1000}"#).unwrap();
        let expected = format!("[{}>{}]     500B/1kB", "=".repeat(25), " ".repeat(25));
        assert_eq!(bar(&progress, 120), expected);
    }

    #[test]
    fn an_error_ends_it() {
        let message = r#"{"errorDetail":{"message":"denied"},"error":"denied"}"#;
        let shown = Screen::default().show(&serde_json::from_str(message).unwrap());
        assert_eq!(shown, Err("denied".to_owned()));
    }
}

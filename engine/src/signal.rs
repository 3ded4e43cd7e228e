//! Signals by name and number. Pure.
//!
//! Source: moby/sys `signal/signal_linux.go`, signal(7).

/// A signal of Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal(i32);

/// Ends a process for sure.
pub const KILL: Signal = Signal(9);
/// Asks a process to end.
pub const TERM: Signal = Signal(15);
/// First and last real-time signal that programs may use.
const REALTIME: (i32, i32) = (34, 64);

/// Names without `SIG`, by number from 1.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

impl Signal {
    /// The kernel's number.
    pub const fn number(self) -> i32 {
        self.0
    }
}

/// From a number, or a name with or without `SIG` in any case.
pub fn parse(text: &str) -> Option<Signal> {
    if let Ok(number) = text.parse::<i32>() {
        return (1..=REALTIME.1).contains(&number).then_some(Signal(number));
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = match name {
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        _ => realtime(name).or_else(|| {
            NAMES.iter().position(|known| *known == name).and_then(|at| i32::try_from(at + 1).ok())
        }),
    };
    number.map(Signal)
}

fn realtime(name: &str) -> Option<i32> {
    let (from, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => (REALTIME.0, rest),
        (_, Some(rest)) => (REALTIME.1, rest),
        _ => return None,
    };
    let offset = if rest.is_empty() { 0 } else { rest.parse::<i32>().ok()? };
    Some(from + offset).filter(|number| (REALTIME.0..=REALTIME.1).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_numbers_and_nonsense() {
        let parsed = |texts: &[&str]| -> Vec<Option<i32>> {
            texts.iter().map(|text| parse(text).map(Signal::number)).collect()
        };
        assert_eq!(
            parsed(&[
                "9",
                "KILL",
                "SIGKILL",
                "sigterm",
                "SYS",
                "RTMIN",
                "SIGRTMIN+3",
                "RTMAX-1",
                "IOT"
            ]),
            [9, 9, 9, 15, 31, 34, 37, 63, 6].map(Some)
        );
        assert_eq!(parsed(&["0", "65", "-1", "", "SIG", "FOO", "RTMIN+40", "RTMAX+1"]), [None; 8]);
    }
}

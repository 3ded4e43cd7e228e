//! Values of flags: numbers, sizes, durations, with the error texts of Go's `strconv` and `time`.

use super::parse::quote;

type Checked<T> = Result<T, String>;

pub(crate) fn anything(_: &str) -> Checked<()> {
    Ok(())
}

pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

pub(crate) fn boolean(text: &str) -> Checked<()> {
    parse_bool(text)
        .map(|_| ())
        .ok_or_else(|| format!("strconv.ParseBool: parsing {}: invalid syntax", quote(text)))
}

/// An integer, also in base 16, 8 and 2 with prefix, as pflag takes it.
pub(crate) fn parse_int(text: &str) -> Checked<i64> {
    number(text, "ParseInt", i128::from(i64::MIN), i128::from(i64::MAX))
        .and_then(|value| i64::try_from(value).map_err(|error| error.to_string()))
}

pub(crate) fn int(text: &str) -> Checked<()> {
    parse_int(text).map(|_| ())
}

pub(crate) fn uint16(text: &str) -> Checked<()> {
    number(text, "ParseUint", 0, i128::from(u16::MAX)).map(|_| ())
}

pub(crate) fn uint(text: &str) -> Checked<()> {
    number(text, "ParseUint", 0, i128::from(u64::MAX)).map(|_| ())
}

fn number(text: &str, function: &str, least: i128, most: i128) -> Checked<i128> {
    let refuse = |why: &str| format!("strconv.{function}: parsing {}: {why}", quote(text));
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') if least < 0 => (-1, &text[1..]),
        Some(b'+') if least < 0 => (1, &text[1..]),
        _ => (1, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (2, binary)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(base)) {
        return Err(refuse("invalid syntax"));
    }
    let value = i128::from_str_radix(digits, base).map_err(|_| refuse("value out of range"))?;
    let value = sign * value;
    if value < least || value > most {
        return Err(refuse("value out of range"));
    }
    Ok(value)
}

/// A size with unit: `64m`, `1.5GiB`, `10 kB`. Units are powers of 1024 as everywhere in docker's options.
pub(crate) fn parse_bytes(text: &str) -> Checked<i64> {
    let refuse = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').ok_or_else(refuse)?;
    let (number, suffix) = text.split_at(end + 1);
    let (number, suffix) = match suffix.strip_prefix(' ') {
        Some(suffix) => (number, suffix),
        None => (number, suffix),
    };
    if !number.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(refuse());
    }
    let value: f64 = number.parse().map_err(|_| refuse())?;
    let power = match suffix.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        "p" | "pb" | "pib" => 5,
        _ => return Err(format!("invalid suffix: '{suffix}'")),
    };
    #[expect(clippy::cast_possible_truncation, reason = "saturates; sizes are below 2^63")]
    let bytes = (value * 1024f64.powi(power)) as i64;
    Ok(bytes)
}

pub(crate) fn bytes(text: &str) -> Checked<()> {
    parse_bytes(text).map(|_| ())
}

/// A size, or -1 for no limit.
pub(crate) fn swap(text: &str) -> Checked<()> {
    if text == "-1" { Ok(()) } else { bytes(text) }
}

/// A number of CPUs in billionths.
pub(crate) fn parse_cpus(text: &str) -> Checked<i64> {
    let refuse = || format!("failed to parse {text} as a rational number");
    let value = match text.split_once('/') {
        Some((over, under)) => {
            let over: i128 = over.parse().map_err(|_| refuse())?;
            let under: i128 = under.parse().map_err(|_| refuse())?;
            if under == 0 {
                return Err(refuse());
            }
            (over * 1_000_000_000 % under == 0).then(|| over * 1_000_000_000 / under)
        }
        None => billionths(text).ok_or_else(refuse)?,
    };
    value
        .and_then(|value| i64::try_from(value).ok())
        .ok_or_else(|| "value is too precise".to_owned())
}

/// `None`: not a number. `Some(None)`: finer than a billionth.
fn billionths(text: &str) -> Option<Option<i128>> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !is_number(whole) || !is_number(part) {
        return None;
    }
    let part = part.trim_end_matches('0');
    if part.len() > 9 {
        return Some(None);
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: i128 = format!("{part:0<9}").parse().ok()?;
    Some(Some(sign * (whole * 1_000_000_000 + part)))
}

pub(crate) fn decimal(text: &str) -> Checked<()> {
    parse_cpus(text).map(|_| ())
}

/// A Go duration (`1h2m3.5s`, `300ms`) in nanoseconds.
pub(crate) fn parse_duration(text: &str) -> Checked<i64> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let (sign, mut left) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if left == "0" {
        return Ok(0);
    }
    if left.is_empty() {
        return Err(invalid());
    }
    let mut total = 0f64;
    while !left.is_empty() {
        let end = left.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(left.len());
        let (number, after) = left.split_at(end);
        let value: f64 = number.parse().map_err(|_| invalid())?;
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            "" => return Err(format!("time: missing unit in duration {}", quote(text))),
            _ => {
                let (unit, text) = (quote(unit), quote(text));
                return Err(format!("time: unknown unit {unit} in duration {text}"));
            }
        };
        total += value * scale;
        left = after;
    }
    if total > 9.2e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    Ok((sign * total.round()) as i64)
}

pub(crate) fn duration(text: &str) -> Checked<()> {
    parse_duration(text).map(|_| ())
}

pub(crate) fn filter(text: &str) -> Checked<()> {
    if text.is_empty() || text.contains('=') {
        return Ok(());
    }
    Err("bad format of filter (expected name=value)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_units_and_dockers_errors() {
        let all = ["64m", "1.5g", "10 kB", "0", "12b", "1KiB"].map(parse_bytes);
        assert_eq!(all, [67_108_864, 1_610_612_736, 10240, 0, 12, 1024].map(Ok));
        assert_eq!(parse_bytes("abc"), Err("invalid size: 'abc'".to_owned()));
        assert_eq!(parse_bytes("-5m"), Err("invalid size: '-5m'".to_owned()));
        assert_eq!(parse_bytes("5x"), Err("invalid suffix: 'x'".to_owned()));
    }

    #[test]
    fn cpus_are_billionths() {
        assert_eq!(parse_cpus("1.5"), Ok(1_500_000_000));
        assert_eq!(parse_cpus(".25"), Ok(250_000_000));
        assert_eq!(parse_cpus("1/4"), Ok(250_000_000));
        assert_eq!(parse_cpus("a"), Err("failed to parse a as a rational number".to_owned()));
        assert_eq!(parse_cpus("0.0000000001"), Err("value is too precise".to_owned()));
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(parse_duration("1h2m3.5s"), Ok(3_723_500_000_000));
        assert_eq!(parse_duration("300ms"), Ok(300_000_000));
        assert_eq!(parse_duration("-1.5h"), Ok(-5_400_000_000_000));
        assert_eq!(parse_duration("5"), Err(r#"time: missing unit in duration "5""#.to_owned()));
        assert_eq!(parse_duration("x"), Err(r#"time: invalid duration "x""#.to_owned()));
        assert_eq!(
            parse_duration("5x"),
            Err(r#"time: unknown unit "x" in duration "5x""#.to_owned())
        );
    }

    #[test]
    fn integers_are_checked_as_strconv_does() {
        assert_eq!(parse_int("0x10"), Ok(16));
        assert_eq!(parse_int("010"), Ok(8));
        assert_eq!(
            uint16("70000"),
            Err(r#"strconv.ParseUint: parsing "70000": value out of range"#.to_owned())
        );
        assert_eq!(
            parse_int("a"),
            Err(r#"strconv.ParseInt: parsing "a": invalid syntax"#.to_owned())
        );
    }
}

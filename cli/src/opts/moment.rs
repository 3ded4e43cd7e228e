//! Moments on the command line: `--since` and `--until`. Pure.

use crate::args::check::parse_duration;

/// The form in which the daemon takes a moment: seconds since 1970, with nine decimals where they are known.
///
/// A duration is subtracted from `now`; a date without a zone is local time.
///
/// # Errors
/// When the text is neither a time nor a duration.
pub(crate) fn timestamp(
    text: &str,
    now_seconds: i64,
    zone: &jiff::tz::TimeZone,
) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    if text != "0"
        && let Ok(ago) = parse_duration(text)
    {
        let nanos = i128::from(now_seconds) * 1_000_000_000 - i128::from(ago);
        return Ok(nanos.div_euclid(1_000_000_000).to_string());
    }
    if let Some(nanos) = date(text, zone) {
        let (seconds, part) = (nanos.div_euclid(1_000_000_000), nanos.rem_euclid(1_000_000_000));
        return Ok(format!("{seconds}.{part:09}"));
    }
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (seconds, part) = text.split_once('.').unwrap_or((text, "0"));
    if digits(seconds) && digits(part) {
        return Ok(text.to_owned());
    }
    Err(format!("failed to parse value as time or duration: {}", crate::args::parse::quote(text)))
}

/// A date in RFC 3339 or a beginning of one.
fn date(text: &str, zone: &jiff::tz::TimeZone) -> Option<i128> {
    if !text.contains('-') {
        return None;
    }
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Some(moment.as_nanosecond());
    }
    let utc = text.strip_suffix('Z');
    let plain = utc.unwrap_or(text);
    let full = match plain.len() {
        10 => format!("{plain}T00:00:00"),
        13 => format!("{plain}:00:00"),
        16 => format!("{plain}:00"),
        _ => plain.to_owned(),
    };
    let civil: jiff::civil::DateTime = full.parse().ok()?;
    let zone = if utc.is_some() { jiff::tz::TimeZone::UTC } else { zone.clone() };
    Some(civil.to_zoned(zone).ok()?.timestamp().as_nanosecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_durations_or_seconds() {
        let at = |text: &str| timestamp(text, 1000, &jiff::tz::TimeZone::UTC);
        assert_eq!(at("10s").as_deref(), Ok("990"));
        assert_eq!(at("0s").as_deref(), Ok("1000"));
        assert_eq!(at("0").as_deref(), Ok("0"));
        assert_eq!(at("1136073845.5").as_deref(), Ok("1136073845.5"));
        assert_eq!(at("1970-01-02").as_deref(), Ok("86400.000000000"));
        assert_eq!(at("1970-01-02T00:00").as_deref(), Ok("86400.000000000"));
        assert_eq!(at("1970-01-02T00:00Z").as_deref(), Ok("86400.000000000"));
        assert_eq!(at("1970-01-01T00:00:01.5+00:00").as_deref(), Ok("1.500000000"));
        assert_eq!(
            at("nonsense"),
            Err("failed to parse value as time or duration: \"nonsense\"".into())
        );
        assert!(at("2006-99").is_err());
    }
}

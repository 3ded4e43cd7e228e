//! Times as docker writes and reads them.

use std::time::Duration;

use shoal_model::Timestamp;

/// Go's zero time.
pub(crate) const ZERO: &str = "0001-01-01T00:00:00Z";

/// RFC 3339 with as many digits as needed.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    instant(time).to_string()
}

/// RFC 3339 or Go's zero time.
pub(crate) fn or_zero(time: Option<Timestamp>) -> String {
    time.map_or_else(|| ZERO.to_owned(), rfc3339)
}

/// RFC 3339 with nine digits, as logs have it.
pub(crate) fn fixed(time: Timestamp) -> String {
    format!("{:.9}", instant(time))
}

/// RFC 3339 without fractions.
pub(crate) fn seconds(time: Timestamp) -> String {
    format!("{:.0}", instant(Timestamp::from_parts(time.seconds(), 0)))
}

fn instant(time: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(i128::from(time.nanos()))
        .expect("64 bits of nanoseconds are within the years jiff knows")
}

/// Parses `seconds[.nanoseconds]`, RFC 3339, or a Go duration before `now`. `None` when malformed.
pub(crate) fn parse(text: &str, now: Timestamp) -> Option<Timestamp> {
    unix(text)
        .or_else(|| {
            let time = text.parse::<jiff::Timestamp>().ok()?;
            i64::try_from(time.as_nanosecond()).ok().map(Timestamp::from_nanos)
        })
        .or_else(|| {
            let before = i64::try_from(go_duration(text)?.as_nanos()).ok()?;
            Some(Timestamp::from_nanos(now.nanos().saturating_sub(before)))
        })
}

fn unix(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: i64 = format!("{fraction:0<9}").parse().ok()?;
    Some(Timestamp::from_parts(whole.parse().ok()?, nanos))
}

/// `1h30m`, `1.5s`, `100ms`.
pub(crate) fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .map_or(rest.len(), |end| digits + end);
        total += number
            * match &rest[digits..unit_end] {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = &rest[unit_end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

/// `3 minutes`, as in the status of a list.
///
/// Source: docker/go-units `duration.go HumanDuration`.
pub(crate) fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, ..48) => format!("{hours} hours"),
        (_, _, ..336) => format!("{} days", hours / 24),
        (_, _, ..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, ..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_as_go_does() {
        let time = Timestamp::from_parts(1_700_000_000, 120_000_000);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.12Z");
        assert_eq!(fixed(time), "2023-11-14T22:13:20.120000000Z");
        assert_eq!(seconds(time), "2023-11-14T22:13:20Z");
        assert_eq!(or_zero(None), ZERO);
    }

    #[test]
    fn reads_all_forms() {
        let now = Timestamp::from_parts(1000, 0);
        for (text, expected) in [
            ("10", Some(10_000_000_000)),
            ("10.5", Some(10_500_000_000)),
            ("10.000000001", Some(10_000_000_001)),
            ("1970-01-01T00:00:10Z", Some(10_000_000_000)),
            ("1970-01-01T01:00:10+01:00", Some(10_000_000_000)),
            ("1m30s", Some(910_000_000_000)),
            ("500ms", Some(999_500_000_000)),
            ("", None),
            ("x", None),
            ("1.5x", None),
        ] {
            assert_eq!(parse(text, now).map(Timestamp::nanos), expected, "{text}");
        }
    }

    #[test]
    fn tells_durations_as_docker_ps_does() {
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (731 * 86400, "2 years"),
        ] {
            assert_eq!(human(Duration::from_secs(seconds)), expected);
        }
    }
}

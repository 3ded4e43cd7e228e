//! Numbers and times as people read them. Pure.

use shoal_gotemplate::text::significant;

/// A size in decimal units with four significant digits: `1.024kB`.
pub(crate) fn human_size(bytes: f64) -> String {
    size_with(bytes, 4, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
}

/// A size in decimal units with three significant digits: `1.02kB`.
pub(crate) fn human_size_3(bytes: f64) -> String {
    size_with(bytes, 3, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
}

/// A size in binary units with four significant digits: `1.5GiB`.
pub(crate) fn binary_size(bytes: f64) -> String {
    size_with(bytes, 4, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"])
}

fn size_with(bytes: f64, digits: usize, base: f64, units: &[&str]) -> String {
    let mut size = bytes;
    let mut unit = 0;
    while size >= base && unit + 1 < units.len() {
        size /= base;
        unit += 1;
    }
    format!("{}{}", significant(size, digits), units[unit])
}

/// A duration, roughly: `About a minute`, `3 hours`, `2 weeks`.
pub(crate) fn human_duration(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Go rounds hours to the nearest.
    let hours = (seconds + 1800) / 3600;
    match seconds {
        s if s < 1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        s if s < 60 => format!("{s} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

/// Nanoseconds as Go prints a duration: `1m30s`, `1.5ms`.
pub(crate) fn go_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let left = nanos.unsigned_abs();
    let part = |value: u64, unit: u64| {
        let digits = unit.ilog10() as usize;
        let rest = format!("{:0digits$}", value % unit);
        let rest = if unit == 1 { "" } else { rest.trim_end_matches('0') };
        let dot = if rest.is_empty() { "" } else { "." };
        format!("{}{dot}{rest}", value / unit)
    };
    match left {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{left}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", part(left, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", part(left, 1_000_000)),
        _ => {
            let (hours, minutes) = (left / 3_600_000_000_000, left / 60_000_000_000 % 60);
            let seconds = part(left % 60_000_000_000, 1_000_000_000);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, _) => format!("{sign}{minutes}m{seconds}s"),
                _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// How long ago a moment was.
pub(crate) fn ago(now_seconds: i64, then_seconds: i64) -> String {
    format!("{} ago", human_duration(now_seconds - then_seconds))
}

/// The moment of a time in RFC 3339, in nanoseconds since 1970.
pub(crate) fn parse_time(text: &str) -> Option<i128> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_nanosecond())
}

/// Seconds of now and of a time stamp; 0 for a missing one.
pub(crate) fn seconds(nanos: i128) -> i64 {
    i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or(i64::MAX)
}

/// The offset of the local zone as docker prints it in tables: always UTC here unless `TZ` says otherwise.
pub(crate) fn local_time(seconds: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else { return String::new() };
    let zoned = time.to_zoned(zone());
    let abbreviation = zoned.strftime("%Z").to_string();
    format!("{} {abbreviation}", zoned.strftime("%Y-%m-%d %H:%M:%S %z"))
}

/// A time in RFC 3339 as Go prints one: `2006-01-02 15:04:05.999999999 -0700 MST`.
pub(crate) fn go_time(text: &str) -> Option<String> {
    let time: jiff::Timestamp = text.parse().ok()?;
    let whole = time.strftime("%Y-%m-%d %H:%M:%S");
    let part = format!("{:09}", time.as_nanosecond().rem_euclid(1_000_000_000));
    let part = part.trim_end_matches('0');
    let dot = if part.is_empty() { "" } else { "." };
    Some(format!("{whole}{dot}{part} +0000 UTC"))
}

/// A time stamp in the local zone, in RFC 3339 with nine digits.
pub(crate) fn local_rfc3339_nano(nanos: i128) -> String {
    let Ok(time) = jiff::Timestamp::from_nanosecond(nanos) else { return String::new() };
    let zoned = time.to_zoned(zone());
    let offset = zoned.strftime("%:z").to_string();
    let offset = if offset == "+00:00" { "Z".to_owned() } else { offset };
    format!("{}{offset}", zoned.strftime("%Y-%m-%dT%H:%M:%S.%9f"))
}

/// A time stamp in the local zone, in RFC 3339 without fractions.
#[allow(dead_code, reason = "for commands on images and registries")]
pub(crate) fn local_rfc3339(seconds: i64) -> String {
    let Ok(time) = jiff::Timestamp::from_second(seconds) else { return String::new() };
    let zoned = time.to_zoned(zone());
    let offset = zoned.strftime("%:z").to_string();
    let offset = if offset == "+00:00" { "Z".to_owned() } else { offset };
    format!("{}{offset}", zoned.strftime("%Y-%m-%dT%H:%M:%S"))
}

/// The zone of `TZ` or of this machine; UTC when neither can be read.
pub(crate) fn zone() -> jiff::tz::TimeZone {
    let file = match crate::sys::env("TZ") {
        Some(name) => format!("/usr/share/zoneinfo/{}", name.trim_start_matches(':')),
        None => "/etc/localtime".to_owned(),
    };
    let read = std::fs::read(file).ok();
    read.and_then(|data| jiff::tz::TimeZone::tzif("local", &data).ok())
        .unwrap_or(jiff::tz::TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_significant_digits() {
        let all = [0.0, 999.0, 1000.0, 1024.0, 1_234_567.0, 4_261_502.0, 999_999.0];
        let shown: Vec<String> = all.iter().map(|size| human_size(*size)).collect();
        assert_eq!(shown, ["0B", "999B", "1kB", "1.024kB", "1.235MB", "4.262MB", "1000kB"]);
        assert_eq!(human_size_3(4_261_502.0), "4.26MB");
        assert_eq!(binary_size(2_062_790_656.0), "1.921GiB");
    }

    #[test]
    fn durations_print_as_in_go() {
        let all = [0, 5, 1_500, 2_000_000, 1_500_000_000, 90_000_000_000, 7_776_000_000_000_000];
        let shown = all.map(go_duration);
        assert_eq!(shown, ["0s", "5ns", "1.5µs", "2ms", "1.5s", "1m30s", "2160h0m0s"]);
    }

    #[test]
    fn times_print_as_in_go() {
        let printed = go_time("2024-01-02T03:04:05.120Z");
        assert_eq!(printed.as_deref(), Some("2024-01-02 03:04:05.12 +0000 UTC"));
    }

    #[test]
    fn durations_are_rough() {
        let all =
            [0, 1, 59, 60, 119, 120, 3599, 3600, 5400, 172_799, 172_800, 1_209_600, 5_184_000];
        let shown: Vec<String> = all.iter().map(|seconds| human_duration(*seconds)).collect();
        assert_eq!(
            shown,
            [
                "Less than a second",
                "1 second",
                "59 seconds",
                "About a minute",
                "About a minute",
                "2 minutes",
                "59 minutes",
                "About an hour",
                "2 hours",
                "2 days",
                "2 days",
                "2 weeks",
                "2 months"
            ]
        );
        assert_eq!(human_duration(3 * 365 * 86400), "3 years");
    }
}

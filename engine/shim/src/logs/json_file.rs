//! Docker's `json-file` lines. Pure.
//!
//! Source: moby `daemon/logger/jsonfilelog/jsonlog/jsonlogbytes.go`.

use std::collections::BTreeMap;
use std::io::Write;

use shoal_shim_protocol::local_log::Record;

/// The `attrs` member, made once; empty without attributes.
pub(crate) fn attributes(values: &BTreeMap<String, String>) -> String {
    if values.is_empty() {
        return String::new();
    }
    serde_json::to_string(values).map(|json| format!(",\"attrs\":{json}")).unwrap_or_default()
}

/// Appends the line of a record.
pub(crate) fn line(record: &Record<'_>, attributes: &str, out: &mut Vec<u8>) {
    let mut text = String::from_utf8_lossy(record.line).into_owned();
    if !record.partial {
        text.push('\n');
    }
    out.extend_from_slice(b"{\"log\":");
    serde_json::to_writer(&mut *out, &text).expect("strings have a JSON form");
    let (stream, time) = (record.stream.name(), rfc3339(record.time_ns));
    writeln!(out, ",\"stream\":\"{stream}\"{attributes},\"time\":\"{time}\"}}")
        .expect("memory takes all bytes");
}

/// Go's RFC3339Nano in UTC: without trailing zeroes of the fraction.
pub(crate) fn rfc3339(time_ns: i64) -> String {
    let (seconds, nanos) = (time_ns.div_euclid(1_000_000_000), time_ns.rem_euclid(1_000_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days since 1970 → civil date, by eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let fraction = format!("{nanos:09}");
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{dot}{fraction}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use shoal_shim_protocol::stdcopy::Stream;

    #[test]
    fn times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_709_210_096_120_000_000), "2024-02-29T12:34:56.12Z");
        assert_eq!(rfc3339(4_102_444_799_000_000_001), "2099-12-31T23:59:59.000000001Z");
    }

    #[test]
    fn lines() {
        let record =
            Record { time_ns: 0, stream: Stream::Stderr, partial: false, line: b"a\"\xff" };
        let mut out = Vec::new();
        line(&record, "", &mut out);
        let labels = BTreeMap::from([("tag".to_owned(), "x".to_owned())]);
        line(&Record { partial: true, ..record }, &attributes(&labels), &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"log\":\"a\\\"\u{fffd}\\n\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:00Z\"}\n\
             {\"log\":\"a\\\"\u{fffd}\",\"stream\":\"stderr\",\"attrs\":{\"tag\":\"x\"},\
             \"time\":\"1970-01-01T00:00:00Z\"}\n"
        );
    }
}

//! Numbers for people.

/// Three digits that count, thousands apart, no zeros at the end.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.095 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let rest = rest.trim_end_matches('0');
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if rest.is_empty() { grouped } else { format!("{grouped}.{rest}") }
}

/// A number with its unit, where it has one.
pub(crate) fn with_unit(value: f64, unit: &str) -> String {
    format!("{} {unit}", number(value)).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_count() {
        for (value, wanted) in [
            (0.0, "0"),
            (0.0375, "0.0375"),
            (0.3, "0.3"),
            (7.589, "7.59"),
            (14.0, "14"),
            (31.64, "31.6"),
            (170.4, "170"),
            (999.9, "1,000"),
            (7673.2, "7,673"),
            (1_000_000.0, "1,000,000"),
            (-1234.5, "-1,234"),
        ] {
            assert_eq!(number(value), wanted);
        }
        assert_eq!(with_unit(2.5, "ms"), "2.5 ms");
        assert_eq!(with_unit(0.0, ""), "0");
    }
}

//! Tables as docker prints them: columns at least as wide as their widest cell plus three blanks. Pure.

/// Aligns tab-separated lines: Go's `tabwriter` with minimal width 10 (or 20 for wide tables), padding 3.
///
/// A cell is text that ends in a tab; the text after the last tab of a line is not aligned. A column is a
/// run of adjacent lines that have a cell there, as in Go: shorter lines break it.
pub(crate) fn align(text: &str, min_width: usize) -> String {
    align_with(text, min_width, 3)
}

/// The same with another padding.
pub(crate) fn align_with(text: &str, min_width: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> =
        text.split_terminator('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> =
        lines.iter().map(|cells| vec![0; cells.len().saturating_sub(1)]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut start = 0;
        while start < lines.len() {
            if widths[start].len() <= column {
                start += 1;
                continue;
            }
            let end = (start..lines.len())
                .find(|line| widths[*line].len() <= column)
                .unwrap_or(lines.len());
            let widest = (start..end).map(|line| lines[line][column].chars().count()).max();
            let widest = widest.unwrap_or(0);
            let width = if widest == 0 { 0 } else { (widest + padding).max(min_width) };
            (start..end).for_each(|line| widths[line][column] = width);
            start = end;
        }
    }
    let mut out = String::new();
    for (cells, widths) in lines.iter().zip(&widths) {
        for (index, cell) in cells.iter().enumerate() {
            match widths.get(index) {
                Some(width) => out.push_str(&format!("{cell:<width$}")),
                None => out.push_str(cell),
            }
        }
        out.push('\n');
    }
    out
}

/// The order in which docker lists names: runs of digits compare as numbers.
pub(crate) fn natural(left: &str, right: &str) -> std::cmp::Ordering {
    let (mut one, mut two) = (left.as_bytes(), right.as_bytes());
    loop {
        let run = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (mine, theirs) = (run(one), run(two));
        let order = if mine > 0 && theirs > 0 {
            let (number, other) = (trim_zeros(&one[..mine]), trim_zeros(&two[..theirs]));
            (one, two) = (&one[mine..], &two[theirs..]);
            number.len().cmp(&other.len()).then_with(|| number.cmp(other))
        } else {
            match (one.split_first(), two.split_first()) {
                (Some((first, rest)), Some((second, others))) => {
                    (one, two) = (rest, others);
                    first.cmp(second)
                }
                _ => return one.len().cmp(&two.len()).then_with(|| left.cmp(right)),
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn trim_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    &digits[zeros..]
}

/// The first characters of a text, `…` in place of the last one when something was cut.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        short.push('…');
    }
    short
}

/// The twelve digits by which people know an object.
pub(crate) fn short_id(id: &str) -> String {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_padded_and_the_last_is_not() {
        let table = align("CONTAINER ID\tIMAGE\tNAMES\nabc\ta-longer-image\tx\n", 10);
        assert_eq!(
            table,
            "CONTAINER ID   IMAGE            NAMES\nabc            a-longer-image   x\n"
        );
    }

    #[test]
    fn narrow_columns_have_the_minimal_width_and_empty_ones_none() {
        assert_eq!(
            align("A\tB\tC\n1\t2\t3\n", 10),
            "A         B         C\n1         2         3\n"
        );
        assert_eq!(align("\tC\n\t3\n", 10), "C\n3\n");
    }

    #[test]
    fn numbers_in_names_count() {
        let mut names = ["v10", "v9", "53323d", "8fe", "a", "v09x", "", "v1"];
        names.sort_by(|left, right| natural(left, right));
        assert_eq!(names, ["", "8fe", "53323d", "a", "v1", "v9", "v09x", "v10"]);
    }

    #[test]
    fn cutting_leaves_room_for_the_dots() {
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(ellipsis("abcd", 4), "abcd");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}

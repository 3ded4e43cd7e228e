//! Rows as a table of Markdown, in columns that people can read as they are.

use crate::number::{number, with_unit};
use crate::row::{Row, Verdict};

/// Where there is nothing to say.
const NOTHING: &str = "-";

type Column = (&'static str, fn(&Row) -> String);

const COLUMNS: [Column; 10] = [
    ("what", |row| row.what.clone()),
    ("figure", |row| with_unit(row.figure, &row.unit)),
    ("least", |row| told(row, row.least)),
    ("most", |row| told(row, row.most)),
    ("budget", |row| told(row, row.budget)),
    ("of it", |row| row.share(row.figure).map_or_else(nothing, number)),
    ("Docker 29.7", |row| docker(row, row.docker)),
    ("Docker 20.10, same run", |row| docker(row, row.docker_here)),
    ("verdict", |row| match row.verdict() {
        Verdict::Untold => nothing(),
        verdict => verdict.to_string(),
    }),
    ("how measured", |row| if row.how.is_empty() { nothing() } else { row.how.clone() }),
];

fn nothing() -> String {
    NOTHING.to_owned()
}

fn told(row: &Row, figure: Option<f64>) -> String {
    figure.map_or_else(nothing, |figure| with_unit(figure, &row.unit))
}

/// Docker's figure, and which part of it ours is.
fn docker(row: &Row, figure: Option<f64>) -> String {
    let Some(figure) = figure else { return nothing() };
    let ratio = row.times_better(figure).map(|times| format!(" (1/{})", number(times)));
    with_unit(figure, &row.unit) + &ratio.unwrap_or_default()
}

/// All rows as a table. Columns in which no row has anything are left out.
pub fn table(rows: &[Row]) -> String {
    let columns = COLUMNS.iter().map(|(head, cell)| {
        let mut cells = vec![(*head).to_owned()];
        cells.extend(rows.iter().map(cell));
        cells
    });
    let columns: Vec<Vec<String>> =
        columns.filter(|cells| cells[1..].iter().any(|cell| cell != NOTHING)).collect();
    let widths: Vec<usize> = columns
        .iter()
        .map(|cells| cells.iter().map(|cell| cell.chars().count()).max().unwrap_or_default())
        .collect();
    let mut text = String::new();
    for line in 0..=rows.len() {
        for (cells, width) in columns.iter().zip(&widths) {
            text += &format!("| {:<width$} ", cells[line]);
        }
        text += "|\n";
        if line == 0 {
            for width in &widths {
                text += &format!("|{}", "-".repeat(width + 2));
            }
            text += "|\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_a_table() {
        let rows = [
            Row::at_most("create + start", "ms", &[7.0, 7.589, 9.0], 14.0)
                .docker(170.0)
                .docker_here(Some(311.0))
                .how("30 in turn"),
            Row::at_most("memory", "MB", &[24.2], 20.0).docker(126.0),
            Row::told("floor", "ms", &[2.13]),
        ];
        let wanted = "\
| what           | figure  | least | most | budget | of it | Docker 29.7     | Docker 20.10, same run | verdict    | how measured |
|----------------|---------|-------|------|--------|-------|-----------------|------------------------|------------|--------------|
| create + start | 7.59 ms | 7 ms  | 9 ms | 14 ms  | 0.54  | 170 ms (1/22.4) | 311 ms (1/41)          | met        | 30 in turn   |
| memory         | 24.2 MB | -     | -    | 20 MB  | 1.21  | 126 MB (1/5.21) | -                      | **missed** | -            |
| floor          | 2.13 ms | -     | -    | -      | -     | -               | -                      | -          | -            |
";
        assert_eq!(table(&rows), wanted);
    }

    #[test]
    fn columns_of_nothing_are_left_out() {
        let rows = [Row::at_least("writes", "/s", &[7673.0], 5000.0)];
        let wanted = "\
| what   | figure   | budget   | of it | verdict |
|--------|----------|----------|-------|---------|
| writes | 7,673 /s | 5,000 /s | 0.65  | met     |
";
        assert_eq!(table(&rows), wanted);
    }
}

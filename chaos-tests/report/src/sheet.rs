//! The rows of one bench, as they come.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;

use crate::row::Row;
use crate::table::table;

/// The variable that names the file to which benches append their rows, one JSON object a line.
pub const ROWS_FILE: &str = "SHOAL_BENCH_ROWS";

/// Prints rows and keeps them where [`ROWS_FILE`] says.
#[derive(Debug)]
pub struct Sheet {
    rows: Vec<Row>,
    file: Option<File>,
}

impl Sheet {
    /// An empty one.
    ///
    /// # Errors
    /// When the file that the environment names cannot be opened.
    pub fn begin() -> anyhow::Result<Self> {
        match std::env::var_os(ROWS_FILE) {
            Some(path) => Self::into_file(Path::new(&path)),
            None => Ok(Self { rows: Vec::new(), file: None }),
        }
    }

    fn into_file(path: &Path) -> anyhow::Result<Self> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { rows: Vec::new(), file: Some(file) })
    }

    /// Takes a row. It is kept at once: what fails later does not take it away.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub fn add(&mut self, row: Row) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            let mut line = serde_json::to_string(&row)?;
            line.push('\n');
            file.write_all(line.as_bytes()).context("cannot keep a row")?;
        }
        println!("{}: {}", row.what, crate::number::with_unit(row.figure, &row.unit));
        self.rows.push(row);
        Ok(())
    }

    /// Takes a single figure that shall stay below its budget.
    ///
    /// # Errors
    /// As [`Sheet::add`].
    pub fn at_most(
        &mut self,
        what: &str,
        figure: f64,
        budget: f64,
        unit: &str,
    ) -> anyhow::Result<()> {
        self.add(Row::at_most(what, unit, &[figure], budget))
    }

    /// Takes a single figure that shall reach its budget.
    ///
    /// # Errors
    /// As [`Sheet::add`].
    pub fn at_least(
        &mut self,
        what: &str,
        figure: f64,
        budget: f64,
        unit: &str,
    ) -> anyhow::Result<()> {
        self.add(Row::at_least(what, unit, &[figure], budget))
    }

    /// Prints all rows and how busy the machine is: medians mean little on a busy one, minima more.
    pub fn finish(self) {
        println!("\n{}", table(&self.rows));
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        println!("load of this machine: {}", load.trim());
        if self.rows.iter().any(|row| row.docker.is_some()) {
            println!("Docker 29.7: measured on a quiet machine of this kind, not in this run");
        }
    }
}

/// The rows that benches appended to a file; none where there is no file.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub fn rows_of(path: &Path) -> anyhow::Result<Vec<Row>> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let row = |line| {
        serde_json::from_str(line).with_context(|| format!("not a row in {}", path.display()))
    };
    text.lines().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_several_benches_are_read_back() {
        let path = std::env::temp_dir().join(format!("shoal-report-{}", std::process::id()));
        let rows = [
            Row::at_most("start", "ms", &[7.0, 8.5], 14.0).docker(170.0).design("create-start"),
            Row::told("floor", "ms", &[2.13]).how("unshare"),
        ];
        for row in &rows {
            let mut sheet = Sheet::into_file(&path).unwrap();
            sheet.add(row.clone()).unwrap();
            sheet.finish();
        }
        let read = rows_of(&path);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(read.unwrap(), rows);
        assert_eq!(
            text.lines().next_back().unwrap(),
            r#"{"what":"floor","unit":"ms","figure":2.13,"runs":1,"aim":"at-most","how":"unshare"}"#
        );
        assert!(rows_of(&path).unwrap().is_empty());
    }
}

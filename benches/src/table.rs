//! A table in Markdown that also shows whether targets are met.

use std::fmt;
use std::time::Duration;

use crate::stats::{Short, ratio};

/// A table with a heading above it and remarks below it. The first column is text, the others are figures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    heading: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    remarks: Vec<String>,
}

impl Table {
    pub(crate) fn new<const N: usize>(heading: &str, columns: [&str; N]) -> Self {
        let columns = columns.map(str::to_owned).into();
        Self { heading: heading.to_owned(), columns, ..Self::default() }
    }

    /// Adds a row. Missing cells at its end are empty.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&dyn fmt::Display; N]) {
        self.rows.push(cells.map(ToString::to_string).into());
    }

    /// Adds a sentence below the table.
    pub(crate) fn remark(&mut self, remark: impl Into<String>) {
        self.remarks.push(remark.into());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells
            .chain(self.columns.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
            .max(2)
    }

    fn line(&self, f: &mut fmt::Formatter<'_>, cells: &[String]) -> fmt::Result {
        for column in 0..self.columns.len() {
            let (cell, width) = (cells.get(column).map_or("", String::as_str), self.width(column));
            if column == 0 { write!(f, "| {cell:width$} ")? } else { write!(f, "| {cell:>width$} ")? }
        }
        writeln!(f, "|")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.heading)?;
        self.line(f, &self.columns)?;
        for column in 0..self.columns.len() {
            let (line, end) = ("-".repeat(self.width(column)), if column == 0 { " " } else { ":" });
            write!(f, "| {line}{end}")?;
        }
        writeln!(f, "|")?;
        for row in &self.rows {
            self.line(f, row)?;
        }
        for remark in &self.remarks {
            writeln!(f, "\n{remark}")?;
        }
        Ok(())
    }
}

/// A figure and its target: `1.12x (<= 1.3x) ok`.
pub(crate) struct Target {
    value: String,
    /// Empty if there is nothing to show.
    rule: String,
    met: bool,
}

impl Target {
    /// At most `limit` times as long as the floor of the same run.
    pub(crate) fn times(this: Duration, floor: Duration, limit: f64) -> Self {
        let value = ratio(this, floor);
        Self { value: format!("{value:.2}x"), rule: format!("<= {limit}x"), met: value <= limit }
    }

    pub(crate) fn within(this: Duration, limit: Duration) -> Self {
        Self { value: Short(this).to_string(), rule: format!("<= {}", Short(limit)), met: this <= limit }
    }

    pub(crate) fn at_most(value: f64, limit: f64, unit: &str) -> Self {
        Self { value: format!("{value:.2}{unit}"), rule: format!("<= {limit}{unit}"), met: value <= limit }
    }

    pub(crate) fn at_least(value: f64, limit: f64, unit: &str) -> Self {
        Self { value: format!("{value:.2}{unit}"), rule: format!(">= {limit}{unit}"), met: value >= limit }
    }

    /// Exactly what is expected.
    pub(crate) fn is_exactly(value: &dyn fmt::Display, expected: &dyn fmt::Display) -> Self {
        let [value, expected] = [value, expected].map(ToString::to_string);
        let met = value == expected;
        Self { value, rule: if met { String::new() } else { format!("expected: {expected}") }, met }
    }

    pub(crate) fn is(met: bool) -> Self {
        Self { value: if met { "yes" } else { "no" }.to_owned(), rule: String::new(), met }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.met { "ok" } else { "**missed**" };
        match &*self.rule {
            "" => write!(f, "{} {verdict}", self.value),
            rule => write!(f, "{} ({rule}) {verdict}", self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new("Some", ["what", "p50"]);
        table.row([&"GET", &Short(Duration::from_micros(710))]);
        table.row([&"SSA", &Target::times(Duration::from_millis(3), Duration::from_millis(2), 1.3)]);
        table.remark("More.");
        let lines = [
            "## Some",
            "",
            "| what |                        p50 |",
            "| ---- | --------------------------:|",
            "| GET  |                     710 µs |",
            "| SSA  | 1.50x (<= 1.3x) **missed** |",
            "",
            "More.",
        ];
        assert_eq!(table.to_string().lines().collect::<Vec<_>>(), lines);
    }
}

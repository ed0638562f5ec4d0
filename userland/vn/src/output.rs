// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0

//! Tables for people, JSON for programs.

use std::io::{self, Write};

use serde::Serialize;

/// Rows of text under headings, printed in columns without borders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings; without headings if there are none.
    pub(crate) fn new(headings: impl IntoIterator<Item = &'static str>) -> Self {
        Self {
            headings: headings.into_iter().collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row. An empty cell is shown as a hyphen.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let or_hyphen = |cell: String| {
            if cell.is_empty() {
                "-".to_owned()
            } else {
                cell
            }
        };
        self.rows.push(cells.into_iter().map(or_hyphen).collect());
    }

    /// Prints it; nothing if it has no rows.
    pub(crate) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let headings: Vec<_> = self
            .headings
            .iter()
            .map(|heading| (*heading).to_owned())
            .collect();
        let mut lines: Vec<&Vec<String>> = self.rows.iter().collect();
        if !headings.is_empty() {
            lines.insert(0, &headings);
        }
        let columns = lines
            .iter()
            .map(|line| line.len())
            .max()
            .unwrap_or_default();
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = lines.iter().filter_map(|line| line.get(column));
                cells
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or_default()
            })
            .collect();
        for line in lines {
            let mut text = String::new();
            for (cell, width) in line.iter().zip(&widths) {
                text.push_str(&format!("{cell:width$}  "));
            }
            writeln!(out, "{}", text.trim_end())?;
        }
        Ok(())
    }
}

/// Prints a value as JSON, on one line or for people.
pub(crate) fn json(out: &mut impl Write, value: &impl Serialize, pretty: bool) -> io::Result<()> {
    if pretty {
        serde_json::to_writer_pretty(&mut *out, value)?;
    } else {
        serde_json::to_writer(&mut *out, value)?;
    }
    writeln!(out)
}

/// A value if there is one, else nothing.
pub(crate) fn some(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// Milliseconds as seconds.
pub(crate) fn seconds(milliseconds: u32) -> String {
    format!("{}.{:03}s", milliseconds / 1000, milliseconds % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(table: &Table) -> String {
        let mut out = Vec::new();
        table.print(&mut out).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["ID", "DEVICE", "MTU"]);
        assert_eq!(printed(&table), "");
        table.row(["0005", "vnif0005", "1436"].map(str::to_owned));
        table.row(["0006", "x", ""].map(str::to_owned));
        assert_eq!(
            printed(&table),
            "ID    DEVICE    MTU\n0005  vnif0005  1436\n0006  x         -\n"
        );
    }

    #[test]
    fn without_headings() {
        let mut table = Table::new([]);
        table.row(["port", "1798"].map(str::to_owned));
        table.row(["ttl", "64"].map(str::to_owned));
        assert_eq!(printed(&table), "port  1798\nttl   64\n");
    }

    #[test]
    fn milliseconds() {
        assert_eq!(seconds(0), "0.000s");
        assert_eq!(seconds(61_005), "61.005s");
    }
}

//! Rows of cells under a header. All cells are in one string: with ten million keys, none should cost an allocation.

use std::fmt::{Display, Write as _};
use std::io;

use unicode_width::UnicodeWidthStr as _;

use crate::output::STRONG;

/// Room between two columns.
const COLUMN_GAP: usize = 2;

/// Rows of `COLUMNS` cells.
#[derive(Debug, Clone)]
pub(crate) struct Table<const COLUMNS: usize> {
    header: [&'static str; COLUMNS],
    text: String,
    /// Row by row.
    cells: Vec<Cell>,
}

#[derive(Debug, Clone, Copy)]
struct Cell {
    /// Where it ends in the text; it begins where the one before ends.
    end: usize,
    /// On a terminal.
    width: usize,
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(crate) fn new(header: [&'static str; COLUMNS]) -> Self {
        Self { header, text: String::new(), cells: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: [&dyn Display; COLUMNS]) {
        for cell in cells {
            let start = self.text.len();
            // Writing to a String cannot fail.
            let _ = write!(self.text, "{cell}");
            let width = width(self.text.get(start..).unwrap_or_default());
            self.cells.push(Cell { end: self.text.len(), width });
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.cells.len() / COLUMNS
    }

    /// Adds the rows of `other`.
    pub(crate) fn append(&mut self, other: &Self) {
        let start = self.text.len();
        self.text.push_str(&other.text);
        self.cells.extend(other.cells.iter().map(|cell| Cell { end: start + cell.end, ..*cell }));
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.cells.clear();
    }

    /// Writes the rows under the header, each column as wide as its widest cell.
    pub(crate) fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let mut widths = self.header.map(str::len);
        for row in self.cells.chunks(COLUMNS) {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width.max(*width);
            }
        }
        let mut line = String::new();
        for (name, width) in self.header.iter().zip(widths) {
            push_padded(&mut line, name, name.len(), width);
        }
        writeln!(out, "{STRONG}{}{STRONG:#}", line.trim_end())?;
        let mut start = 0;
        for row in self.cells.chunks(COLUMNS) {
            line.clear();
            for (cell, width) in row.iter().zip(widths) {
                push_padded(&mut line, self.text.get(start..cell.end).unwrap_or_default(), cell.width, width);
                start = cell.end;
            }
            line.truncate(line.trim_end().len());
            line.push('\n');
            out.write_all(line.as_bytes())?;
        }
        Ok(())
    }
}

fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

fn push_padded(line: &mut String, text: &str, width: usize, column: usize) {
    line.push_str(text);
    line.extend(std::iter::repeat_n(' ', column - width + COLUMN_GAP));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["A", "LONG"]);
        table.row([&"🔑", &1]);
        let mut more = Table::new(["A", "LONG"]);
        more.row([&"abc", &""]);
        table.append(&more);
        assert_eq!(table.rows(), 2);
        let mut text = Vec::new();
        table.write(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "A    LONG\n🔑   1\nabc\n");
    }
}

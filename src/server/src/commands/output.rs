//! Output of commands: tables and text, or JSON with `--json`.

use std::io::{self, Write as _};

use comfy_table::{Table, presets};
use serde::Serialize;

/// Standard output.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// Prints one result: `value` with `--json`, otherwise `text`.
    pub(super) fn answer(self, value: &impl Serialize, text: &str) -> anyhow::Result<()> {
        if self.json { print(&serde_json::to_string(value)?) } else { print(text) }
    }

    /// Prints a list: one JSON object per line with `--json`, otherwise a table.
    pub(super) fn list<T: Serialize>(
        self,
        items: &[T],
        columns: &[&str],
        row: impl Fn(&T) -> Vec<String>,
    ) -> anyhow::Result<()> {
        if self.json {
            return items.iter().try_for_each(|item| print(&serde_json::to_string(item)?));
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(columns.iter().copied());
        for item in items {
            table.add_row(row(item).iter().map(|cell| pushkeys_keys::escape(cell).into_owned()));
        }
        print(&table.to_string())
    }
}

/// Lines in another program's format, with and without `--json`.
pub(super) fn print_lines(mut lines: impl Iterator<Item = String>) -> anyhow::Result<()> {
    lines.try_for_each(|line| print(&line))
}

/// A closed pipe is not a failure: the reader may have read enough.
fn print(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout().lock(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

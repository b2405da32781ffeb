//! The files of the log: one for each day, of any size, of which one line is in memory at a time.

use std::ffi::OsString;
use std::fs;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use jiff::civil::Date;
use pushkeys_cache::SESSION_LINE_BYTES_MAX;
use pushkeys_files::Trust;
use pushkeys_keys::{Hint, Hinted};

/// The longest line, with the time before it and the newline after it.
const LINE_BYTES_MAX: u64 = SESSION_LINE_BYTES_MAX as u64 + 64;
/// The bytes of a date as files are named.
const DATE_BYTES: usize = 10;

/// What is in the folder of the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Days {
    /// The days that have a file, in their order.
    pub(super) dates: Vec<Date>,
    /// The names that begin with a day and go on, such as those of compressed copies.
    pub(super) unread: Vec<OsString>,
}

/// A line of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a str),
    /// Too long, or not UTF-8.
    Damaged,
}

/// The files in `folder`.
pub(super) fn days(folder: &Path) -> Result<Days> {
    let failed = |error: io::Error| {
        let message = format!("cannot read the log of sessions in `{}`", folder.display());
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "run it with sudo",
            io::ErrorKind::NotFound => {
                "systemctl status pushkeys-syncd, which makes it, or say with --cache where the cache is"
            }
            _ => "dmesg, for the disk's own errors",
        };
        Hinted::new(message, Hint::because(hint, error))
    };
    let mut days = Days { dates: Vec::new(), unread: Vec::new() };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let date_of = |text: &str| text.parse().ok().filter(|date: &Date| date.to_string() == text);
        let text = name.to_string_lossy();
        if let Some(date) = date_of(&text) {
            days.dates.push(date);
        } else if text.get(..DATE_BYTES).and_then(date_of).is_some() {
            days.unread.push(name);
        }
    }
    days.dates.sort_unstable();
    days.unread.sort_unstable();
    Ok(days)
}

/// Gives each line of the file at `path` to `take`, until that says no.
pub(super) fn read(path: &Path, take: impl FnMut(Line<'_>) -> bool) -> Result<()> {
    let (file, _) = pushkeys_files::open(path, Trust::OWNER)?;
    lines(BufReader::new(file), take).with_context(|| format!("cannot read `{}`", path.display()))
}

fn lines(mut reader: impl BufRead, mut take: impl FnMut(Line<'_>) -> bool) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let is_cut = line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n");
        if is_cut {
            reader.skip_until(b'\n')?;
        }
        let text = str::from_utf8(&line).ok().filter(|_| !is_cut);
        if !take(text.map_or(Line::Damaged, |text| Line::Whole(text.trim_end_matches('\n')))) {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_takes_no_memory_and_hides_no_other() {
        let check = |text: &[u8], expected: &[Option<&str>]| {
            let mut found = Vec::new();
            let take = |line: Line<'_>| {
                found.push(if let Line::Whole(text) = line { Some(text.to_owned()) } else { None });
                true
            };
            lines(text, take).unwrap();
            let expected: Vec<_> = expected.iter().map(|text| text.map(str::to_owned)).collect();
            assert_eq!(found, expected);
        };
        let longest = "x".repeat(usize::try_from(LINE_BYTES_MAX).unwrap() - 1);
        check(b"", &[]);
        check(b"a\n\nb", &[Some("a"), Some(""), Some("b")]);
        check(format!("{longest}\nb\n").as_bytes(), &[Some(&longest), Some("b")]);
        check(format!("{longest}xx\nb\n").as_bytes(), &[None, Some("b")]);
        check(format!("{longest}{longest}{longest}").as_bytes(), &[None]);
        check(b"a\n\xff\nb\n", &[Some("a"), None, Some("b")]);
        let mut taken = 0;
        lines(&b"a\nb\nc\n"[..], |_| {
            taken += 1;
            taken < 2
        })
        .unwrap();
        assert_eq!(taken, 2, "it ends when it is told to");
    }

    #[test]
    fn files_are_in_the_order_of_their_days_and_others_are_named() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["2026-11-23", "2026-11-09", "2026-11-01.gz", "notes", "20261101", "2026-13-01"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let expected = Days {
            dates: vec!["2026-11-09".parse().unwrap(), "2026-11-23".parse().unwrap()],
            unread: vec!["2026-11-01.gz".into()],
        };
        assert_eq!(days(folder.path()).unwrap(), expected);
    }
}

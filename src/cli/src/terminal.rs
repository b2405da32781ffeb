//! A terminal that is redrawn as a whole.

use std::io::{self, IsTerminal as _, Read as _, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// xterm's sequences: the second screen on and off, cursor off and on, home, and clear to the end.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";
const CTRL_C: u8 = 3;
const SIZE_DEFAULT: (usize, usize) = (80, 24);
/// Keys that wait to be looked at; one is enough to leave.
const KEYS_WAITING_MAX: usize = 16;

/// The second screen of the terminal, until it is dropped.
pub(crate) struct Screen {
    before: Termios,
    keys: Receiver<u8>,
}

impl Screen {
    /// Takes the terminal over, if both ends of this process are one.
    pub(crate) fn open() -> Option<Self> {
        if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            return None;
        }
        let before = tcgetattr(io::stdin()).ok()?;
        let mut raw = before.clone();
        // Keys come one by one and unseen; Ctrl-C comes as a key, so that the terminal is always given back.
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).ok()?;
        let (sender, keys) = sync_channel(KEYS_WAITING_MAX);
        std::thread::spawn(move || {
            let mut key = [0];
            while io::stdin().read_exact(&mut key).is_ok() {
                if sender.send(key.first().copied().unwrap_or_default()).is_err() {
                    return;
                }
            }
        });
        let _ = write!(io::stdout(), "{ENTER}");
        Some(Self { before, keys })
    }

    /// Columns and lines.
    pub(crate) fn size() -> (usize, usize) {
        let size = tcgetwinsize(io::stdout()).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        size.map_or(SIZE_DEFAULT, |size| (size.ws_col.into(), size.ws_row.into()))
    }

    /// Shows `text` in place of what was there, as far as there is room.
    pub(crate) fn show(text: &str) -> io::Result<()> {
        let (columns, lines) = Self::size();
        let mut out = anstream::stdout().lock();
        write!(out, "{HOME}")?;
        for line in text.lines().take(lines.saturating_sub(1)) {
            writeln!(out, "{}{CLEAR_LINE}", cut(line, columns))?;
        }
        write!(out, "{CLEAR_REST}")?;
        out.flush()
    }

    /// Waits for `pause`; `true` if the user asks to leave.
    pub(crate) fn is_left_within(&self, pause: Duration) -> bool {
        match self.keys.recv_timeout(pause) {
            Ok(key) => matches!(key, b'q' | b'Q' | CTRL_C),
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = write!(io::stdout(), "{LEAVE}");
        let _ = io::stdout().flush();
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// `line` in at most `columns` characters, styles not counted.
fn cut(line: &str, columns: usize) -> String {
    let (mut text, mut width, mut in_style) = (String::new(), 0, false);
    for character in line.chars() {
        in_style |= character == '\x1b';
        if in_style || width < columns {
            text.push(character);
        }
        width += usize::from(!in_style);
        in_style &= !character.is_ascii_alphabetic();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_without_its_styles() {
        assert_eq!(cut("abc", 2), "ab");
        assert_eq!(cut("\x1b[1mabc\x1b[0m", 2), "\x1b[1mab\x1b[0m");
        assert_eq!(cut("äöü", 3), "äöü");
    }
}

//! One line of the system's log: its time, the program's tag, and the message.

/// Who writes lines that are read here; sshd's name depends on its release.
pub(super) const TAGS: [&str; 4] = ["pushkeys-lookup", "pushkeys-shell", "sshd", "sshd-session"];

/// Time, tag and message. Both the traditional `Nov 24 12:00:00 host tag[7]: …` and ISO 8601 in place of the first three words
/// are known.
pub(super) fn split(line: &str) -> Option<(&str, &str, &str)> {
    let words_of_time = if line.starts_with(|first: char| first.is_ascii_digit()) { 1 } else { 3 };
    let mut rest = line;
    for _ in 0..words_of_time {
        rest = after_word(rest)?;
    }
    let at = line.get(..line.len() - rest.len())?.trim_end();
    let rest = after_word(rest)?;
    let (tag, message) = rest.split_once(": ")?;
    let tag = tag.split('[').next()?;
    TAGS.contains(&tag).then_some((at, tag, message))
}

fn after_word(text: &str) -> Option<&str> {
    Some(text.trim_start().split_once(' ')?.1.trim_start())
}

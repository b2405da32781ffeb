//! The words of a line of `sshd_config`, as sshd splits it.

/// The words of `text` up to a comment: between blanks, or in quotes of either kind. A backslash takes the meaning of a quote, of
/// itself, and of a blank outside quotes.
pub(crate) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut characters = text.chars().peekable();
    loop {
        while characters.next_if(|character| is_blank(*character)).is_some() {}
        match characters.peek() {
            None | Some('#') => return words,
            Some(_) => words.push(word(&mut characters)),
        }
    }
}

fn word(characters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> String {
    let (mut word, mut quote) = (String::new(), None);
    while let Some(character) = characters.next_if(|character| quote.is_some() || !is_blank(*character)) {
        match character {
            '\'' | '"' if quote.is_none() => quote = Some(character),
            _ if quote == Some(character) => quote = None,
            '\\' => {
                let is_escaped =
                    |next: &char| matches!(next, '\'' | '"' | '\\') || quote.is_none() && *next == ' ';
                word.push(characters.next_if(is_escaped).unwrap_or('\\'));
            }
            _ => word.push(character),
        }
    }
    word
}

fn is_blank(character: char) -> bool {
    character == ' ' || character == '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_split_as_sshd_splits_them() {
        let check = |text: &str, expected: &[&str]| assert_eq!(words(text), expected, "{text}");
        check("a  b\tc ", &["a", "b", "c"]);
        check("\"a b\" 'c d' e", &["a b", "c d", "e"]);
        check("a\"b c\"d", &["ab cd"]);
        check("a\\ b \"c\\\"d\" '\\\\' \\n", &["a b", "c\"d", "\\", "\\n"]);
        check("a # b", &["a"]);
        check("a#b \"#\"", &["a#b", "#"]);
        check("", &[]);
        check("\"open", &["open"]);
    }
}

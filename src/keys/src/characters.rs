//! Which characters of a name or of a pasted text are visible, and where an invisible one has an effect.
//!
//! Decided by Unicode's character properties and not by lists of characters, so that every script is treated
//! alike.

use icu_properties::props::{
    BidiControl, CanonicalCombiningClass, DefaultIgnorableCodePoint, EmojiModifier, ExtendedPictographic,
    GeneralCategory, GeneralCategoryGroup, JoiningType, NoncharacterCodePoint, PrependedConcatenationMark,
    VariationSelector, WhiteSpace,
};
use icu_properties::{CodePointMapData, CodePointSetData};

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
/// Emoji tag sequences, such as the flag of Wales, end with it (UTS #51, ED-14a).
const CANCEL_TAG: char = '\u{e007f}';
/// The longest region with its subdivision, in tags.
const TAGS_MAX: usize = 7;
/// The only character whose own glyph is empty.
const BRAILLE_BLANK: char = '\u{2800}';

/// Whether `character` is visible on its own. A mark is visible only on another character.
pub(crate) fn is_seen(character: char) -> bool {
    character != BRAILLE_BLANK
        && !is_white_space(character)
        && !is_ignorable(character)
        && !is_control(character)
        && !is_mark(character)
}

/// Whether `character` controls a terminal or the text around it, or is a noncharacter.
pub(crate) fn is_control(character: char) -> bool {
    let is_visible_format = || {
        CodePointSetData::new::<PrependedConcatenationMark>().contains(character) || is_ignorable(character)
    };
    match category(character) {
        GeneralCategory::Control | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator => {
            true
        }
        GeneralCategory::Format => {
            CodePointSetData::new::<BidiControl>().contains(character) || !is_visible_format()
        }
        _ => CodePointSetData::new::<NoncharacterCodePoint>().contains(character),
    }
}

/// Whether `character` is invisible by design: a joiner, a filler, a tag, a variation selector or the like.
pub(crate) fn is_ignorable(character: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(character)
}

/// Whether the character at `place` of `text` is visible there or changes what is visible: a joiner inside a word of a script
/// that joins its letters, or between emoji; a variation selector or a tag after what it varies.
pub(crate) fn has_effect(text: &[char], place: usize) -> bool {
    let Some(&character) = text.get(place) else { return false };
    if is_control(character) {
        return false;
    }
    match character {
        ZERO_WIDTH_NON_JOINER | ZERO_WIDTH_JOINER => is_effective_joiner(text, place),
        '\u{e0020}'..=CANCEL_TAG => is_in_tag_sequence(text, place),
        _ if CodePointSetData::new::<VariationSelector>().contains(character) => before(text, place)
            .next()
            .is_some_and(|before| is_seen(before) || is_mark(before) && !is_ignorable(before)),
        _ => !is_ignorable(character),
    }
}

/// A space that looks like U+0020.
pub(crate) fn is_space(character: char) -> bool {
    // The Ogham space mark is drawn as a line.
    character == ' ' || category(character) == GeneralCategory::SpaceSeparator && character != '\u{1680}'
}

/// RFC 5892 appendix A.1 and A.2, and common usage beyond it: joiners between letters of which one joins, next to a
/// virama, and between emoji.
fn is_effective_joiner(text: &[char], place: usize) -> bool {
    let (left, right) = (before(text, place).next(), after(text, place).next());
    if [left, right].into_iter().flatten().any(is_virama) {
        return left.is_some_and(|left| is_letter(left) || is_mark(left));
    }
    let is_transparent = |character: &char| joining_type(*character) == JoiningType::Transparent;
    let letter_before = before(text, place).find(|character| !is_transparent(character));
    let letter_after = after(text, place).find(|character| !is_transparent(character));
    let joins = |letter: Option<char>| letter.is_some_and(|letter| is_letter(letter) && is_joining(letter));
    let is_beside_joining = joins(letter_before) || joins(letter_after);
    if text.get(place) == Some(&ZERO_WIDTH_NON_JOINER) {
        return is_beside_joining
            && letter_before.is_some_and(is_letter)
            && letter_after.is_some_and(is_letter);
    }
    is_beside_joining || is_between_emoji(text, place)
}

fn is_between_emoji(text: &[char], place: usize) -> bool {
    let is_picture = |character: char| CodePointSetData::new::<ExtendedPictographic>().contains(character);
    picture_before(text, place).is_some_and(is_picture) && after(text, place).next().is_some_and(is_picture)
}

/// The last character before `place` that is neither a variation selector nor a skin tone.
fn picture_before(text: &[char], place: usize) -> Option<char> {
    before(text, place).find(|&character| {
        !CodePointSetData::new::<VariationSelector>().contains(character)
            && !CodePointSetData::new::<EmojiModifier>().contains(character)
    })
}

/// Whether the tags around `place` are letters and digits after an emoji, and end with [`CANCEL_TAG`].
fn is_in_tag_sequence(text: &[char], place: usize) -> bool {
    let is_tag = |character: char| ('\u{e0020}'..=CANCEL_TAG).contains(&character);
    let start = place - before(text, place).take_while(|&character| is_tag(character)).count();
    let tags = text.get(start..).unwrap_or_default();
    let tags = tags.get(..tags.iter().take_while(|&&tag| is_tag(tag)).count()).unwrap_or_default();
    let is_picture = picture_before(text, start)
        .is_some_and(|character| CodePointSetData::new::<ExtendedPictographic>().contains(character));
    match tags {
        [letters @ .., CANCEL_TAG] => {
            is_picture
                && (1..=TAGS_MAX).contains(&letters.len())
                && letters
                    .iter()
                    .all(|tag| matches!(tag, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}'))
        }
        _ => false,
    }
}

fn before(text: &[char], place: usize) -> impl Iterator<Item = char> {
    text.get(..place).unwrap_or_default().iter().rev().copied()
}

fn after(text: &[char], place: usize) -> impl Iterator<Item = char> {
    text.iter().skip(place + 1).copied()
}

fn category(character: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(character)
}

fn is_white_space(character: char) -> bool {
    CodePointSetData::new::<WhiteSpace>().contains(character)
}

fn is_mark(character: char) -> bool {
    GeneralCategoryGroup::Mark.contains(category(character))
}

/// A letter or a digit.
fn is_letter(character: char) -> bool {
    let category = category(character);
    GeneralCategoryGroup::Letter.contains(category) || GeneralCategoryGroup::Number.contains(category)
}

fn is_virama(character: char) -> bool {
    CodePointMapData::<CanonicalCombiningClass>::new().get(character) == CanonicalCombiningClass::Virama
}

fn joining_type(character: char) -> JoiningType {
    CodePointMapData::<JoiningType>::new().get(character)
}

/// Whether the letter's shape depends on its neighbours.
fn is_joining(letter: char) -> bool {
    !matches!(joining_type(letter), JoiningType::NonJoining | JoiningType::Transparent)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which characters of `text` have no effect.
    #[track_caller]
    fn check(text: &str, expected: &[u32]) {
        let text: Vec<char> = text.chars().collect();
        let idle = (0..text.len()).filter(|&place| !has_effect(&text, place));
        let idle: Vec<u32> = idle.filter_map(|place| text.get(place).map(|&idle| idle.into())).collect();
        assert_eq!(idle, expected, "{text:?}");
    }

    #[test]
    fn a_joiner_has_an_effect_inside_a_word_of_a_joining_script() {
        check("لپ\u{200c}تاپ", &[]);
        check("ابزار\u{200c}ها", &[]);
        check("۲۰\u{200c}تایی", &[]);
        check("क्\u{200d}ष", &[]);
        check("র\u{200d}্যাব", &[]);
        check("ශ්\u{200d}රී", &[]);
        check("lap\u{200c}top", &[0x200c]);
        check("lap\u{200d}top", &[0x200d]);
        check("\u{200c}تاپ", &[0x200c]);
        check("لپ\u{200c}", &[0x200c]);
        check("لپ\u{200c}\u{200c}تاپ", &[0x200c, 0x200c]);
        check("लप\u{200d}टप", &[0x200d]);
    }

    #[test]
    fn emoji_are_joined_varied_and_tagged() {
        check("👩\u{200d}💻", &[]);
        check("👩🏽\u{200d}💻", &[]);
        check("🏳\u{fe0f}\u{200d}🌈", &[]);
        check("❤\u{fe0f}", &[]);
        check("🏴\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}", &[]);
        check("👩\u{200d}", &[0x200d]);
        check("👩\u{200d}x", &[0x200d]);
        check("❤\u{fe0f}\u{fe0e}", &[0xfe0e]);
        check("\u{fe0f}", &[0xfe0f]);
        check(" \u{fe0f}", &[0xfe0f]);
        check("🏴\u{e0067}\u{e0062}", &[0xe_0067, 0xe_0062]);
        check("x\u{e0067}\u{e007f}", &[0xe_0067, 0xe_007f]);
        check("🏴\u{e007f}", &[0xe_007f]);
        check("🏴\u{e0020}\u{e007f}", &[0xe_0020, 0xe_007f]);
        check(&format!("🏴{}\u{e007f}", "\u{e0061}".repeat(7)), &[]);
        check(
            &format!("🏴{}\u{e007f}", "\u{e0061}".repeat(8)),
            &[[0xe_0061; 8].as_slice(), &[0xe_007f]].concat(),
        );
    }

    #[test]
    fn control_characters_have_no_effect_anywhere() {
        for acting in
            ['\0', '\n', '\u{7f}', '\u{85}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{2066}', '\u{61c}']
        {
            check(&format!("a{acting}b"), &[acting.into()]);
            assert!(is_control(acting), "{acting:?}");
        }
        for hidden in
            ['\u{ad}', '\u{34f}', '\u{115f}', '\u{17b4}', '\u{200b}', '\u{2060}', '\u{3164}', '\u{feff}']
        {
            check(&format!("a{hidden}b"), &[hidden.into()]);
            assert!(!is_control(hidden) && is_ignorable(hidden), "{hidden:?}");
        }
        check("a\u{fff9}b\u{fffe}c\u{1ffff}", &[0xfff9, 0xfffe, 0x1_ffff]);
        // A visible mark before a number.
        check("\u{600}١٢", &[]);
    }

    #[test]
    fn visible_and_invisible_characters_are_distinguished() {
        for seen in ['a', 'é', '漢', '🔑', '⠁', '\u{e000}', '\u{378}'] {
            assert!(is_seen(seen), "{seen:?}");
        }
        for unseen in
            [' ', '\u{a0}', '\u{3000}', '\u{2800}', '\u{3164}', '\u{301}', '\u{200d}', '\u{fe0f}', '\n']
        {
            assert!(!is_seen(unseen), "{unseen:?}");
        }
        for space in [' ', '\u{a0}', '\u{2003}', '\u{202f}', '\u{3000}'] {
            assert!(is_space(space), "{space:?}");
        }
        assert!(!is_space('\u{1680}') && !is_space('\t') && !is_space('\u{2028}'));
    }
}

//! HEAD: which generation of a source is in force, of when, and until when.

use jiff::{SignedDuration, Timestamp};

use crate::checksum::{append_checksum, checksum};
use crate::error::Damage;

/// The longest cursor in bytes: an epoch and a sequence, or an `ETag`.
pub const CURSOR_BYTES_MAX: usize = 512;

/// The longest notes in bytes.
pub const NOTES_BYTES_MAX: usize = 2 * 1024;

/// HEAD is read up to this size.
pub(crate) const HEAD_BYTES_MAX: usize = 4 * 1024;

const _: () = assert!(CURSOR_BYTES_MAX + NOTES_BYTES_MAX + 512 <= HEAD_BYTES_MAX, "HEAD holds both");

/// Clocks are set back by so much without anything being wrong.
const CLOCK_STEP_MAX: SignedDuration = SignedDuration::from_secs(60);

const FORMAT: &str = "2";
/// What the versions up to 1 wrote: without notes. Readers go on with it until the daemon has written HEAD again.
const FORMAT_WITHOUT_NOTES: &str = "1";

/// When a source was last in sync, and for how long that is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    /// When the source was last known to say what the cache holds.
    pub synced_at: Timestamp,
    /// From when on a lookup refuses to answer from this source; `None` means never.
    pub valid_until: Option<Timestamp>,
}

/// What HEAD says. Times are whole seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The folder `g<generation>` is in force.
    pub generation: u64,
    /// A key's shard is given by so many leading bits of its fingerprint.
    pub bits: u8,
    /// How many keys there are.
    pub keys: u64,
    /// Where in its source's history the cache stands, in the source's own words.
    /// `None`: a full sync is due.
    pub cursor: Option<String>,
    /// When, and until when.
    pub stamps: Stamps,
    /// What the writer remembers of its source, in its own words; readers pass it over. `None`: HEAD was written by a
    /// version that kept none.
    pub notes: Option<String>,
}

impl Head {
    /// Whether a lookup at `now` may still be answered.
    ///
    /// A head of a time to come was written while the clock was ahead. How old it is is unknown, and its end is later than it
    /// should be, so it is not valid; a daemon that is in contact with the source writes it again within seconds.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        let Stamps { synced_at, valid_until } = self.stamps;
        let is_known = || synced_at.duration_since(now) <= CLOCK_STEP_MAX;
        valid_until.is_none_or(|until| now < until && is_known())
    }

    /// HEAD as text, checksum included.
    pub(crate) fn to_text(&self) -> String {
        let Self { generation, bits, keys, cursor, stamps, notes } = self;
        let notes = notes.as_deref().unwrap_or_default();
        let cursor = cursor.as_deref().unwrap_or_default();
        let synced_at = to_second(stamps.synced_at);
        let valid_until =
            stamps.valid_until.map_or_else(|| "never".to_owned(), |until| to_second(until).to_string());
        let mut text = format!(
            "format={FORMAT}\ngeneration={generation}\nbits={bits}\nkeys={keys}\ncursor={cursor}\n\
             synced_at={synced_at}\nvalid_until={valid_until}\nnotes={notes}\n"
        );
        append_checksum(&mut text);
        text
    }

    /// The head of `bytes`, if the checksum and every field are right.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Damage> {
        let text = str::from_utf8(bytes).map_err(|_| Damage::Checksum)?;
        let mut lines = text.split_terminator('\n');
        let mut value = |key: &str| {
            let line = lines.next().ok_or(Damage::Fields)?;
            line.strip_prefix(key).and_then(|rest| rest.strip_prefix('=')).ok_or(Damage::Fields)
        };
        let has_notes = match value("format")? {
            FORMAT => true,
            FORMAT_WITHOUT_NOTES => false,
            _ => return Err(Damage::Format),
        };
        let generation = value("generation")?.parse().map_err(|_| Damage::Fields)?;
        let bits = value("bits")?.parse().map_err(|_| Damage::Fields)?;
        let keys = value("keys")?.parse().map_err(|_| Damage::Fields)?;
        let cursor = Some(value("cursor")?).filter(|cursor| !cursor.is_empty()).map(str::to_owned);
        let synced_at = value("synced_at")?.parse().map_err(|_| Damage::Fields)?;
        let valid_until = match value("valid_until")? {
            "never" => None,
            time => Some(time.parse().map_err(|_| Damage::Fields)?),
        };
        let notes = if has_notes { Some(value("notes")?.to_owned()) } else { None };
        let sum = value("checksum")?;
        let covered = text.rfind("checksum=").and_then(|end| bytes.get(..end)).unwrap_or_default();
        if checksum(&[covered]).as_slice() != sum.as_bytes() {
            return Err(Damage::Checksum);
        }
        if lines.next().is_some() || bits > pushkeys_keys::SHARD_BITS_MAX {
            return Err(Damage::Fields);
        }
        Ok(Self { generation, bits, keys, cursor, stamps: Stamps { synced_at, valid_until }, notes })
    }
}

/// Whether HEAD can hold `cursor` on a line of its own.
pub(crate) fn is_cursor(cursor: &str) -> bool {
    !cursor.is_empty()
        && cursor.len() <= CURSOR_BYTES_MAX
        && cursor.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Whether HEAD can hold `notes` on a line of their own.
pub(crate) fn is_notes(notes: &str) -> bool {
    notes.len() <= NOTES_BYTES_MAX && notes.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

/// HEAD holds whole seconds, so that what was read equals what was written.
pub(crate) fn to_second(instant: Timestamp) -> Timestamp {
    Timestamp::from_second(instant.as_second()).unwrap_or(instant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> Head {
        Head {
            generation: 7,
            bits: 12,
            keys: 1_000_000,
            cursor: Some("b1946ac9-4711".into()),
            stamps: Stamps {
                synced_at: "2026-11-23T16:54:00Z".parse().unwrap(),
                valid_until: Some("2026-11-24T16:54:00Z".parse().unwrap()),
            },
            notes: Some("at=b1946ac9-4711".into()),
        }
    }

    #[test]
    fn head_is_text_that_a_sysadmin_can_read() {
        let text = head().to_text();
        let expected = "format=2\ngeneration=7\nbits=12\nkeys=1000000\ncursor=b1946ac9-4711\n\
                        synced_at=2026-11-23T16:54:00Z\nvalid_until=2026-11-24T16:54:00Z\nnotes=at=b1946ac9-4711\nchecksum=";
        assert!(text.starts_with(expected), "{text}");
        assert_eq!(Head::parse(text.as_bytes()), Ok(head()));
    }

    #[test]
    fn head_without_cursor_or_end_is_read_as_written() {
        let mut head = head();
        head.cursor = None;
        head.stamps.valid_until = None;
        assert_eq!(Head::parse(head.to_text().as_bytes()), Ok(head));
    }

    #[test]
    fn validity_ends_at_the_second_it_names() {
        let until = head().stamps.valid_until.unwrap();
        assert!(head().is_valid_at(until - SignedDuration::from_secs(1)));
        assert!(!head().is_valid_at(until));
    }

    #[test]
    fn a_clock_that_was_ahead_extends_nothing() {
        let synced_at = head().stamps.synced_at;
        assert!(head().is_valid_at(synced_at - SignedDuration::from_secs(60)));
        assert!(!head().is_valid_at(synced_at - SignedDuration::from_secs(61)));
        let mut endless = head();
        endless.stamps.valid_until = None;
        assert!(endless.is_valid_at(synced_at - SignedDuration::from_hours(9000)));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let text = head().to_text().into_bytes();
        for position in 0..text.len() * 8 {
            let mut flipped = text.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            assert!(Head::parse(&flipped).is_err(), "bit {position}");
        }
        for end in 0..text.len() - 1 {
            assert!(Head::parse(&text[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn a_newer_format_is_told_apart_from_damage() {
        let text = head().to_text().replace("format=2", "format=3");
        assert_eq!(Head::parse(text.as_bytes()), Err(Damage::Format));
    }

    #[test]
    fn a_head_of_the_version_before_is_read() {
        let covered = "format=1\ngeneration=7\nbits=12\nkeys=1000000\ncursor=b1946ac9-4711\n\
                       synced_at=2026-11-23T16:54:00Z\nvalid_until=2026-11-24T16:54:00Z\n";
        let sum: String = checksum(&[covered.as_bytes()]).iter().copied().map(char::from).collect();
        let text = format!("{covered}checksum={sum}\n");
        assert_eq!(Head::parse(text.as_bytes()), Ok(Head { notes: None, ..head() }));
    }

    proptest! {
        #[test]
        fn no_head_panics(bytes in any::<Vec<u8>>()) {
            let _ = Head::parse(&bytes);
        }
    }
}

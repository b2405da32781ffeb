//! One line of a shard: everything that is known of one key.

use jiff::tz::TimeZone;
use pushkeys_keys::{
    AccountId, AuthorizedKeysLine, Expiry, Fingerprint, KeyId, LINE_BYTES_MAX, Login, NAME_ESCAPED_BYTES_MAX,
    Name,
};

use crate::checksum::{CHECKSUM_CHARACTERS, checksum};
use crate::error::Damage;

/// At most this many logins share an entry.
pub const LOGINS_MAX: usize = 16;

/// The longest line in bytes, without its newline.
pub const ENTRY_LINE_BYTES_MAX: usize = 16 * 1024;

const _: () = {
    let fingerprint_and_ids = 50 + 64 + 64;
    let logins = LOGINS_MAX * 33;
    let fields = fingerprint_and_ids + logins + 2 * NAME_ESCAPED_BYTES_MAX + CHECKSUM_CHARACTERS + 8;
    assert!(fields + LINE_BYTES_MAX <= ENTRY_LINE_BYTES_MAX);
};

/// What the cache knows of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key, by which it is found.
    pub fingerprint: Fingerprint,
    /// The logins it opens, 1 to [`LOGINS_MAX`].
    pub logins: Vec<Login>,
    /// The account that holds it.
    pub account: AccountId,
    /// The registration of it.
    pub key_id: KeyId,
    /// What to greet the account by.
    pub account_name: Option<Name>,
    /// What its owner calls the key.
    pub key_name: Option<Name>,
    /// What sshd gets.
    pub line: AuthorizedKeysLine,
}

impl Entry {
    /// Appends the entry as a line, newline included:
    /// fingerprint, logins, account, key id, account name, key name, checksum and rendered line, with tabs between.
    pub(crate) fn write_line(&self, bytes: &mut Vec<u8>) {
        let start = bytes.len();
        bytes.extend_from_slice(self.fingerprint.to_text().as_bytes());
        for (position, login) in self.logins.iter().enumerate() {
            bytes.push(if position == 0 { b'\t' } else { b',' });
            bytes.extend_from_slice(login.as_str().as_bytes());
        }
        let name = |name: &Option<Name>| {
            name.as_ref().map_or_else(String::new, |name| pushkeys_keys::escape(name.as_str()).into_owned())
        };
        for field in
            [self.account.as_str(), self.key_id.as_str(), &name(&self.account_name), &name(&self.key_name)]
        {
            bytes.push(b'\t');
            bytes.extend_from_slice(field.as_bytes());
        }
        bytes.push(b'\t');
        let line = self.line.as_str().as_bytes();
        let sum = checksum(&[bytes.get(start..).unwrap_or_default(), line]);
        bytes.extend_from_slice(&sum);
        bytes.push(b'\t');
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }

    /// The entry of `line`, a line without its newline, if the checksum and every field are right.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, Damage> {
        EntryLine::check(line)?.entry()
    }

    /// From when on sshd refuses the key, if ever. A time in any form but the one in which lines are rendered is damage.
    pub fn expires_at(&self) -> Result<Option<Expiry>, Damage> {
        let Some(text) = self.line.expiry_time() else { return Ok(None) };
        let expiry = Expiry::from_option(text, &TimeZone::UTC).map_err(|_| Damage::Fields)?;
        if expiry.to_option() == text { Ok(Some(expiry)) } else { Err(Damage::Fields) }
    }

    /// Whether the key opens `login`.
    #[must_use]
    pub fn opens(&self, login: &Login) -> bool {
        self.logins.contains(login)
    }
}

/// The fields of a line whose checksum is right, as they stand there: what is asked of ten million lines is asked of
/// these, and an [`Entry`] is made of the few that matter.
#[derive(Debug, Clone, Copy)]
pub struct EntryLine<'a> {
    /// The fingerprint's text.
    pub fingerprint: &'a str,
    /// The logins, with commas between.
    pub logins: &'a str,
    /// The account.
    pub account: &'a str,
    /// The registration.
    pub key_id: &'a str,
    /// What to greet the account by, [escaped](pushkeys_keys::escape), or nothing.
    pub account_name: &'a str,
    /// What its owner calls the key, likewise.
    pub key_name: &'a str,
    /// What sshd gets.
    pub rendered: &'a str,
}

impl<'a> EntryLine<'a> {
    /// The fields of `line`, a line without its newline, if its checksum is that of its bytes.
    pub(crate) fn check(line: &'a [u8]) -> Result<Self, Damage> {
        if line.len() > ENTRY_LINE_BYTES_MAX {
            return Err(Damage::LineTooLong);
        }
        let text = str::from_utf8(line).map_err(|_| Damage::Checksum)?;
        let mut fields = text.splitn(8, '\t');
        let mut next = || fields.next().ok_or(Damage::Fields);
        let (fingerprint, logins, account) = (next()?, next()?, next()?);
        let (key_id, account_name, key_name) = (next()?, next()?, next()?);
        let (sum, rendered) = (next()?, next()?);
        let before = text.len() - rendered.len() - sum.len() - 1;
        let expected = checksum(&[line.get(..before).unwrap_or_default(), rendered.as_bytes()]);
        if expected.as_slice() != sum.as_bytes() {
            return Err(Damage::Checksum);
        }
        Ok(Self { fingerprint, logins, account, key_id, account_name, key_name, rendered })
    }

    /// The entry, if every field can be read.
    pub fn entry(&self) -> Result<Entry, Damage> {
        let logins: Vec<Login> =
            self.logins.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| Damage::Fields)?;
        if logins.len() > LOGINS_MAX {
            return Err(Damage::Fields);
        }
        Ok(Entry {
            fingerprint: self.fingerprint.parse().map_err(|_| Damage::Fields)?,
            logins,
            account: self.account.parse().map_err(|_| Damage::Fields)?,
            key_id: self.key_id.parse().map_err(|_| Damage::Fields)?,
            account_name: optional_name(self.account_name)?,
            key_name: optional_name(self.key_name)?,
            line: self.rendered.parse().map_err(|_| Damage::Fields)?,
        })
    }
}

/// The bytes of the fingerprint's text at the beginning of `line`.
pub(crate) fn fingerprint_text(line: &[u8]) -> Option<&[u8]> {
    let (text, after) = line.split_at_checked(FINGERPRINT_TEXT_BYTES)?;
    after.starts_with(b"\t").then_some(text)
}

/// `SHA256:` and 43 characters of base64.
pub(crate) const FINGERPRINT_TEXT_BYTES: usize = 50;

fn optional_name(escaped: &str) -> Result<Option<Name>, Damage> {
    if escaped.is_empty() {
        return Ok(None);
    }
    let text = pushkeys_keys::unescape(escaped).ok_or(Damage::Fields)?;
    Name::parse(&text).map(Some).map_err(|_| Damage::Fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(name: &str) -> Entry {
        Entry {
            fingerprint: Fingerprint::of(name.as_bytes()),
            logins: vec!["git".parse().unwrap(), "deploy".parse().unwrap()],
            account: "acct_7".parse().unwrap(),
            key_id: "key_42".parse().unwrap(),
            account_name: Name::parse(name).ok(),
            key_name: None,
            line: "restrict,command=\"/x --account acct_7\" ssh-ed25519 AAAA".parse().unwrap(),
        }
    }

    fn line_of(entry: &Entry) -> Vec<u8> {
        let mut line = Vec::new();
        entry.write_line(&mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        line
    }

    #[test]
    fn a_line_is_text_that_a_sysadmin_can_read() {
        let line = String::from_utf8(line_of(&entry("ana\\ 🔑"))).unwrap();
        let fingerprint = Fingerprint::of("ana\\ 🔑".as_bytes());
        let rendered = "restrict,command=\"/x --account acct_7\" ssh-ed25519 AAAA";
        let before = format!("{fingerprint}\tgit,deploy\tacct_7\tkey_42\tana\\\\ 🔑\t\t");
        let sum = String::from_utf8(checksum(&[before.as_bytes(), rendered.as_bytes()]).to_vec()).unwrap();
        assert_eq!(line, format!("{before}{sum}\t{rendered}"));
    }

    #[test]
    fn an_expiry_is_the_instant_that_the_line_gives_to_sshd() {
        let check = |options: &str, expected| {
            let line = format!("restrict,command=\"/x\"{options} ssh-ed25519 AAAA").parse().unwrap();
            assert_eq!(Entry { line, ..entry("ana") }.expires_at(), expected, "{options}");
        };
        check("", Ok(None));
        check(",expiry-time=\"20270131120000Z\"", Ok(Some("2027-01-31T12:00:00Z".parse().unwrap())));
        check(",expiry-time=\"99991231235959Z\"", Ok(Some("9999-12-31T23:59:59Z".parse().unwrap())));
        check(",expiry-time=\"20270231120000Z\"", Err(Damage::Fields));
        check(",expiry-time=\"20270131\"", Err(Damage::Fields));
        check(",expiry-time=\"tomorrow\"", Err(Damage::Fields));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let line = line_of(&entry("ana"));
        for position in 0..line.len() * 8 {
            let mut flipped = line.clone();
            flipped[position / 8] ^= 1 << (position % 8);
            assert!(Entry::parse(&flipped).is_err(), "bit {position}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in any::<String>()) {
            let entry = entry(&name);
            prop_assert_eq!(Entry::parse(&line_of(&entry)), Ok(entry));
        }

        #[test]
        fn no_line_panics(line in any::<Vec<u8>>()) {
            let _ = Entry::parse(&line);
        }
    }
}

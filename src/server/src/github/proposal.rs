//! What an account could import of GitHub's list of keys: which keys under which names, which not and why, and which
//! imported ones GitHub no longer lists. Nothing is changed here.

use std::collections::HashSet;

use pushkeys_keys::{Fingerprint, KeyName, Policy, Refusal, ValidKey};

use super::api::GithubKey;
use crate::store::{GithubOrigin, StoredKey};

/// The highest number that is tried to make a name unique: more than an account can have keys.
const NUMBERS_MAX: usize = 10_000;
/// The longest title that is shown of a refused key, in characters.
const TITLE_CHARACTERS_MAX: usize = 80;

/// What an account could import.
#[derive(Debug, Default)]
pub(crate) struct Proposal {
    /// The GitHub account with the list.
    pub(crate) origin: GithubOrigin,
    /// Keys that the account does not have.
    pub(crate) importable: Vec<Candidate>,
    /// Keys that no account can have.
    pub(crate) refused: Vec<RefusedKey>,
    /// Keys imported from this GitHub account that it no longer lists.
    pub(crate) gone: Vec<StoredKey>,
}

/// A key that could be imported.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// A name that no key of the account has.
    pub(crate) name: KeyName,
    /// The validated key.
    pub(crate) key: ValidKey,
    /// GitHub's id of the key.
    pub(crate) github_id: i64,
}

/// A key that the policy refuses.
#[derive(Debug)]
pub(crate) struct RefusedKey {
    /// Its title at GitHub, escaped.
    pub(crate) title: String,
    pub(crate) refusal: Refusal,
}

impl Proposal {
    /// The proposal for an account with the keys `held`, of which `imported` came from `origin`, whose list is `listed`.
    pub(crate) fn of(
        origin: GithubOrigin,
        listed: &[GithubKey],
        held: Vec<StoredKey>,
        imported: &HashSet<Fingerprint>,
        policy: &Policy,
    ) -> Self {
        let mut proposal = Self { origin, ..Self::default() };
        let mut names: HashSet<String> = held.iter().map(|key| key.name.clone()).collect();
        let mut known: HashSet<Fingerprint> = held.iter().map(|key| key.fingerprint).collect();
        let mut listed_now = HashSet::new();
        for key in listed {
            match ValidKey::check(key.key.trim(), policy) {
                // GitHub says no key where one should be, which is not for the user to paste.
                Err(Refusal::Empty) => {
                    proposal.refused.push(RefusedKey { title: shown_title(key), refusal: Refusal::NotAKey });
                }
                Err(refusal) => proposal.refused.push(RefusedKey { title: shown_title(key), refusal }),
                Ok(valid) => {
                    listed_now.insert(valid.fingerprint());
                    if known.insert(valid.fingerprint()) {
                        let Some(name) = free_name(key, &names) else { continue };
                        names.insert(name.as_str().to_owned());
                        proposal.importable.push(Candidate { name, key: valid, github_id: key.id });
                    }
                }
            }
        }
        // A record without a key may be that of any of them.
        let is_whole = listed.iter().all(|key| !key.key.trim().is_empty());
        let is_gone = |key: &StoredKey| {
            is_whole && imported.contains(&key.fingerprint) && !listed_now.contains(&key.fingerprint)
        };
        proposal.gone = held.into_iter().filter(is_gone).collect();
        proposal
    }

    /// The key of `fingerprint`, if it could be imported.
    pub(crate) fn candidate(&self, fingerprint: Fingerprint) -> Option<&Candidate> {
        self.importable.iter().find(|candidate| candidate.key.fingerprint() == fingerprint)
    }
}

/// The key's title, made valid and unique among `taken`: `laptop`, `laptop (GitHub)`, `laptop (GitHub 2)`. A name that is
/// taken would replace the key that has it.
fn free_name(key: &GithubKey, taken: &HashSet<String>) -> Option<KeyName> {
    let title = base_name(key);
    let suffixes = [String::new(), " (GitHub)".to_owned()].into_iter();
    let suffixes = suffixes.chain((2..NUMBERS_MAX).map(|number| format!(" (GitHub {number})")));
    suffixes.filter_map(|suffix| with_suffix(&title, &suffix)).find(|name| !taken.contains(name.as_str()))
}

fn base_name(key: &GithubKey) -> String {
    let name = KeyName::nearest(&key.title);
    name.map_or_else(|| format!("GitHub key {}", key.id), |name| name.as_str().to_owned())
}

/// `title` followed by `suffix`; the title is shortened so that both fit into a name.
fn with_suffix(title: &str, suffix: &str) -> Option<KeyName> {
    let room = pushkeys_keys::NAME_BYTES_MAX.checked_sub(suffix.len())?;
    let mut end = title.len().min(room);
    while !title.is_char_boundary(end) {
        end -= 1;
    }
    // What is cut may have given its neighbour an effect.
    KeyName::nearest(&format!("{}{suffix}", title.get(..end)?.trim_end()))
}

fn shown_title(key: &GithubKey) -> String {
    let title = pushkeys_keys::escape(&key.title).chars().take(TITLE_CHARACTERS_MAX).collect::<String>();
    if title.trim().is_empty() { format!("GitHub key {}", key.id) } else { title }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANA: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";
    const BOB: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";

    fn listed(id: i64, title: &str, key: &str) -> GithubKey {
        GithubKey { id, title: title.into(), key: key.into() }
    }

    fn held(name: &str, key: &str) -> StoredKey {
        let fingerprint = ValidKey::check(key, &Policy::default()).unwrap().fingerprint();
        StoredKey {
            name: name.into(),
            text: key.into(),
            algorithm: String::new(),
            bits: None,
            fingerprint,
            verified: false,
            expires_at: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            last_use: None,
            last_check: None,
        }
    }

    fn names(proposal: &Proposal) -> Vec<&str> {
        proposal.importable.iter().map(|candidate| candidate.name.as_str()).collect()
    }

    #[test]
    fn what_the_account_has_is_not_proposed_again_and_a_taken_name_is_told_apart() {
        let listed = [listed(1, "laptop", ANA), listed(2, "laptop", BOB)];
        let propose =
            |held| Proposal::of(GithubOrigin::default(), &listed, held, &HashSet::new(), &Policy::default());
        assert_eq!(names(&propose(vec![])), ["laptop", "laptop (GitHub)"]);
        assert_eq!(names(&propose(vec![held("laptop", ANA)])), ["laptop (GitHub)"]);
        assert_eq!(names(&propose(vec![held("home", ANA)])), ["laptop"]);
    }

    #[test]
    fn a_refused_key_is_shown_with_its_reason_and_hurts_no_other() {
        let listed = [listed(1, "old\u{202e}", "ssh-dss AAAA"), listed(2, "new", ANA), listed(3, "", "x")];
        let proposal =
            Proposal::of(GithubOrigin::default(), &listed, vec![], &HashSet::new(), &Policy::default());
        assert_eq!(names(&proposal), ["new"]);
        let titles: Vec<_> = proposal.refused.iter().map(|key| key.title.as_str()).collect();
        assert_eq!(titles, ["old\\u{202e}", "GitHub key 3"]);
        assert!(proposal.refused[0].refusal.to_string().contains("DSA"), "{}", proposal.refused[0].refusal);
    }

    #[test]
    fn only_what_was_imported_from_there_is_proposed_for_removal() {
        let (ana, bob) = (held("laptop", ANA), held("home", BOB));
        let imported = HashSet::from([ana.fingerprint]);
        let propose = |listed: &[GithubKey]| {
            let held = vec![ana.clone(), bob.clone()];
            Proposal::of(GithubOrigin::default(), listed, held, &imported, &Policy::default()).gone
        };
        assert_eq!(propose(&[listed(1, "x", ANA)]), []);
        assert_eq!(propose(&[]), std::slice::from_ref(&ana));
        assert_eq!(propose(&[listed(1, "x", "")]), []);
    }

    #[test]
    fn every_title_becomes_a_name() {
        let check = |title: &str, expected: &str| {
            let name = free_name(&listed(7, title, ANA), &HashSet::new()).unwrap();
            assert_eq!(name.as_str(), expected, "{title:?}");
        };
        check(" laptop ", "laptop");
        check("", "GitHub key 7");
        check("..", "GitHub key 7");
        check("a\nb", "ab");
        let long = "é".repeat(200);
        let taken = HashSet::from([with_suffix(&long, "").unwrap().as_str().to_owned()]);
        let name = free_name(&listed(7, &long, ANA), &taken).unwrap();
        assert!(name.as_str().ends_with("é (GitHub)"), "{name}");
        assert!(name.as_str().len() <= pushkeys_keys::NAME_BYTES_MAX);
    }
}

//! Patterns of `ssh_config(5)`, as sshd matches users, groups and environment variables with them.

use pushkeys_keys::Login;

/// Whether `login` is in a list of `AllowUsers` or `DenyUsers`. The host after an `@` is ignored: a user from any host
/// counts as listed. sshd knows no negation here.
pub(crate) fn is_listed<'a>(login: &Login, mut patterns: impl Iterator<Item = &'a str>) -> bool {
    patterns.any(|pattern| matches_pattern(login.as_str(), pattern.split('@').next().unwrap_or_default()))
}

/// Whether a user by one of `names` (a login, or the groups of one) matches a list of patterns with commas between them, as
/// `Match` takes it: some pattern matches some name, and none that begins with `!` does.
pub(super) fn matches_list<'a>(names: impl IntoIterator<Item = &'a str>, patterns: &str) -> bool {
    let mut is_matched = false;
    for name in names {
        for pattern in patterns.split(',') {
            match pattern.strip_prefix('!') {
                Some(negated) if matches_pattern(name, negated) => return false,
                Some(_) => {}
                None => is_matched |= matches_pattern(name, pattern),
            }
        }
    }
    is_matched
}

/// Whether the whole of `text` matches one pattern: `*` stands for any characters, `?` for one.
pub(crate) fn matches_pattern(text: &str, pattern: &str) -> bool {
    let (text, pattern) = (text.as_bytes(), pattern.as_bytes());
    let (mut at, mut place, mut star) = (0, 0, None);
    // Each turn moves `at`, `place`, or the star's end, which never goes back: at most the product of both lengths.
    while let Some(byte) = text.get(at) {
        match pattern.get(place) {
            Some(b'*') => {
                star = Some((place, at));
                place += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                at += 1;
                place += 1;
            }
            _ => {
                let Some((star_place, star_at)) = star else { return false };
                star = Some((star_place, star_at + 1));
                (at, place) = (star_at + 1, star_place + 1);
            }
        }
    }
    pattern.get(place..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_users_are_matched_as_sshd_does() {
        let git = "git".parse().unwrap();
        let check = |patterns: &str, expected| {
            assert_eq!(is_listed(&git, patterns.split(' ')), expected, "{patterns}");
        };
        check("git", true);
        check("g?t", true);
        check("*", true);
        check("g*t*", true);
        check("root git@192.0.2.*", true);
        check("gi", false);
        check("git-*", false);
        check("!git", false);
        check("*x*y", false);
    }

    #[test]
    fn a_negated_pattern_takes_a_user_out_of_a_match() {
        let check = |patterns: &str, expected| {
            assert_eq!(matches_list(["git", "staff"], patterns), expected, "{patterns}");
        };
        check("git", true);
        check("root,g*", true);
        check("*,!git", false);
        check("!git,*", false);
        check("!root,*", true);
        check("!root", false);
        check("git,!staff", false);
        check("root", false);
    }
}

//! The helper, as sshd has it configured: its command line, its user, and what it answers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pushkeys_cache::{Cache, Verdict};
use pushkeys_keys::{Fingerprint, shell_word};

use super::finding::Finding;
use super::options::DoctorOptions;
use super::paths;
use super::settings::Sshd;
use crate::accounts::User;
use crate::context::Context;
use crate::program::{Finished, ProgramError, as_user, run};
use crate::sshd::{Effective, Version, words};

/// The helper's file name, by which it is recognised.
const HELPER: &str = "pushkeys-lookup";
/// What sshd gives the helper.
const TOKENS: [&str; 2] = ["%u", "%f"];
/// Tokens that every OpenSSH with an `AuthorizedKeysCommand` knows.
const TOKENS_KNOWN: &str = "%uUhtkf";
/// Since when there are `%C` and `%D` (see `sshd_config(5)`).
const MORE_TOKENS: Version = Version(9, 4, 1);
/// A change arrives within milliseconds. If the answers still differ after this time, they differ for good.
const AGREEMENT_WAIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

const SILENT: &str = "sshd does not ask pushkeys-lookup, so no key of the service opens the login";

/// The command by which sshd asks.
#[derive(Debug)]
pub(in crate::commands) struct Helper {
    words: Vec<String>,
    pub(super) user: String,
}

impl Helper {
    /// The helper in force, if it is ours.
    pub(in crate::commands) fn of(effective: &Effective) -> Option<Self> {
        let words = words(effective.value("AuthorizedKeysCommand")?);
        let user = effective.value("AuthorizedKeysCommandUser").unwrap_or("none").to_owned();
        let is_ours = words.first().is_some_and(|program| Path::new(program).ends_with(HELPER));
        is_ours.then_some(Self { words, user })
    }

    pub(in crate::commands) fn program(&self) -> PathBuf {
        self.words.first().map(PathBuf::from).unwrap_or_default()
    }

    /// What it answers for `fingerprint`, asked as sshd asks it.
    fn ask(&self, login: &str, fingerprint: &Fingerprint) -> Result<Finished, ProgramError> {
        let text = fingerprint.to_string();
        let arguments = self.words.iter().skip(1).map(|word| word.replace("%u", login).replace("%f", &text));
        run(as_user(&self.user, &self.program()).args(arguments))
    }
}

/// What is wrong with the command line, its user and its file.
pub(super) fn check(context: &Context, sshd: &Sshd<'_>, options: &DoctorOptions) -> Vec<Finding> {
    let Some(helper) = Helper::of(sshd.effective) else { return vec![other_helper(context, sshd, options)] };
    let mut findings = check_words(sshd, &helper);
    findings.extend(check_user(sshd, &helper));
    findings.extend(paths::check_program("command-path", &helper.program()));
    findings
}

fn other_helper(context: &Context, sshd: &Sshd<'_>, options: &DoctorOptions) -> Finding {
    let value = sshd.effective.value("AuthorizedKeysCommand").unwrap_or("none");
    let place = sshd.place("AuthorizedKeysCommand");
    let what = format!(
        "sshd's AuthorizedKeysCommand for `{}` is `{}`{place}",
        sshd.login,
        pushkeys_keys::escape(value)
    );
    let finding = Finding::error("command-missing", what, SILENT);
    if sshd.block().is_some() {
        let cache = &context.cache;
        let is_default = cache == Path::new(pushkeys_cache::CACHE_DIRECTORY);
        let cache = if is_default { String::new() } else { format!(" --cache {}", cache.display()) };
        let wanted = format!("{}{cache} {}", options.helper.display(), TOKENS.join(" "));
        return match sshd.cure("AuthorizedKeysCommand", &wanted) {
            Some(cure) => finding.cured_by(cure),
            None => finding,
        };
    }
    // Without a block of the login's, the drop-in is not there or not read. A main file that includes no folder takes its text at
    // the end.
    let drop_in = options.sshd_config.with_file_name("sshd_config.d").join("50-pushkeys.conf");
    let config = shell_word(&options.sshd_config.to_string_lossy());
    if drop_in.exists() {
        let folder = drop_in.with_file_name("*.conf");
        return finding
            .cured_by(format!("sed -i --follow-symlinks '1i Include {}' {config}", folder.display()));
    }
    let is_included = sshd.settings.iter().any(|setting| {
        setting.keyword == "include"
            && setting.words.iter().any(|word| word.ends_with("sshd_config.d/*.conf"))
    });
    let target = if is_included { shell_word(&drop_in.to_string_lossy()) } else { config };
    finding.cured_by(format!("pushkeys doctor --drop-in >> {target}"))
}

fn check_words(sshd: &Sshd<'_>, helper: &Helper) -> Vec<Finding> {
    let options: Vec<&str> =
        helper.words.iter().map(String::as_str).take_while(|word| !word.contains('%')).collect();
    let wanted = [options.as_slice(), &TOKENS].concat().join(" ");
    let words = helper.words.join(" ");
    let shown = pushkeys_keys::escape(&words);
    let cured = |finding: Finding| match sshd.cure("AuthorizedKeysCommand", &wanted) {
        Some(cure) => finding.cured_by(cure),
        None => finding,
    };
    if let Some(token) = unknown_token(&words, sshd.version) {
        let what = format!("`{shown}` has the token `%{token}`, which this sshd does not know");
        let why = "sshd ends at every login with it, and `sshd -t` does not notice";
        return vec![cured(Finding::error("command-tokens", what, why))];
    }
    match helper.words.as_slice() {
        [.., login, fingerprint] if [login.as_str(), fingerprint.as_str()] == TOKENS => Vec::new(),
        words @ [.., login] if login == "%u" && !words.iter().any(|word| word == "%f") => {
            let what = format!("`{shown}` does not give the helper the key's fingerprint, `%f`");
            let why = "it prints every line of the login for every key that a client offers, and sshd reads them all";
            vec![cured(Finding::warning("command-tokens", what, why))]
        }
        _ => {
            let what = format!("`{shown}` does not end in `%u %f`");
            let why = "the helper cannot read its command line, and every login fails";
            vec![cured(Finding::error("command-tokens", what, why))]
        }
    }
}

fn unknown_token(words: &str, version: Option<Version>) -> Option<char> {
    let has_more = version.is_some_and(|version| version >= MORE_TOKENS);
    let mut characters = words.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            continue;
        }
        let token = characters.next().unwrap_or(' ');
        if !(TOKENS_KNOWN.contains(token) || has_more && "CD".contains(token)) {
            return Some(token);
        }
    }
    None
}

fn check_user(sshd: &Sshd<'_>, helper: &Helper) -> Option<Finding> {
    let cured = |finding: Finding| match sshd.cure("AuthorizedKeysCommandUser", HELPER) {
        Some(cure) => finding.cured_by(cure),
        None => finding,
    };
    let user = &helper.user;
    if user == "none" || user == "root" {
        let what = format!("the helper runs as `{user}`");
        let why =
            "sshd runs no helper without a user of its own, and as root a mistake in it would be root's";
        return Some(cured(Finding::error("command-user", what, why)));
    }
    if User::find(user).is_none() {
        let what = format!("there is no user `{}`, as which the helper runs", pushkeys_keys::escape(user));
        return Some(cured(Finding::error(
            "command-user",
            what,
            "sshd does not run the helper, and every login fails",
        )));
    }
    None
}

/// Whether sshd also asks the helper for root, whose logins no key service should decide.
pub(super) fn check_root(root: &Effective, sshd: &Sshd<'_>) -> Option<Finding> {
    Helper::of(root)?;
    let place = sshd.place("AuthorizedKeysCommand");
    let finding = Finding::warning(
        "command-global",
        format!("sshd asks the helper for root too{place}"),
        "the helper refuses logins that are not the service's, and costs each of root's logins time and a failure when the \
         cache has one; it belongs in the block of the login",
    );
    // The line must stay where it is the login's only one.
    let is_in_block = sshd.lines("AuthorizedKeysCommand").any(|setting| !setting.is_global());
    let mut globals = sshd.lines("AuthorizedKeysCommand").filter(|setting| setting.is_global());
    match globals.next() {
        Some(setting) if is_in_block => {
            let file = shell_word(&setting.file.to_string_lossy());
            Some(finding.cured_by(format!("sed -i --follow-symlinks '{}s/^/# /' {file}", setting.line)))
        }
        _ => Some(finding),
    }
}

/// A key, and its account at the service, if the service was asked.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) fingerprint: Fingerprint,
    /// Source, account and key id.
    pub(super) service: Option<(String, String, String)>,
}

/// Whether helper, cache and service agree about `samples`, and whether the helper prints nothing for an unknown key.
pub(super) fn check_answers(
    context: &Context,
    options: &DoctorOptions,
    helper: &Helper,
    samples: &[Sample],
) -> Vec<Finding> {
    let unknown = Sample { fingerprint: Fingerprint::from_bytes([0; 32]), service: None };
    samples
        .iter()
        .chain([&unknown])
        .filter_map(|sample| check_answer(context, options, helper, sample))
        .collect()
}

fn check_answer(
    context: &Context,
    options: &DoctorOptions,
    helper: &Helper,
    sample: &Sample,
) -> Option<Finding> {
    let end = Instant::now() + AGREEMENT_WAIT;
    loop {
        let finding = compare(context, options, helper, sample)?;
        if Instant::now() >= end {
            return Some(finding);
        }
        std::thread::sleep(PAUSE);
    }
}

fn compare(context: &Context, options: &DoctorOptions, helper: &Helper, sample: &Sample) -> Option<Finding> {
    let (login, fingerprint) = (options.login.as_str(), &sample.fingerprint);
    let why = "this happens at every login";
    let answer = match helper.ask(login, fingerprint) {
        Ok(answer) => answer,
        Err(error) => return Some(Finding::of_error("helper-answer", &error, why)),
    };
    let command =
        format!("setpriv --reuid {0} --regid {0} --init-groups {1}", helper.user, helper.words.join(" "));
    let command = command.replace("%u", login).replace("%f", &fingerprint.to_string());
    if !answer.status.success() || !answer.stderr.is_empty() {
        let what = format!(
            "asked as `{}`, the helper ended with {} instead of an answer about {fingerprint} {}",
            helper.user,
            answer.ending(),
            pushkeys_keys::escape(answer.stderr.lines().next().unwrap_or_default())
        );
        let cure = format!("{command}; journalctl -t {HELPER} -n 5; pushkeys status");
        return Some(Finding::error("helper-answer", what.trim_end(), why).cured_by(cure));
    }
    let verdict = Cache::open(&context.cache)
        .and_then(|cache| cache.consult(fingerprint))
        .map_err(pushkeys_cache::NoAnswer::from)
        .and_then(|consulted| Verdict::of(consulted, &options.login, jiff::Timestamp::now()));
    // What is revoked on this host is meant to differ from the service; `pushkeys status` shows it.
    let is_revoked = matches!(verdict, Ok(Verdict::Revoked(_)));
    let entry = match verdict {
        Ok(Verdict::Known { entry, .. }) => Some(entry),
        Ok(Verdict::UnknownKey | Verdict::OtherLogin | Verdict::Revoked(_)) => None,
        Err(error) => {
            return Some(Finding::of_error("helper-answer", &error, why).cured_by("pushkeys status"));
        }
    };
    let expected = entry.as_ref().map(|entry| format!("{}\n", entry.line)).unwrap_or_default();
    if answer.stdout != expected {
        let what = format!(
            "about {fingerprint} the helper says something else than the cache in `{}`",
            context.cache.display()
        );
        let cure =
            format!("{command}; pushkeys --cache {} explain {login} {fingerprint}", context.cache.display());
        return Some(Finding::error("helper-answer", what, "sshd asks about another cache").cured_by(cure));
    }
    let (source, account, key_id) = sample.service.as_ref().filter(|_| !is_revoked)?;
    let agrees =
        entry.is_some_and(|entry| entry.account.as_str() == account && entry.key_id.as_str() == key_id);
    (!agrees).then(|| {
        let what = format!("source `{source}` has {fingerprint} as key `{key_id}` of `{account}`, and this host says otherwise");
        let why = "the host is behind its service, or the key was left out or opens other logins";
        Finding::error("agreement", what, why).cured_by("pushkeys verify --against-source")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_known_by_version() {
        let check =
            |words: &str, version, expected| assert_eq!(unknown_token(words, version), expected, "{words}");
        check("/x %u %f", None, None);
        check("/x %% %U %h %t %k", None, None);
        check("/x %u %C", Some(Version(9, 2, 1)), Some('C'));
        check("/x %u %C", Some(Version(9, 4, 1)), None);
        check("/x %u %F", Some(Version(10, 5, 1)), Some('F'));
        check("/x %", None, Some(' '));
    }
}

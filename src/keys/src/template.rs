//! The template of the forced command, and the `authorized_keys` line that is rendered with it.

use std::str::FromStr;

use thiserror::Error;

use crate::expiry::Expiry;
use crate::fingerprint::Fingerprint;
use crate::id::{AccountId, KeyId};
use crate::line::{AuthorizedKeysLine, EXPIRY, PREFIX, ParseLineError};
use crate::policy::ValidKey;

/// The longest command template in bytes.
const TEMPLATE_BYTES_MAX: usize = 1024;
/// The longest rendered command in bytes.
const COMMAND_BYTES_MAX: usize = 4 * 1024;

/// The forced command of syncd's configuration, with `{account}`, `{key_id}` and `{fingerprint}`.
///
/// Invariant: an absolute path and its arguments in printable ASCII without `"`, `\` or `%`, and
/// no placeholder but these three, so that a rendered command needs no quoting in an option list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandTemplate(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Account,
    KeyId,
    Fingerprint,
}

/// Why a text is not a command template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ParseTemplateError {
    /// sshd passes the command to the login's shell, whose PATH may come from the client.
    #[error("the command does not begin with an absolute path")]
    NotAbsolute,
    /// A character that ends or escapes an option, or that the login's shell would interpret.
    #[error("the command contains {0:?}, which sshd or the login's shell would interpret")]
    Character(char),
    /// Not one of the three placeholders.
    #[error(
        "the command contains the unknown placeholder `{{{0}}}`: known are {{account}}, {{key_id}} and {{fingerprint}}"
    )]
    Placeholder(String),
    /// An unbalanced brace.
    #[error("the command contains an unbalanced `{{` or `}}`")]
    Brace,
    /// Without `{account}`, all sessions would belong to one account.
    #[error("the command does not contain {{account}}")]
    NoAccount,
    /// Longer than 1024 bytes.
    #[error("the command is longer than {TEMPLATE_BYTES_MAX} bytes")]
    TooLong,
}

impl FromStr for CommandTemplate {
    type Err = ParseTemplateError;

    fn from_str(text: &str) -> Result<Self, ParseTemplateError> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(ParseTemplateError::TooLong);
        }
        if !text.starts_with('/') {
            return Err(ParseTemplateError::NotAbsolute);
        }
        if let Some(character) = text.chars().find(|&character| !is_inert(character)) {
            return Err(ParseTemplateError::Character(character));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(ParseTemplateError::Brace)?;
            parts.push(literal(before)?);
            parts.push(match name {
                "account" => Part::Account,
                "key_id" => Part::KeyId,
                "fingerprint" => Part::Fingerprint,
                unknown => return Err(ParseTemplateError::Placeholder(unknown.to_owned())),
            });
            rest = after;
        }
        parts.push(literal(rest)?);
        if !parts.contains(&Part::Account) {
            return Err(ParseTemplateError::NoAccount);
        }
        Ok(Self(parts))
    }
}

fn literal(text: &str) -> Result<Part, ParseTemplateError> {
    if text.contains('}') { Err(ParseTemplateError::Brace) } else { Ok(Part::Text(text.to_owned())) }
}

/// sshd runs the command with `<login shell> -c`, so only characters that no shell interprets are safe.
fn is_inert(character: char) -> bool {
    character.is_ascii_alphanumeric() || " /-_.,:=+@{}".contains(character)
}

/// Why a line could not be rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RenderError {
    /// The placeholders made the command too long.
    #[error("the forced command is longer than {COMMAND_BYTES_MAX} bytes")]
    TooLong,
    /// The whole line violates its invariant.
    #[error("the rendered line is invalid")]
    Line(#[from] ParseLineError),
}

impl CommandTemplate {
    /// The line that makes sshd run this command, and nothing else, for `key`.
    pub fn render(
        &self,
        key: &ValidKey,
        account: &AccountId,
        key_id: &KeyId,
        expiry: Option<Expiry>,
    ) -> Result<AuthorizedKeysLine, RenderError> {
        let mut line = String::with_capacity(512);
        line.push_str(PREFIX);
        self.command_into(&mut line, account, key_id, &key.fingerprint());
        if line.len() > COMMAND_BYTES_MAX {
            return Err(RenderError::TooLong);
        }
        line.push('"');
        if let Some(expiry) = expiry {
            line.push_str(EXPIRY);
            line.push('"');
            line.push_str(&expiry.to_option());
            line.push('"');
        }
        line.push(' ');
        line.push_str(key.canonical_text());
        Ok(line.parse()?)
    }

    fn command_into(
        &self,
        line: &mut String,
        account: &AccountId,
        key_id: &KeyId,
        fingerprint: &Fingerprint,
    ) {
        for part in &self.0 {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Account => line.push_str(account.as_str()),
                Part::KeyId => line.push_str(key_id.as_str()),
                Part::Fingerprint => line.push_str(fingerprint.to_text().as_str()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFKttpn0/QsZEPeH+MsCNvWPakMx1ZJyylMXCyyOheGO";
    const TEMPLATE: &str =
        "/usr/libexec/pushkeys/pushkeys-shell --account {account} --key {key_id} --fingerprint {fingerprint}";

    #[test]
    fn a_line_holds_ids_and_the_canonical_key_and_no_user_input() {
        let key = ValidKey::check(&format!("{KEY} a\"b%u`id`"), &Policy::default()).unwrap();
        let template: CommandTemplate = TEMPLATE.parse().unwrap();
        let (account, key_id) = ("acct_7".parse().unwrap(), "key_42".parse().unwrap());
        let line = template.render(&key, &account, &key_id, None).unwrap();
        let command = "/usr/libexec/pushkeys/pushkeys-shell --account acct_7 --key key_42 --fingerprint \
                       SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";
        assert_eq!(line.as_str(), format!("restrict,command=\"{command}\" {KEY}"));
        assert_eq!((line.public_key(), line.expiry_time()), (KEY, None));

        let expiry = "2027-01-31T13:00:00.9+01:00".parse().unwrap();
        let line = template.render(&key, &account, &key_id, Some(expiry)).unwrap();
        assert_eq!(
            line.as_str(),
            format!("restrict,command=\"{command}\",expiry-time=\"20270131120000Z\" {KEY}")
        );
        assert_eq!((line.public_key(), line.expiry_time()), (KEY, Some("20270131120000Z")));
    }

    #[test]
    fn a_template_with_characters_that_a_shell_or_sshd_interprets_is_refused() {
        use ParseTemplateError as E;
        let check = |text: &str, expected: E| {
            assert_eq!(text.parse::<CommandTemplate>(), Err(expected), "{text}");
        };
        check("pushkeys-shell {account}", E::NotAbsolute);
        check("/bin/x {account}; id", E::Character(';'));
        check("/bin/x {account} \"", E::Character('"'));
        check("/bin/x {account} \\", E::Character('\\'));
        check("/bin/x {account}\n", E::Character('\n'));
        check("/bin/x {account} %u", E::Character('%'));
        check("/bin/x {account} $HOME", E::Character('$'));
        check("/bin/x {name}", E::Placeholder("name".into()));
        check("/bin/x {account", E::Brace);
        check("/bin/x account}", E::Brace);
        check("/bin/x {key_id}", E::NoAccount);
        check(&format!("/bin/{}", "x".repeat(1024)), E::TooLong);
    }
}

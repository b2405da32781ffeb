//! What users connect to: the name and port that they type, which one or several push hosts serve.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const PUSH_HOST_BYTES_MAX: usize = 253;
/// What ssh connects to unless it is told otherwise.
const SSH_PORT: u16 = 22;

/// `push.example.com` or `push.example.com:2222`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PushHost {
    /// In lower case, as ssh compares it.
    name: String,
    /// Where it is not ssh's own.
    port: Option<u16>,
}

/// Why a text is not such a host.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a host such as push.example.com or push.example.com:2222", pushkeys_keys::escape(.0))]
pub(crate) struct ParsePushHostError(String);

impl FromStr for PushHost {
    type Err = ParsePushHostError;

    fn from_str(text: &str) -> Result<Self, ParsePushHostError> {
        let refused = || ParsePushHostError(text.chars().take(80).collect());
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| refused())?)),
            None => (text, None),
        };
        let port = port.filter(|port| *port != SSH_PORT);
        // Users paste it into a shell as part of a command.
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        let is_right = (1..=PUSH_HOST_BYTES_MAX).contains(&name.len())
            && name.bytes().all(is_name)
            && !name.starts_with(['-', '.']);
        if is_right { Ok(Self { name: name.to_ascii_lowercase(), port }) } else { Err(refused()) }
    }
}

impl PushHost {
    /// As it stands at the beginning of a line of known hosts.
    pub(crate) fn known_as(&self) -> String {
        self.port.map_or_else(|| self.name.clone(), |port| format!("[{}]:{port}", self.name))
    }

    /// Its name in the DNS.
    pub(crate) fn domain(&self) -> &str {
        &self.name
    }

    /// Shown if no host is configured.
    pub(crate) fn example() -> Self {
        Self { name: "push.example.com".to_owned(), port: None }
    }

    /// The command that checks whether the host accepts a key, with `options` of ssh. `-T`, since ssh warns where it is
    /// given no terminal.
    pub(crate) fn check_command(&self, options: &str) -> String {
        let port = self.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        format!("ssh -T {options}{port}git@{}", self.name)
    }
}

impl fmt::Display for PushHost {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(out, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_host_becomes_a_command_and_never_an_option() {
        let check = |text: &str, expected: Option<&str>| {
            let command = text.parse::<PushHost>().ok().map(|host| host.check_command(""));
            assert_eq!(command.as_deref(), expected, "{text}");
        };
        check("push.example.com", Some("ssh -T git@push.example.com"));
        check("push.example.com:2222", Some("ssh -T -p 2222 git@push.example.com"));
        check("push.example.com:22", Some("ssh -T git@push.example.com"));
        for text in ["", "-oProxyCommand=x", "a b", "a;b", "a:", "a:99999", ".a"] {
            check(text, None);
        }
    }

    #[test]
    fn known_hosts_name_a_port_only_where_it_is_another() {
        let check = |text: &str, expected: &str| {
            assert_eq!(text.parse::<PushHost>().unwrap().known_as(), expected, "{text}");
        };
        check("push.example.com", "push.example.com");
        check("Push.Example.com:22", "push.example.com");
        check("push.example.com:2222", "[push.example.com]:2222");
    }
}

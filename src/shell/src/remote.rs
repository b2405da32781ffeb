//! The name of this host for users, and its URLs.
//!
//! ssh does not tell a server the name that the client used. The operator can set it; otherwise the address and port that
//! the client connected to are used.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use pushkeys_keys::Login;

const SSH_PORT: u16 = 22;
/// The longest name of a host (RFC 1035 section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Both ends of a connection (sshd(8), `SSH_CONNECTION`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connection {
    pub(crate) client: IpAddr,
    pub(crate) server: SocketAddr,
}

/// A host's name and port, as users write them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteHost {
    name: String,
    port: u16,
}

impl Connection {
    /// The connection in `SSH_CONNECTION`: client's address and port, server's address and port.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut word = || words.next();
        let (client, _, server, port) = (word()?, word()?, word()?, word()?);
        Some(Self {
            client: client.parse().ok()?,
            server: SocketAddr::new(server.parse().ok()?, port.parse().ok()?),
        })
    }
}

impl RemoteHost {
    /// The host by `setting`, else by the address of `connection`, else a placeholder.
    pub(crate) fn new(setting: Option<&Self>, connection: Option<&Connection>) -> Self {
        let of_address = |connection: &Connection| {
            let address = connection.server.ip().to_canonical();
            Self { name: address.to_string(), port: connection.server.port() }
        };
        setting
            .cloned()
            .or_else(|| connection.map(of_address))
            .unwrap_or_else(|| Self { name: "HOST".to_owned(), port: SSH_PORT })
    }

    /// The command that shows the greeting.
    pub(crate) fn greeting_command(&self, login: &Login) -> String {
        match self.port {
            SSH_PORT => format!("ssh -T {login}@{}", self.name),
            port => format!("ssh -T -p {port} {login}@{}", self.name),
        }
    }

    /// The URL of `repository` for `login`.
    pub(crate) fn url(&self, login: &Login, repository: impl Display) -> String {
        let Self { name, port } = self;
        let is_v6 = name.contains(':');
        match *port {
            SSH_PORT if is_v6 => format!("{login}@[{name}]:{repository}.git"),
            SSH_PORT => format!("{login}@{name}:{repository}.git"),
            port if is_v6 => format!("ssh://{login}@[{name}]:{port}/{repository}.git"),
            port => format!("ssh://{login}@{name}:{port}/{repository}.git"),
        }
    }
}

impl FromStr for RemoteHost {
    type Err = &'static str;

    /// The host of `NAME` or `NAME:PORT`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => {
                (name, port.parse().map_err(|_| "the port of `host` must be a number up to 65535")?)
            }
            None => (text, SSH_PORT),
        };
        let is_accepted = |character: char| character.is_ascii_alphanumeric() || ".-".contains(character);
        let is_name = !name.is_empty() && name.len() <= HOST_BYTES_MAX && name.chars().all(is_accepted);
        if is_name && !name.starts_with('-') {
            Ok(Self { name: name.to_owned(), port })
        } else {
            Err("`host` is the name that users connect to, with its port if that is not 22: push.example.com")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_parsed() {
        let connection = Connection::parse("192.0.2.1 50022 198.51.100.7 22").unwrap();
        assert_eq!(connection.client.to_string(), "192.0.2.1");
        assert_eq!(connection.server.to_string(), "198.51.100.7:22");
        assert!(Connection::parse("2001:db8::1 50022 2001:db8::2 2222").is_some());
        for text in ["", "192.0.2.1 50022", "UNKNOWN 65535 UNKNOWN 65535", "192.0.2.1 1 192.0.2.2 x"] {
            assert_eq!(Connection::parse(text), None, "{text}");
        }
    }

    #[test]
    fn urls_and_commands_are_as_users_type_them() {
        let login = "git".parse().unwrap();
        let check = |setting: Option<&str>, connection: Option<&str>, url: &str, greeting: &str| {
            let setting = setting.map(|setting| setting.parse().unwrap());
            let connection = connection.map(|connection| Connection::parse(connection).unwrap());
            let host = RemoteHost::new(setting.as_ref(), connection.as_ref());
            assert_eq!(
                (host.url(&login, "app"), host.greeting_command(&login)),
                (url.to_owned(), greeting.to_owned())
            );
        };
        let v4 = Some("192.0.2.1 5 198.51.100.7 22");
        check(Some("push.example.com"), v4, "git@push.example.com:app.git", "ssh -T git@push.example.com");
        check(
            Some("push.example.com:2222"),
            v4,
            "ssh://git@push.example.com:2222/app.git",
            "ssh -T -p 2222 git@push.example.com",
        );
        check(None, v4, "git@198.51.100.7:app.git", "ssh -T git@198.51.100.7");
        check(
            None,
            Some("192.0.2.1 5 ::ffff:198.51.100.7 2222"),
            "ssh://git@198.51.100.7:2222/app.git",
            "ssh -T -p 2222 git@198.51.100.7",
        );
        check(None, Some("::1 5 2001:db8::7 22"), "git@[2001:db8::7]:app.git", "ssh -T git@2001:db8::7");
        check(
            None,
            Some("::1 5 2001:db8::7 23"),
            "ssh://git@[2001:db8::7]:23/app.git",
            "ssh -T -p 23 git@2001:db8::7",
        );
        check(None, None, "git@HOST:app.git", "ssh -T git@HOST");
    }

    #[test]
    fn a_host_setting_must_be_a_name() {
        for text in
            ["", "-oProxyCommand=id", "a b", "a/b", "git@host", "host:", "host:99999", "[::1]:22", "é"]
        {
            assert!(text.parse::<RemoteHost>().is_err(), "{text}");
        }
    }
}

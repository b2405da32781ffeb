//! Addresses of clients in sshd's lines: whom it let in, and whose connections it dropped before asking for a key.
//!
//! From OpenSSH 9.8 on a few failures shut an address out for a while (`PerSourcePenalties`). What sshd writes then names no key,
//! so a user is told by the address alone.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use pushkeys_keys::Login;
use serde::Serialize;

use super::line::split;

/// Connections from one address that sshd dropped as they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Dropped {
    pub(crate) address: IpAddr,
    pub(crate) times: u64,
    /// When the last one came, as the log wrote it.
    pub(crate) last_at: String,
    /// Why the last one was dropped, in sshd's words.
    pub(crate) reason: String,
}

/// What `drop connection …` says: whose connection, and why.
pub(super) fn drop_in(message: &str) -> Option<(IpAddr, &str)> {
    let rest = message.strip_prefix("drop connection #")?;
    let (address, rest) = rest.split_once(" from [")?.1.split_once("]:")?;
    // `… on [ADDRESS]:PORT REASON`
    let reason = rest.split_once("]:")?.1.split_once(' ')?.1;
    Some((address.parse().ok()?, reason))
}

/// The address that `login` came from in a line that begins with `verdict`, such as `Accepted publickey for `. A login that does
/// not exist is the client's own choice of words, and equals none.
fn address_of<'a>(message: &'a str, verdict: &str, login: &Login) -> Option<&'a str> {
    message.strip_prefix(verdict)?.strip_prefix(login.as_str())?.strip_prefix(" from ")?.split(' ').next()
}

/// Whose connections were dropped, the last first.
pub(crate) fn dropped(lines: &[String]) -> Vec<Dropped> {
    let mut found: HashMap<IpAddr, (usize, Dropped)> = HashMap::new();
    for (number, line) in lines.iter().enumerate() {
        let Some((last_at, "sshd" | "sshd-session", message)) = split(line) else { continue };
        let Some((address, reason)) = drop_in(message) else { continue };
        let times = found.get(&address).map_or(0, |(_, before)| before.times) + 1;
        let (last_at, reason) =
            (pushkeys_keys::escape(last_at).into_owned(), pushkeys_keys::escape(reason).into_owned());
        found.insert(address, (number, Dropped { address, times, last_at, reason }));
    }
    let mut found: Vec<_> = found.into_values().collect();
    found.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    found.into_iter().map(|(_, dropped)| dropped).collect()
}

/// Where keys that opened `login` came from.
pub(crate) fn accepted(lines: &[String], login: &Login) -> BTreeSet<IpAddr> {
    let accepted = |line: &String| {
        let (_, _, message) = split(line).filter(|(_, tag, _)| tag.starts_with("sshd"))?;
        address_of(message, "Accepted publickey for ", login)?.parse().ok()
    };
    lines.iter().filter_map(accepted).collect()
}

/// Where `login` came from when the key of `fingerprint` was refused.
pub(crate) fn refused(lines: &[String], login: &Login, fingerprint: &str) -> BTreeSet<IpAddr> {
    let refused = |line: &String| {
        let (_, _, message) = split(line).filter(|(_, tag, _)| tag.starts_with("sshd"))?;
        let is_of_key = message.ends_with(fingerprint);
        address_of(message, "Failed publickey for ", login).filter(|_| is_of_key)?.parse().ok()
    };
    lines.iter().filter_map(refused).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINGERPRINT: &str = "SHA256:DyN4OQASCMlvIeJ4U6v0KPBmeEgxCFmfP2UQ987P6Ww";

    fn log(lines: &[&str]) -> Vec<String> {
        let line = |(number, line): (usize, &&str)| format!("2026-11-24T12:00:0{number}+00:00 push-1 {line}");
        lines.iter().enumerate().map(line).map(|line| line.replace("FP", FINGERPRINT)).collect()
    }

    #[test]
    fn connections_that_are_dropped_are_counted_by_address() {
        let lines = log(&[
            "sshd[1]: drop connection #0 from [192.0.2.7]:50418 on [198.51.100.1]:22 penalty: failed authentication",
            "sshd[1]: drop connection #0 from [192.0.2.7]:50419 on [198.51.100.1]:22 penalty: exceeded LoginGraceTime",
            "sshd[1]: drop connection #9 from [2001:db8::1]:50419 on [::]:22 past MaxStartups",
            "sshd-session[1]: Invalid user drop connection #0 from [192.0.2.9]:1 on [192.0.2.1]:22 penalty: x from 192.0.2.8",
            "cron[1]: drop connection #0 from [192.0.2.9]:1 on [192.0.2.1]:22 penalty: x",
        ]);
        let of = |address: &str, times, second, reason: &str| Dropped {
            address: address.parse().unwrap(),
            times,
            last_at: format!("2026-11-24T12:00:0{second}+00:00"),
            reason: reason.to_owned(),
        };
        assert_eq!(
            dropped(&lines),
            [
                of("2001:db8::1", 1, 2, "past MaxStartups"),
                of("192.0.2.7", 2, 1, "penalty: exceeded LoginGraceTime")
            ]
        );
    }

    #[test]
    fn addresses_are_those_of_the_login_and_of_the_key() {
        let git = "git".parse().unwrap();
        let lines = log(&[
            "sshd[1]: Accepted publickey for git from 192.0.2.1 port 22 ssh2: ED25519 FP",
            "sshd-session[1]: Accepted publickey for git from 2001:db8::2 port 22 ssh2: ED25519 FP",
            "sshd[1]: Accepted publickey for root from 192.0.2.3 port 22 ssh2: ED25519 FP",
            "sshd[1]: Failed publickey for git from 192.0.2.4 port 22 ssh2: ED25519 FP",
            "sshd[1]: Failed publickey for git from 192.0.2.5 port 22 ssh2: ED25519 SHA256:other",
            "sshd[1]: Failed publickey for invalid user git from 192.0.2.6 from 192.0.2.7 port 22 ssh2: ED25519 FP",
            "cron[1]: Accepted publickey for git from 192.0.2.8 port 22 ssh2: ED25519 FP",
        ]);
        let addresses =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<BTreeSet<IpAddr>>();
        assert_eq!(accepted(&lines, &git), addresses(&["192.0.2.1", "2001:db8::2"]));
        assert_eq!(refused(&lines, &git, FINGERPRINT), addresses(&["192.0.2.4"]));
    }
}

//! The `[console]` table of the configuration.

use std::time::Duration;

use serde::Deserialize;

use crate::origin::Origin;
use crate::push_host::PushHost;
use crate::values::{duration, optional};

const DAY: Duration = Duration::from_hours(24);

/// The settings of the console.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConsoleSettings {
    /// Its URL for browsers, `https://…` unless it is on this machine. Without it, only browsers on this machine are
    /// served.
    pub(crate) base_url: Option<Origin>,
    /// The host that users push to, as the page shows it.
    #[serde(deserialize_with = "optional")]
    pub(crate) push_host: Option<PushHost>,
    /// How long a session lasts without being used.
    #[serde(deserialize_with = "duration")]
    pub(crate) session_idle: Duration,
    /// How long a session lasts in all.
    #[serde(deserialize_with = "duration")]
    pub(crate) session_max: Duration,
    /// How long after a sign-in actions that give access need no confirmation.
    #[serde(deserialize_with = "duration")]
    pub(crate) confirm_after: Duration,
    /// How long rows of the audit log are kept.
    #[serde(deserialize_with = "duration")]
    pub(crate) history_max: Duration,
    /// How long a token of `clever login` is valid.
    #[serde(deserialize_with = "duration")]
    pub(crate) cli_token_max: Duration,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self {
            base_url: None,
            push_host: None,
            session_idle: Duration::from_hours(12),
            session_max: 7 * DAY,
            confirm_after: Duration::from_mins(15),
            history_max: 400 * DAY,
            cli_token_max: 365 * DAY,
        }
    }
}

impl ConsoleSettings {
    /// The first setting with a wrong value, and what is allowed.
    pub(crate) fn wrong_value(&self) -> Option<(&'static str, &'static str)> {
        if self.base_url.as_ref().is_some_and(|url| !url.is_https() && !url.is_loopback()) {
            return Some((
                "console.base_url",
                "an https URL, since passwords would cross the network in plain text",
            ));
        }
        let is_ordered = self.confirm_after <= self.session_max && self.session_idle <= self.session_max;
        if self.session_idle.is_zero() || !is_ordered || self.session_max > 366 * DAY {
            return Some((
                "console.session_idle`, `session_max` or `confirm_after",
                "at least 1s, and none longer than `session_max`, which is 366d at most",
            ));
        }
        let is_age = |age: Duration| (DAY..=3_660 * DAY).contains(&age);
        if !is_age(self.history_max) || !is_age(self.cli_token_max) {
            return Some(("console.history_max` or `cli_token_max", "between 1d and 3660d"));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_that_others_could_listen_to_is_refused() {
        let check = |url: &str, is_right: bool| {
            let config =
                ConsoleSettings { base_url: Some(url.parse().unwrap()), ..ConsoleSettings::default() };
            assert_eq!(config.wrong_value().is_none(), is_right, "{url}");
        };
        check("https://console.example.com", true);
        check("http://127.0.0.1:8080", true);
        check("http://localhost:8080", true);
        check("http://[::1]:8080", true);
        check("http://console.example.com", false);
        check("http://localhost.example.com", false);
    }
}

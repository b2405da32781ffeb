//! Notifications for systemd (`sd_notify(3)`). Without systemd, they do nothing.

use std::time::Duration;

use sd_notify::NotifyState;

/// The daemon has started, or has finished [`reloading`].
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// The daemon is reloading its configuration, until [`ready`].
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

/// The daemon is stopping.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// The daemon's state in one line, for `systemctl status`.
pub fn status(line: &str) {
    notify(&[NotifyState::Status(line)]);
}

/// A watchdog ping. Without the next one within [`watchdog`], systemd restarts the daemon.
pub fn alive() {
    notify(&[NotifyState::Watchdog]);
}

/// The longest time between two pings, if systemd expects them.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("cannot notify systemd: {error}");
    }
}

//! What systemd is told of a daemon (`sd_notify(3)`). Without systemd, nothing is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// It does its work from now on, or again after [`reloading`].
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// It takes up a changed configuration, until [`ready`].
pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// It ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How it is doing, in a line for `systemctl status`.
pub fn status(line: &str) {
    tell(&[NotifyState::Status(line)]);
}

/// It is alive. Within [`watchdog`] it says so again, or is restarted.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The longest time between two signs of life, if systemd waits for them.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("cannot tell systemd: {error}");
    }
}

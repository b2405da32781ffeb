//! Ends a running session for reasons other than its key: it is idle, or uses too much disk space.

use std::time::{Duration, Instant};

use crate::identity::Identity;
use crate::process::descendants;
use crate::refusal::Refusal;
use crate::room;
use crate::settings::{Limits, Settings};

/// The interval of checks of the disk space.
const ROOM_EVERY: Duration = Duration::from_secs(5);

/// Detects that no process of a session reads or writes anything.
#[derive(Debug)]
pub(crate) struct IdleWatch {
    limit_s: Option<u32>,
    bytes: u64,
    since: Instant,
}

impl IdleWatch {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { limit_s: limits.idle_s, bytes: 0, since: Instant::now() }
    }

    /// The reason to end the session, if it was idle for too long.
    pub(crate) fn check(&mut self) -> Option<Refusal> {
        let limit_s = self.limit_s?;
        let bytes = descendants::bytes_moved();
        if bytes != self.bytes {
            self.bytes = bytes;
            self.since = Instant::now();
        }
        (self.since.elapsed().as_secs() >= u64::from(limit_s)).then_some(Refusal::Idle(limit_s))
    }
}

/// Detects that the repository in the current folder, or its account, exceeds its disk space.
#[derive(Debug)]
pub(crate) struct RoomWatch<'a> {
    settings: &'a Settings,
    identity: &'a Identity,
    looked_at: Option<Instant>,
}

impl<'a> RoomWatch<'a> {
    pub(crate) fn new(settings: &'a Settings, identity: &'a Identity) -> Self {
        Self { settings, identity, looked_at: None }
    }

    /// The reason to end the session, if the limit is exceeded.
    pub(crate) fn check(&mut self) -> Option<Refusal> {
        if self.looked_at.is_some_and(|looked_at| looked_at.elapsed() < ROOM_EVERY) {
            return None;
        }
        self.looked_at = Some(Instant::now());
        room::check(self.settings, self.identity).err().map(Refusal::NoRoom)
    }
}

//! How a session with git or another program ended.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use crate::process::supervise::{EndReason, Ending};
use crate::push::HookResult;
use crate::refusal::Refusal;
use crate::settings::Settings;

/// The exit status of a shell for a program that a signal ended is this plus the signal's number.
const SIGNALLED: i32 = 128;
/// The word for the log when git ended by itself.
const SERVED: &str = "served";

/// How a session ended.
#[derive(Debug)]
pub(crate) struct Served {
    /// The word for the log.
    pub(crate) word: &'static str,
    /// This process's exit status.
    pub(crate) status: u8,
    /// The message for the client, if git does not print one.
    pub(crate) refusal: Option<Refusal>,
    /// Whether the session was ended early for that reason.
    pub(crate) is_ended_early: bool,
    /// The bytes that git transferred, if the kernel counts them.
    pub(crate) traffic: Option<Traffic>,
}

/// The bytes that git and its children have read and written, as the kernel counts them (proc(5), `io`): data of the
/// client, of the repository, and of pipes between processes. No data passes through this process, so it cannot count
/// the client's alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) read_bytes: u64,
    pub(crate) written_bytes: u64,
}

impl Traffic {
    /// The bytes of this process and all children that it has reaped.
    fn so_far() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/self/io").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let number = |name: &str| {
            let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            values.next()?.parse().ok()
        };
        Some(Self { read_bytes: number("rchar")?, written_bytes: number("wchar")? })
    }
}

impl Served {
    pub(crate) fn of(ending: Ending<Refusal>) -> Self {
        let traffic = Traffic::so_far();
        let status = ending.status.map_or(1, exit_status);
        let ended = |word, status| Self { word, status, refusal: None, is_ended_early: false, traffic };
        match ending.reason {
            None => ended(SERVED, status),
            // git succeeded before it could be ended.
            Some(_) if status == 0 => ended(SERVED, status),
            Some(EndReason::Refused(refusal)) => {
                let word = refusal.word();
                Self { refusal: Some(refusal), is_ended_early: true, ..ended(word, 1) }
            }
            Some(EndReason::Signal(_)) => ended("ended-by-signal", status),
            Some(EndReason::ClientLeft) => ended("client-left", status),
        }
    }

    /// The result for a push, for which git also succeeds when it stores nothing.
    pub(crate) fn of_push(self, results: &[HookResult], settings: &Settings) -> Self {
        if self.word != SERVED || self.status != 0 {
            return self;
        }
        let is_required = settings.deploy.as_ref().is_some_and(|deploy| deploy.required);
        let read_bytes = self.traffic.map_or(0, |traffic| traffic.read_bytes);
        if results.contains(&HookResult::Refused) {
            Self { word: "push-refused", ..self }
        } else if results.contains(&HookResult::DeployFailed) {
            Self { word: "deploy-failed", status: u8::from(is_required), ..self }
        } else if let Some(max) =
            settings.limits.push_bytes.filter(|&max| results.is_empty() && read_bytes >= max)
        {
            // git prints that the pack is too large, but not the limit.
            let refusal = Refusal::PushTooLarge { max_mib: max >> 20 };
            Self { word: refusal.word(), status: 1, refusal: Some(refusal), ..self }
        } else {
            self
        }
    }
}

/// The exit status of this process for git's `status`.
fn exit_status(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| Some(SIGNALLED + status.signal()?));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use rustix::process::Signal;

    use super::*;

    #[test]
    fn the_kernels_byte_counters_are_parsed() {
        let traffic = Traffic::parse("rchar: 6976\nwchar: 12\nsyscr: 10\nread_bytes: 4096\n").unwrap();
        assert_eq!((traffic.read_bytes, traffic.written_bytes), (6976, 12));
        assert!(Traffic::parse("rchar: 6976\n").is_none());
        assert!(Traffic::so_far().unwrap().read_bytes > 0);
    }

    #[test]
    fn the_outcome_of_a_session_names_how_git_ended() {
        let check = |raw: Option<i32>, reason: Option<EndReason<Refusal>>, expected: (&str, u8)| {
            let served = Served::of(Ending { status: raw.map(ExitStatus::from_raw), reason });
            assert_eq!((served.word, served.status), expected);
        };
        let (success, failure, killed) = (Some(0), Some(128 << 8), Some(9));
        check(success, None, ("served", 0));
        check(failure, None, ("served", 128));
        check(killed, None, ("served", 137));
        check(success, Some(EndReason::Refused(Refusal::Removed)), ("served", 0));
        check(killed, Some(EndReason::Refused(Refusal::Removed)), ("key-removed", 1));
        check(None, Some(EndReason::Refused(Refusal::Removed)), ("key-removed", 1));
        check(success, Some(EndReason::ClientLeft), ("served", 0));
        check(killed, Some(EndReason::ClientLeft), ("client-left", 137));
        check(None, Some(EndReason::ClientLeft), ("client-left", 1));
        check(Some(15), Some(EndReason::Signal(Signal::TERM)), ("ended-by-signal", 143));
    }
}

//! The descendants of this process: counts what they read and write, and ends them.
//!
//! A process that leaves its group, or outlives its parent, is still found: orphans below this process become its
//! children (prctl(2), `PR_SET_CHILD_SUBREAPER`).

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};

/// The maximum number of descendants that are counted, more than a session has.
const DESCENDANTS_MAX: usize = 256;
/// The pause between two checks for killed processes.
const PAUSE: Duration = Duration::from_millis(1);

/// Makes orphans below this process its children.
pub(crate) fn adopt() {
    // Kernels before Linux 3.4 have no subreapers, and no pidfd either, so nothing is started on them.
    let _ = set_child_subreaper(Some(rustix::process::getpid()));
}

/// The bytes that all descendants have read and written so far, as the kernel counts them (proc(5), `io`). It does not
/// change while all of them wait. It can decrease when one of them ends.
pub(crate) fn bytes_moved() -> u64 {
    let mut pids = children_of(None);
    let mut bytes: u64 = 0;
    let mut looked_at = 0;
    while let Some(pid) = pids.pop()
        && looked_at < DESCENDANTS_MAX
    {
        looked_at += 1;
        pids.extend(children_of(Some(pid)));
        let io = fs::read_to_string(format!("/proc/{}/io", pid.as_raw_nonzero())).unwrap_or_default();
        let values = io
            .lines()
            .filter_map(|line| line.strip_prefix("rchar: ").or_else(|| line.strip_prefix("wchar: ")));
        bytes = values.filter_map(|value| value.parse::<u64>().ok()).fold(bytes, u64::wrapping_add);
    }
    bytes
}

/// Kills every descendant, and returns once none is left, or after `limit`.
pub(crate) fn end_all(limit: Duration) {
    let end = Instant::now() + limit;
    loop {
        let children = children_of(None);
        if children.is_empty() || end <= Instant::now() {
            return;
        }
        for child in children {
            // Orphans of this child become children of this process in the next round.
            let _ = kill_process(child, Signal::KILL);
            let _ = waitpid(Some(child), WaitOptions::NOHANG);
        }
        std::thread::sleep(PAUSE);
    }
}

/// The children of the process `pid`, or of this one. Empty if the kernel does not list them.
fn children_of(pid: Option<Pid>) -> Vec<Pid> {
    let pid = pid.unwrap_or_else(rustix::process::getpid).as_raw_nonzero();
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|child| Pid::from_raw(child.parse().ok()?)).collect()
}

//! `git push`, `clone` and `fetch` with stock git and ssh through the real sshd, and how such sessions end.

#![expect(clippy::expect_used, reason = "helpers of tests fail by panicking")]

mod ending;
mod refusing;
mod revoking;
mod serving;
mod usage;
mod world;

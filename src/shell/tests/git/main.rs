//! Tests of the real git with the real program, which git starts in place of ssh by `GIT_SSH_COMMAND`.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod creating;
mod deciding;
mod deploying;
mod ending;
mod lfs;
mod limiting;
mod publishing;
mod serving;
mod world;
